"""A small convolutional CTC model that trains in minutes on one CPU core.

Problem: recurrent CTC models make 51 dependent steps per two seconds of audio and are an order of magnitude too slow for a CPU
to learn real recordings in minutes. Choice: residual blocks of a depthwise convolution over time, layer normalisation over the
channels of each frame and two pointwise layers (the ConvNeXt order), behind one strided convolution.
No statistic is shared between frames, utterances or processes: padding cannot leak through a normalisation, and training on two
processes equals training on one. Dropout removes whole channels of an utterance, which costs one random number per channel
instead of one per element (elementwise masks took 8 % of a step).
The depthwise kernel is stored as a 2-D convolution because its channels-last form, which the pointwise layers already use, takes
half the time of `nn.Conv1d`. Rejected: plain convolutions of the same size (about twice the error after the same CPU time), batch
norm, and a frame step of 40 ms (faster still, but fewer frames than letters in quick speech).
Sources: Liu et al. 2022 (arXiv 2201.03545) for the block; Kriman et al. 2019 (arXiv 1910.10261) for separable CTC models.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from auscult.audio.front_end import Features, FrontEnd
from auscult.errors import UserError
from auscult.models.masking import frame_mask, zero_padding
from auscult.models.output import FrameLogits
from auscult.models.recognition import RecognitionModel, widen_half
from auscult.registry import INJECTED, Component, register
from auscult.specification import Specification


class SeparableBlock(nn.Module):
    """Residual block: depthwise convolution over time, layer norm, widen, ReLU, narrow, channel dropout.

    Args:
        channels: of the stream.
        kernel: frames the depthwise convolution sees, odd.
        expansion: width of the inner layer, in multiples of `channels`.
        dropout: probability of losing a channel of an utterance.
        dilation: frames from one tap of the convolution to the next.
    """

    def __init__(self, channels: int, kernel: int, expansion: int, dropout: float, dilation: int = 1) -> None:
        super().__init__()
        reach = dilation * (kernel // 2)
        self.depthwise = nn.Conv2d(channels, channels, (1, kernel), padding=(0, reach), dilation=(1, dilation), groups=channels)
        self.norm = nn.LayerNorm(channels)
        self.widen = nn.Linear(channels, expansion * channels)
        self.narrow = nn.Linear(expansion * channels, channels)
        self.dropout = nn.Dropout(dropout)

    def forward(self, values: Tensor, mask: Tensor | None) -> Tensor:
        """(batch, frames, channels) and (batch, frames) bool or None -> same shape; true frames never see padding."""
        planes = zero_padding(values, mask, 1).transpose(1, 2).unsqueeze(2)  # (batch, channels, 1, frames), channels last in memory
        seen = self.depthwise(planes).squeeze(2).transpose(1, 2)
        change = self.narrow(F.relu(self.widen(self.norm(seen))))
        if self.training:
            change = change * self.dropout(change.new_ones(change.shape[0], 1, change.shape[2]))
        total: Tensor = values + change
        return total


@register("model", "conv_ctc")
class ConvolutionalCtc(RecognitionModel):
    """Separable convolutions and CTC; the defaults have about 0.45 M parameters.

    One output frame is `stride` input frames. Parameter parts: `conv` (the strided convolution), `blocks`, `norm`, `fc`.

    Args:
        channels: of the stream.
        blocks: residual blocks; each sees `kernel` output frames.
        kernel: frames of the depthwise convolutions, odd.
        expansion: width of the inner layer of a block, in multiples of `channels`.
        stride: input frames per output frame.
        dropout: probability of losing a channel of an utterance in a block.
    """

    SIZES: ClassVar[dict[str, dict[str, Any]]] = {
        "tiny": {"model": {"channels": 128, "blocks": 6}, "optimizer": {"lr": 2e-3}, "data": {"batch": {"seconds": 30.0}}},
        "small": {"model": {"channels": 192, "blocks": 10}, "optimizer": {"lr": 2e-3}, "data": {"batch": {"seconds": 60.0}}},
        "base": {"model": {"channels": 256, "blocks": 16}, "optimizer": {"lr": 1e-3}, "data": {"batch": {"seconds": 120.0}}},
    }

    def __init__(
        self,
        specification: Annotated[Specification, INJECTED],
        front_end: Annotated[FrontEnd, Component("front_end", default="log_mel")],
        feature_augmentation: Annotated[list[nn.Module], Component("feature_augmentation", many=True)],
        channels: Annotated[int, Field(gt=0)] = 128,
        blocks: Annotated[int, Field(gt=0)] = 6,
        kernel: Annotated[int, Field(gt=0)] = 11,
        expansion: Annotated[int, Field(gt=0)] = 2,
        stride: Annotated[int, Field(gt=0)] = 3,
        dropout: Annotated[float, Field(ge=0, lt=1)] = 0.1,
    ) -> None:
        super().__init__(specification, front_end, feature_augmentation)
        if kernel % 2 == 0:
            raise UserError(f"conv_ctc: kernel is {kernel} and must be odd, so that a frame sits in its middle; use {kernel + 1}")
        self.frame_stride = stride
        self.conv = nn.Conv1d(front_end.bins, channels, 2 * stride + 1, stride=stride, padding=stride)
        self.blocks = nn.ModuleList(SeparableBlock(channels, kernel, expansion, dropout) for _ in range(blocks))
        self.norm = nn.LayerNorm(channels)
        self.fc = nn.Linear(channels, self.classes)

    def output_frames(self, frames: Tensor) -> Tensor:
        """(batch,) -> (batch,): (T - 1) // stride + 1."""
        return (frames - 1).div(self.frame_stride, rounding_mode="floor") + 1

    def encode(self, features: Features) -> FrameLogits:
        """features (batch, frames, bins) -> logits (batch, output frames, classes) and lengths (batch,) int64."""
        lengths = self._checked_lengths(features)
        values = zero_padding(features.values, frame_mask(lengths, features.values.shape[1], features.values.device), 1)
        values = F.relu(self.conv(values.transpose(1, 2))).transpose(1, 2).contiguous()
        lengths = self.output_frames(lengths)
        mask = frame_mask(lengths, values.shape[1], values.device)
        for block in self.blocks:
            values = block(values, mask)
        logits = self.fc(self.norm(values))
        return FrameLogits(widen_half(zero_padding(logits, mask, 1)), lengths.to(features.lengths.device))
