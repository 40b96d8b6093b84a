"""DPRNN: dual-path recurrent masks on a learned filter bank.

Problem: filters of two samples separate best, and give 32,000 frames for four seconds, which no recurrent layer can follow. Choice: the
original network, one bidirectional LSTM within chunks and one across them per block. What goes by this name elsewhere is often
another: a bottleneck of 128 (3.65 million parameters instead of 2.6), kernels of 16 samples, fixed strides, a first chunk of zeros.
The defaults here are the paper's: kernel 2, stride 1, bottleneck 64, 2,608,001 parameters for two sources. Kernel 16, stride 8 and
chunks of 100 frames (2,609,793) take a tenth of the time and cost about 1.5 dB.

Source: Luo, Chen and Yoshioka, "Dual-path RNN: efficient long sequence modeling for time-domain single-channel speech separation" (2020).
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from auscult.models.dual_path import DualPathMasks, Mask
from auscult.models.recognition import widen_half
from auscult.models.separator import Separator
from auscult.models.waveform_codec import Start, WaveformCodec
from auscult.registry import INJECTED, register
from auscult.specification import Specification


class RecurrentPath(nn.Module):
    """A bidirectional LSTM and the way back to the channels of the stream."""

    def __init__(self, channels: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.lstm = nn.LSTM(channels, hidden, batch_first=True, bidirectional=True)
        self.dropout = nn.Dropout(dropout)
        self.back = nn.Linear(2 * hidden, channels)

    def forward(self, values: Tensor) -> Tensor:
        """(rows, time, channels) -> the same shape."""
        with torch.autocast("cpu", enabled=False):  # few processors have an LSTM in half precision, and torch does not ask
            states = self.lstm(widen_half(values) if values.device.type == "cpu" else values)[0]
        added: Tensor = self.back(self.dropout(states))
        return added


@register("model", "dprnn")
class DualPathRnn(Separator):
    """Dual-path recurrent separator.

    Parameter parts: `codec`, `masks` (`norm`, `bottleneck`, `blocks`, `split`, `value`, `gate`, `out`).

    Args:
        filters: of the encoder and decoder.
        kernel: samples under a filter, a multiple of `stride`.
        stride: samples from frame to frame, in encoder and decoder alike.
        bottleneck: channels of the stream.
        hidden: units of each LSTM, per direction.
        blocks: each with one LSTM within chunks and one across them.
        chunk: frames of a chunk, even; about the square root of twice the number of frames costs least.
        mask: rectified or sigmoid masks.
        dropout: probability of losing a state of an LSTM.
        start: whether the codec starts with random filters, as published, or as a transform that hands the mixture through.
    """

    SIZES: ClassVar[dict[str, dict[str, Any]]] = {
        "tiny": {"model": {"filters": 64, "kernel": 16, "stride": 8, "bottleneck": 48, "hidden": 48, "blocks": 2, "chunk": 60}},
        "small": {"model": {"kernel": 16, "stride": 8, "chunk": 100}},
        "base": {"model": {"kernel": 2, "stride": 1, "chunk": 250}},
    }

    def __init__(
        self,
        specification: Annotated[Specification, INJECTED],
        filters: Annotated[int, Field(gt=0)] = 64,
        kernel: Annotated[int, Field(gt=0)] = 2,
        stride: Annotated[int, Field(gt=0)] = 1,
        bottleneck: Annotated[int, Field(gt=0)] = 64,
        hidden: Annotated[int, Field(gt=0)] = 128,
        blocks: Annotated[int, Field(gt=0)] = 6,
        chunk: Annotated[int, Field(ge=2)] = 250,
        mask: Mask = "relu",
        dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0,
        start: Start = "random",
    ) -> None:
        super().__init__(specification)
        self.codec = WaveformCodec(filters, kernel, stride, start)
        paths = [(RecurrentPath(bottleneck, hidden, dropout), RecurrentPath(bottleneck, hidden, dropout)) for _ in range(blocks)]
        self.masks = DualPathMasks(filters, bottleneck, self.sources, chunk, paths, mask)

    def forward(self, mixture: Tensor) -> Tensor:
        """(batch, time) float32 -> (batch, sources, time) float32, the same time."""
        self.check_samples(mixture)
        encoded, level = self.codec.encode(mixture)
        return self.codec.decode(self.masks(encoded) * encoded.unsqueeze(1), level, mixture.shape[1])
