"""DeepSpeech 2: two 2-D convolutions over time and frequency, bidirectional recurrent layers, batch norm, linear output, CTC.

Two public forms differ in ways that change every number: Myrtle's (the reference experiments': no frequency padding, ten
frames of time padding, GRUs without biases) and SeanNaren's (padded convolutions, LSTMs with biases). Both are keys here
rather than two classes, because all else is shared; parameter counts are asserted in the tests.
What both references got wrong or right silently is a key too: `padding="masked"` keeps padding out of convolutions, batch
statistics and backward recurrences; `padding="legacy"` reproduces the leak, to load or compare old results only. At a batch
of one the two are bit-equal. `norm="group"` is neither reference's: it normalises each utterance by itself, without which no utterance has
a gradient of its own (differential privacy) and what a batch holds changes what an utterance gives.
Sources: Amodei et al. 2015 (arXiv 1512.02595), MyrtleSoftware/deepspeech, SeanNaren/deepspeech.pytorch.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, ClassVar, Literal

import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from auscult.audio.front_end import Features, FrontEnd
from auscult.errors import UserError
from auscult.models.masked_group_norm import MaskedGroupNorm
from auscult.models.masking import MaskedBatchNorm, frame_mask, zero_padding
from auscult.models.output import FrameLogits
from auscult.models.recognition import RecognitionModel, widen_half
from auscult.models.recurrent import merge_directions, run_recurrent
from auscult.ops.gru import BidirectionalGru
from auscult.registry import INJECTED, LATER, Component, register
from auscult.specification import Specification

_KERNELS = ((41, 11), (21, 11))
_STRIDES = ((2, 2), (2, 1))
_PADDINGS = {"myrtle": ((0, 10), (0, 0)), "seannaren": ((20, 5), (10, 5))}
"""(frequency, time) of the two convolutions."""


def _recurrent(cell: str, inputs: int, hidden: int, bias: bool, kernel: Literal["auto", "torch"]) -> nn.RNNBase:
    if cell == "gru":
        return BidirectionalGru(inputs, hidden, bias, kernel)
    kind: Callable[..., nn.RNNBase] = nn.LSTM if cell == "lstm" else nn.RNN
    return kind(inputs, hidden, bias=bias, bidirectional=True)


@register("model", "deepspeech2")
class DeepSpeech2(RecognitionModel):
    """DeepSpeech 2 with the variants of its public implementations; the defaults are the reference experiments' (Myrtle's).

    One output frame is two input frames (40 ms at the default 20 ms step). SeanNaren's published model is
    `{convolution_padding: seannaren, cell: lstm, rnn_bias: true, hidden: 1024}`.
    Parameter parts: `conv`, `rnn.0`..., `bn`, `fc`.

    Args:
        channels: of both convolutions.
        hidden: units of each recurrent direction.
        layers: bidirectional recurrent layers.
        cell: kind of recurrent layer ("rnn" is a plain tanh recurrence).
        rnn_bias: biases in the recurrent layers.
        merge: add the two directions, or put them side by side.
        activation: "hardtanh" clips to [0, 20]; "softplus" is smooth, which second-order gradients need.
        padding: "masked", or "legacy" to let padding leak as the reference code did.
        convolution_padding: "myrtle": time 10, frequency 0, at the first convolution; "seannaren": (20, 5) and (10, 5).
        head_bias: bias of the output layer.
        dropout: after each recurrent layer.
        kernel: "auto" trains GRUs on the CPU with `auscult.ops.gru`, which is faster and has gradients of first and second order; "torch"
            always uses `nn.GRU`. Other cells always use torch.
        norm: "batch" normalises over the batch; "group" each utterance by itself, over groups of channels and all its frames.
        norm_groups: groups of channels of norm "group"; must divide the channels and the width of every layer.
    """

    frame_stride = 2
    FRAMES_FIRST: ClassVar[tuple[str, ...]] = ("fc",)
    """Linear layers whose input is (frames, batch, size), for whoever wants the gradients of each item."""
    SIZES: ClassVar[dict[str, dict[str, Any]]] = {
        "tiny": {"model": {"channels": 8, "hidden": 64, "layers": 2}, "optimizer": {"lr": 1e-3}, "data": {"batch": {"seconds": 30.0}}},
        "small": {"model": {"channels": 32, "hidden": 256, "layers": 3}, "optimizer": {"lr": 5e-4}, "data": {"batch": {"seconds": 60.0}}},
        "base": {"model": {"channels": 32, "hidden": 800, "layers": 5}, "optimizer": {"lr": 1.5e-4}, "data": {"batch": {"seconds": 120.0}}},
    }

    def __init__(
        self,
        specification: Annotated[Specification, INJECTED],
        front_end: Annotated[FrontEnd, Component("front_end", default="log_spectrogram")],
        feature_augmentation: Annotated[list[nn.Module], Component("feature_augmentation", many=True)],
        channels: Annotated[int, Field(gt=0)] = 32,
        hidden: Annotated[int, Field(gt=0)] = 800,
        layers: Annotated[int, Field(gt=0)] = 5,
        cell: Literal["gru", "lstm", "rnn"] = "gru",
        rnn_bias: bool = False,
        merge: Literal["sum", "concat"] = "sum",
        activation: Literal["hardtanh", "softplus"] = "hardtanh",
        padding: Literal["masked", "legacy"] = "masked",
        convolution_padding: Literal["myrtle", "seannaren"] = "myrtle",
        head_bias: bool = False,
        dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0,
        kernel: Literal["auto", "torch"] = "auto",
        norm: Annotated[Literal["batch", "group"], Field(json_schema_extra=LATER)] = "batch",
        norm_groups: Annotated[int, Field(gt=0, json_schema_extra=LATER)] = 8,
    ) -> None:
        super().__init__(specification, front_end, feature_augmentation)
        self.merge, self.activation, self.padding = merge, activation, padding
        self._paddings = _PADDINGS[convolution_padding]
        self.minimum_frames = 11 if convolution_padding == "myrtle" else 1
        inputs = channels * self._frequency_rows(front_end.bins)
        outputs = hidden * (2 if merge == "concat" else 1)
        shapes = zip((1, channels), _KERNELS, _STRIDES, self._paddings, strict=True)
        self.conv = nn.ModuleList(nn.Conv2d(planes, channels, kernel, stride, pad) for planes, kernel, stride, pad in shapes)
        widths = [inputs] + [outputs] * (layers - 1)
        self.rnn = nn.ModuleList(_recurrent(cell, width, hidden, rnn_bias, kernel) for width in widths)
        norms = {"conv_0": channels, "conv_1": channels} | {f"rnn_{i}": outputs for i in range(1, layers)} | {"fc": outputs}
        self.bn = nn.ModuleDict(
            {name: MaskedBatchNorm(size) if norm == "batch" else MaskedGroupNorm(size, norm_groups) for name, size in norms.items()}
        )
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(outputs, self.classes, bias=head_bias)

    def output_frames(self, frames: Tensor) -> Tensor:
        """(batch,) -> (batch,): (T + 9) // 2 + 1 - 10 in Myrtle's form, (T - 1) // 2 + 1 in SeanNaren's."""
        for i in range(2):
            frames = self._convolved_frames(frames, i)
        return frames

    def encode(self, features: Features) -> FrameLogits:
        """features (batch, frames, bins) -> logits (batch, output frames, classes) and lengths (batch,) int64 on the features' device."""
        lengths = self._checked_lengths(features)
        values, lengths = self._convolve(features.values, lengths)
        mask = self._mask(lengths, values.shape[0], values.device)
        for i, layer in enumerate(self.rnn):
            if i > 0:
                values = self._normalise(f"rnn_{i}", values, mask)
            values = run_recurrent(layer, values, lengths if self.padding == "masked" else None)
            values = self.dropout(merge_directions(values, self.merge))
        logits = self.fc(self._normalise("fc", values, mask)).transpose(0, 1)
        return FrameLogits(widen_half(zero_padding(logits, mask, 1)), lengths.to(features.lengths.device))

    def _convolve(self, values: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """(batch, frames, bins) -> (output frames, batch, channels * rows), and the lengths after both convolutions."""
        values = zero_padding(values, self._mask(lengths, values.shape[1], values.device), 1)
        planes = values.transpose(1, 2).unsqueeze(1)  # (batch, 1, bins, frames)
        for i, convolution in enumerate(self.conv):
            planes = convolution(planes)
            lengths = self._convolved_frames(lengths, i)
            mask = self._mask(lengths, planes.shape[3], planes.device)
            planes = self.bn[f"conv_{i}"](planes, mask)
            planes = F.softplus(planes) if self.activation == "softplus" else F.hardtanh(planes, 0.0, 20.0)
            planes = zero_padding(planes, mask, 3)
        return planes.flatten(1, 2).permute(2, 0, 1).contiguous(), lengths

    def _normalise(self, name: str, values: Tensor, mask: Tensor | None) -> Tensor:
        normalised: Tensor = self.bn[name](values.permute(1, 2, 0), mask)
        return normalised.permute(2, 0, 1)

    def _mask(self, lengths: Tensor, frames: int, device: Any) -> Tensor | None:
        return frame_mask(lengths, frames, device) if self.padding == "masked" else None

    def _convolved_frames(self, frames: Tensor, convolution: int) -> Tensor:
        return (frames + 2 * self._paddings[convolution][1] - _KERNELS[convolution][1]).div(
            _STRIDES[convolution][1], rounding_mode="floor"
        ) + 1

    def _frequency_rows(self, bins: int) -> int:
        rows = bins
        for kernel, stride, pad in zip(_KERNELS, _STRIDES, self._paddings, strict=True):
            rows = (rows + 2 * pad[0] - kernel[0]) // stride[0] + 1
        if rows < 1:
            raise UserError(
                f"deepspeech2 needs at least 81 frequency bins with convolution_padding myrtle and the front-end gives {bins}; "
                "use log_spectrogram with a longer window, or convolution_padding: seannaren"
            )
        return rows
