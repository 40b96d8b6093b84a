"""Who speaks when in a few seconds: frames to powerset classes, small enough to train and run on one CPU core.

Problem: to call the voice at the end of a window by the name it had at the beginning, every frame must be compared with all others;
recurrent layers do that many times slower on a CPU than convolutions take, and convolutions only within their reach. Choice: separable
convolutions with growing dilation for the local evidence (voice or not, one or two, change or not), then self-attention over the
whole window, whose cost at 25 frames per second is small beside theirs. The frame grid is exact by construction: the strided convolution
is centred on feature frames, each inner frame decides on the output frames from its own instant to the next, so output frame k stands
for the instant k * frame_step, and `frame_centres` says so to whoever makes labels. Rejected: classes per speaker and threshold
(see `losses/powerset.py`), and labels for a rounded number of frames (a grid that is 5 % off moves every boundary).
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from auscult.audio.front_end import Features, FrontEnd
from auscult.errors import UserError
from auscult.models.conv_ctc import SeparableBlock
from auscult.models.masking import MaskedBatchNorm, frame_mask, zero_padding
from auscult.models.output import FrameLogits
from auscult.models.recognition import widen_half
from auscult.registry import INJECTED, Component, register
from auscult.specification import Specification


class AttentionBlock(nn.Module):
    """Residual block: layer norm, self-attention over all true frames, channel dropout; positions are left to the convolutions.

    Args:
        channels: of the stream, a multiple of `heads`.
        heads: attention heads.
        dropout: probability of losing a channel of an utterance.
    """

    def __init__(self, channels: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(channels)
        self.project = nn.Linear(channels, 3 * channels)
        self.merge = nn.Linear(channels, channels)
        self.dropout = nn.Dropout(dropout)

    def forward(self, values: Tensor, mask: Tensor | None) -> Tensor:
        """(batch, frames, channels) and (batch, frames) bool or None -> same shape; true frames never look at padding."""
        batch, frames, channels = values.shape
        parts = self.project(self.norm(values)).view(batch, frames, 3, self.heads, channels // self.heads)
        queries, keys, contents = parts.permute(2, 0, 3, 1, 4)  # each (batch, heads, frames, channels // heads)
        seen = F.scaled_dot_product_attention(queries, keys, contents, None if mask is None else mask[:, None, None])
        change = self.merge(seen.transpose(1, 2).reshape(batch, frames, channels))
        if self.training:
            change = change * self.dropout(change.new_ones(batch, 1, channels))
        total: Tensor = values + change
        return total


@register("model", "powerset_segmentation")
class PowersetSegmentation(nn.Module):
    """Dilated separable convolutions, self-attention, and the log-probability of every set of simultaneous speakers.

    Features are brought to a common scale by statistics of the training data, not of the window, in which silence would look like speech.
    Parameter parts: `scale`, `conv` (the strided convolution), `blocks`, `attention`, `norm`, `fc`.

    Args:
        channels: of the stream.
        blocks: convolutional blocks; their dilation is 1, 2, 4, 8, 16 and begins anew.
        kernel: taps of the depthwise convolutions, odd.
        expansion: width of the inner layer of a block, in multiples of `channels`.
        attention: attention blocks, each followed by a convolutional block; 0 leaves only convolutions.
        heads: of each attention block.
        stride: feature frames per output frame.
        fold: output frames that the network decides on together; its inner frames are `stride * fold` feature frames apart, which
            saves time and costs little, because boundaries are placed within an inner frame all the same.
        dropout: probability of losing a channel of a window in a block.
    """

    SIZES: ClassVar[dict[str, dict[str, Any]]] = {
        "tiny": {"model": {"channels": 96, "blocks": 5}, "optimizer": {"lr": 2e-3}, "data": {"batch": {"items": 16}}},
        "small": {"model": {"channels": 128, "blocks": 5}, "optimizer": {"lr": 1e-3}, "data": {"batch": {"items": 32}}},
        "base": {"model": {"channels": 192, "blocks": 10, "attention": 3}, "optimizer": {"lr": 1e-3}, "data": {"batch": {"items": 64}}},
    }

    def __init__(
        self,
        specification: Annotated[Specification, INJECTED],
        front_end: Annotated[FrontEnd, Component("front_end", default="log_mel", default_arguments={"normalise": "none"})],
        feature_augmentation: Annotated[list[nn.Module], Component("feature_augmentation", many=True)],
        channels: Annotated[int, Field(gt=0)] = 128,
        blocks: Annotated[int, Field(gt=0)] = 5,
        kernel: Annotated[int, Field(gt=0)] = 5,
        expansion: Annotated[int, Field(gt=0)] = 2,
        attention: Annotated[int, Field(ge=0)] = 2,
        heads: Annotated[int, Field(gt=0)] = 4,
        stride: Annotated[int, Field(gt=0)] = 2,
        fold: Annotated[int, Field(gt=0)] = 2,
        dropout: Annotated[float, Field(ge=0, lt=1)] = 0.1,
    ) -> None:
        super().__init__()
        if kernel % 2 == 0:
            raise UserError(
                f"powerset_segmentation: kernel is {kernel} and must be odd, so that a frame sits in its middle; use {kernel + 1}"
            )
        if channels % heads:
            raise UserError(
                f"powerset_segmentation: channels {channels} is no multiple of heads {heads}; use {heads * -(-channels // heads)}"
            )
        if getattr(front_end, "kaldi", False):
            raise UserError("powerset_segmentation: the frame grid needs centred windows; use a front-end with kaldi: false")
        self.classes = specification.classes
        self.front_end = front_end
        self.feature_augmentation = nn.ModuleList(feature_augmentation)
        self.frame_stride, self.fold = stride, fold
        inner = stride * fold
        self.scale = MaskedBatchNorm(front_end.bins)
        self.conv = nn.Conv1d(front_end.bins, channels, 2 * inner + 1, stride=inner, padding=inner)
        self.blocks = nn.ModuleList(SeparableBlock(channels, kernel, expansion, dropout, 2 ** (place % 5)) for place in range(blocks))
        self.attention = nn.ModuleList(
            module
            for _ in range(attention)
            for module in (AttentionBlock(channels, heads, dropout), SeparableBlock(channels, kernel, expansion, dropout))
        )
        self.norm = nn.LayerNorm(channels)
        self.fc = nn.Linear(channels, fold * self.classes)
        nn.init.normal_(self.fc.weight, std=0.01)  # nearly uniform at first: the first loss is ln(classes)
        nn.init.zeros_(self.fc.bias)

    @property
    def frame_step(self) -> float:
        """Seconds from one output frame to the next."""
        return self.front_end.frame_step * self.frame_stride

    @property
    def minimum_samples(self) -> int:
        """Fewest samples that give an output frame."""
        return self.front_end.minimum_samples

    def frame_centres(self, frames: int) -> Tensor:
        """Return the instants output frames stand for: (frames,) float64 seconds from the first sample."""
        return torch.arange(frames, dtype=torch.float64) * self.frame_step

    def output_lengths(self, sample_lengths: Tensor) -> Tensor:
        """Return (batch,) int64 output frames for (batch,) int64 samples, without running the model: (T - 1) // stride + 1."""
        return _strided(self.front_end.frames(sample_lengths), self.frame_stride).clamp_min(0)

    def forward(self, samples: Tensor, sample_lengths: Tensor) -> FrameLogits:
        """Segment a batch of windows.

        Args:
            samples: (batch, time) float32 in [-1, 1], anything beyond the lengths.
            sample_lengths: (batch,) int64.

        Returns:
            log-probabilities (batch, frames, classes) float32, 0 beyond the lengths, and lengths (batch,) int64.

        Raises:
            UserError: shapes do not fit, or a window is shorter than `minimum_samples`.
        """
        features = self.front_end(samples, sample_lengths)
        for augmentation in self.feature_augmentation:
            features = augmentation(features)
        return self.encode(Features(features.values.to(next(self.parameters()).dtype), features.lengths))

    def encode(self, features: Features) -> FrameLogits:
        """Return log-probabilities of features (batch, frames, bins); the part of the model after the front-end."""
        lengths = features.lengths.cpu()
        mask = frame_mask(lengths, features.values.shape[1], features.values.device)
        values = zero_padding(self.scale(zero_padding(features.values, mask, 1).transpose(1, 2), mask), mask, 2)
        values = F.relu(self.conv(values)).transpose(1, 2).contiguous()
        inner = _strided(lengths, self.frame_stride * self.fold)
        mask = frame_mask(inner, values.shape[1], values.device)
        for block in (*self.blocks, *self.attention):
            values = block(values, mask)
        scores = self.fc(self.norm(values)).unflatten(2, (self.fold, self.classes)).flatten(1, 2)  # (batch, inner frames * fold, classes)
        lengths = _strided(lengths, self.frame_stride)
        scores = widen_half(scores[:, : int(_strided(torch.tensor(features.values.shape[1]), self.frame_stride))]).log_softmax(dim=-1)
        mask = frame_mask(lengths, scores.shape[1], scores.device)
        return FrameLogits(zero_padding(scores, mask, 1), lengths.to(features.lengths.device))


def _strided(frames: Tensor, stride: int) -> Tensor:
    """Return how many of so many frames are a multiple of the stride, the first included."""
    return (frames - 1).div(stride, rounding_mode="floor") + 1
