"""Conv-TasNet: masks from dilated separable convolutions on a learned filter bank.

Problem: what goes by this name differs between packages in everything but the idea: a skip path or none, biases or none, causal or not,
six or eight dilations. Choice: the paper's network by default (5,050,545 parameters for two sources) and the differences as
settings, so that the variant without skip path and biases (8,708,672 at 256 filters, bottleneck 256 and four repeats) is the same class.
With a skip path the residual convolution of the last block leads nowhere. It is kept, so that counts and checkpoints are the
paper's, and frozen, so that nothing is trained that cannot matter; it is not computed.

Between the 1x1 convolutions torch is slow on a CPU; `ops/prelu.py`, `ops/depthwise.py` and `GlobalNorm` are what a training step gains by.

Source: Luo and Mesgarani, "Conv-TasNet: surpassing ideal time-frequency magnitude masking for speech separation" (2019).
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from auscult.models.dual_path import Mask
from auscult.models.global_norm import GlobalNorm
from auscult.models.recognition import widen_half
from auscult.models.separator import Separator
from auscult.models.waveform_codec import Start, WaveformCodec
from auscult.ops.depthwise import DepthwiseConv
from auscult.ops.prelu import SingleSlopePRelu
from auscult.registry import INJECTED, register
from auscult.specification import Specification


class TemporalBlock(nn.Module):
    """Widen, convolve each channel along time, narrow: what is added to the stream, and what goes past it to the masks.

    Args:
        channels: of the stream.
        hidden: of the depthwise convolution.
        skip: channels that go past the stream; 0 for none.
        taps: of the depthwise convolution.
        dilation: frames between taps.
        bias: whether the convolutions have one.
        last: whether nothing follows on the stream.
    """

    def __init__(self, channels: int, hidden: int, skip: int, taps: int, dilation: int, bias: bool, last: bool) -> None:
        super().__init__()
        self.widen = nn.Conv1d(channels, hidden, 1, bias=bias)
        self.before, self.before_norm = SingleSlopePRelu(), GlobalNorm(hidden)
        self.depthwise = DepthwiseConv(hidden, taps, dilation, bias)
        self.after, self.after_norm = SingleSlopePRelu(), GlobalNorm(hidden)
        self.residual = nn.Conv1d(hidden, channels, 1, bias=bias)
        self.skip = nn.Conv1d(hidden, skip, 1, bias=bias) if skip else None
        self.leads_nowhere = last and skip > 0
        if self.leads_nowhere:
            self.residual.requires_grad_(False)

    def forward(self, stream: Tensor) -> tuple[Tensor, Tensor | None]:
        """(batch, channels, frames) -> the stream after this block, and (batch, skip, frames) or None."""
        inner = self.before_norm(self.before(self.widen(stream)))
        inner = self.after_norm(self.after(self.depthwise(inner)))
        past = None if self.skip is None else self.skip(inner)
        return stream if self.leads_nowhere else stream + self.residual(inner), past


@register("model", "conv_tasnet")
class ConvTasNet(Separator):
    """Convolutional time-domain separator.

    Parameter parts: `codec`, `norm`, `bottleneck`, `blocks`, `rectify` (with a skip path), `masks`.

    Args:
        filters: of the encoder and decoder (N in the paper).
        kernel: samples under a filter, a multiple of `stride` (L).
        stride: samples from frame to frame, in encoder and decoder alike.
        bottleneck: channels of the stream between blocks (B).
        hidden: channels of the depthwise convolutions (H).
        taps: of the depthwise convolutions, odd (P).
        blocks: per repeat; dilations are 1, 2, 4, ... (X).
        repeats: of the series of blocks (R).
        skip: channels that each block sends past the stream to the masks (Sc); 0 makes masks of the stream itself.
        bias: whether the convolutions between encoder and decoder have one.
        mask: sigmoid (the paper) or rectified masks.
        start: whether the codec starts with random filters, as published, or as a transform that hands the mixture through.

    Raises:
        UserError: even taps, or a kernel that is no multiple of the stride.
    """

    SIZES: ClassVar[dict[str, dict[str, Any]]] = {
        "tiny": {"model": {"filters": 128, "bottleneck": 64, "hidden": 128, "skip": 64, "blocks": 6, "repeats": 2}},
        "small": {"model": {"filters": 256, "bottleneck": 96, "hidden": 256, "skip": 96, "repeats": 2}},
        "base": {"model": {"filters": 512, "bottleneck": 128, "hidden": 512, "skip": 128, "blocks": 8, "repeats": 3}},
    }

    def __init__(
        self,
        specification: Annotated[Specification, INJECTED],
        filters: Annotated[int, Field(gt=0)] = 512,
        kernel: Annotated[int, Field(gt=0)] = 16,
        stride: Annotated[int, Field(gt=0)] = 8,
        bottleneck: Annotated[int, Field(gt=0)] = 128,
        hidden: Annotated[int, Field(gt=0)] = 512,
        taps: Annotated[int, Field(gt=0)] = 3,
        blocks: Annotated[int, Field(gt=0)] = 8,
        repeats: Annotated[int, Field(gt=0)] = 3,
        skip: Annotated[int, Field(ge=0)] = 128,
        bias: bool = True,
        mask: Mask = "sigmoid",
        start: Start = "random",
    ) -> None:
        super().__init__(specification)
        self.codec = WaveformCodec(filters, kernel, stride, start)
        self.norm = GlobalNorm(filters)
        self.bottleneck = nn.Conv1d(filters, bottleneck, 1, bias=bias)
        last = blocks * repeats - 1
        self.blocks = nn.ModuleList(
            TemporalBlock(bottleneck, hidden, skip, taps, 2 ** (place % blocks), bias, place == last) for place in range(last + 1)
        )
        self.rectify = SingleSlopePRelu() if skip else nn.Identity()
        self.masks = nn.Conv1d(skip or bottleneck, self.sources * filters, 1, bias=bias)
        self.mask = mask
        if mask == "relu":
            self._open_masks()

    @torch.no_grad()
    def _open_masks(self) -> None:
        """Let rectified masks start open: one that starts closed everywhere has no gradient to open by.

        With an offset they start around a half. Without one, every second row starts as the opposite of the row before it, so that
        in every frame one of the two is open.
        """
        if self.masks.bias is not None:
            nn.init.constant_(self.masks.bias, 0.5)
            return
        rows = self.masks.weight.view(self.sources, -1, self.masks.in_channels)
        pairs = rows.shape[1] // 2
        rows[:, 1 : 2 * pairs : 2] = -rows[:, 0 : 2 * pairs : 2]

    def forward(self, mixture: Tensor) -> Tensor:
        """(batch, time) float32 -> (batch, sources, time) float32, the same time."""
        self.check_samples(mixture)
        encoded, level = self.codec.encode(mixture)
        stream = widen_half(self.bottleneck(self.norm(encoded)))  # sums over all blocks are kept in float32
        total: Tensor | None = None
        for block in self.blocks:
            stream, past = block(stream)
            if past is not None:
                total = widen_half(past) if total is None else total + past
        scores = self.masks(self.rectify(stream if total is None else total)).unflatten(1, (self.sources, -1))
        masks = scores.relu() if self.mask == "relu" else scores.sigmoid()
        return self.codec.decode(masks * encoded.unsqueeze(1), level, mixture.shape[1])
