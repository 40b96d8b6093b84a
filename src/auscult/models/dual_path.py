"""Dual-path masks: long sequences as short ones, within overlapping chunks and across them.

Problem: a sequence of thousands of frames is too long for a recurrent layer or for attention. Cut into half-overlapping chunks, it is
two sets of short sequences, and every frame still reaches every other. Published implementations disagree in what looks like detail:
whole chunks of padding where the length is aligned already, a first chunk of zeros, frame counts kept on the module from one call to
the next, overlap-add that sums the two copies of a frame without halving. Choice: two pure functions. Half a chunk is put before the
frames and after, plus what fills the last half, so that *every* frame lies in exactly two chunks and there is no chunk too many;
joining takes the mean of the two copies. Joining what was split is the identity, for every length and in every dtype, and a test holds
that.

Because joining is a mean, the 1x1 convolution that makes one stream per source commutes with it and runs on frames, half as many
as the chunked copies it is described on.

Sources: Luo, Chen and Yoshioka, dual-path RNN (2020), section 2; Subakan et al., SepFormer (2021), section 2.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from auscult.errors import UserError
from auscult.models.global_norm import GlobalNorm
from auscult.models.recognition import widen_half
from auscult.ops.prelu import SingleSlopePRelu

Mask = Literal["relu", "sigmoid"]


def split_chunks(frames: Tensor, chunk: int) -> Tensor:
    """Cut frames into chunks that overlap by half, each frame in exactly two.

    Args:
        frames: (batch, time, channels) of at least one frame.
        chunk: frames of a chunk, even.

    Returns:
        (batch, chunks, chunk, channels), chunks = ceil(time / (chunk / 2)) + 1; zero outside the frames.

    >>> split_chunks(torch.tensor([[[1.0], [2.0], [3.0]]]), 4).squeeze(3)
    tensor([[[0., 0., 1., 2.],
             [1., 2., 3., 0.],
             [3., 0., 0., 0.]]])
    """
    half = chunk // 2
    padded = F.pad(frames, (0, 0, half, half + -frames.shape[1] % half))
    halves = padded.reshape(len(frames), -1, half, frames.shape[2])
    return torch.cat([halves[:, :-1], halves[:, 1:]], dim=2)


def join_chunks(chunks: Tensor, time: int) -> Tensor:
    """Put chunks together again: the mean of the two copies of each frame.

    Args:
        chunks: (batch, chunks, chunk, channels) as `split_chunks` lays them out.
        time: frames to return.

    Returns:
        (batch, time, channels); `join_chunks(split_chunks(frames, chunk), frames.shape[1])` is `frames`.
    """
    half = chunks.shape[2] // 2
    halves = 0.5 * (chunks[:, 1:, :half] + chunks[:, :-1, half:])
    return halves.flatten(1, 2)[:, :time]


class DualPathBlock(nn.Module):
    """One step within all chunks, one across them; each normalised and added to what came in.

    Args:
        channels: of the stream.
        within: maps (rows, time, channels) to the same shape, used along the frames of each chunk.
        across: the same, used along the chunks at each place in them.
    """

    def __init__(self, channels: int, within: nn.Module, across: nn.Module) -> None:
        super().__init__()
        self.within, self.within_norm = within, GlobalNorm(channels, last=True)
        self.across, self.across_norm = across, GlobalNorm(channels, last=True)

    def forward(self, values: Tensor) -> Tensor:
        """(batch, chunks, chunk, channels) -> the same shape."""
        batch, chunks, chunk, channels = values.shape
        inner = self.within(values.reshape(batch * chunks, chunk, channels))
        values = values + self.within_norm(inner.reshape(values.shape))
        turned = values.transpose(1, 2).reshape(batch * chunk, chunks, channels)
        outer = self.across_norm(self.across(turned).reshape(batch, chunk, chunks, channels))
        added: Tensor = values + outer.transpose(1, 2)
        return added


class DualPathMasks(nn.Module):
    """Masks of each source for encoded frames.

    Args:
        filters: channels of the encoded mixture and of a mask.
        bottleneck: channels of the stream between.
        sources: masks per frame and filter.
        chunk: frames of a chunk, even.
        paths: one (within, across) pair of modules per block, as `DualPathBlock` takes them.
        mask: what keeps masks from being negative.

    Raises:
        UserError: the chunk is odd.
    """

    def __init__(
        self, filters: int, bottleneck: int, sources: int, chunk: int, paths: Iterable[tuple[nn.Module, nn.Module]], mask: Mask
    ) -> None:
        super().__init__()
        if chunk < 2 or chunk % 2:
            raise UserError(f"chunk is {chunk} frames and must be even, because chunks overlap by half; use {chunk + 1}")
        self.chunk, self.sources, self.mask = chunk, sources, mask
        self.norm = GlobalNorm(filters)
        self.bottleneck = nn.Linear(filters, bottleneck, bias=False)
        self.blocks = nn.ModuleList(DualPathBlock(bottleneck, within, across) for within, across in paths)
        self.rectify = SingleSlopePRelu()
        self.split = nn.Linear(bottleneck, sources * bottleneck)
        self.value = nn.Linear(bottleneck, bottleneck)
        self.gate = nn.Linear(bottleneck, bottleneck)
        self.out = nn.Linear(bottleneck, filters, bias=False)
        if mask == "relu":
            self._open_masks()

    @torch.no_grad()
    def _open_masks(self) -> None:
        """Let masks start around a half, away from zero: a rectified mask that starts closed has no gradient to open by.

        The gated stream starts around a quarter (tanh of a half, times a sigmoid of nothing) instead of zero, and the last
        layer, which has no offset of its own, adds it up to a half.
        """
        nn.init.constant_(self.value.bias, math.atanh(0.5))
        self.out.weight.add_(0.5 / (0.25 * self.out.in_features))

    def forward(self, encoded: Tensor) -> Tensor:
        """(batch, filters, frames) -> masks (batch, sources, filters, frames)."""
        frames = encoded.shape[2]
        stream = widen_half(self.bottleneck(self.norm(encoded).transpose(1, 2)))  # sums over all blocks are kept in float32
        values = split_chunks(stream, self.chunk)
        for block in self.blocks:
            values = block(values)
        stream = join_chunks(self.rectify(values), frames)  # (batch, frames, bottleneck)
        stream = self.split(stream).unflatten(2, (self.sources, -1))
        scores = self.out(torch.tanh(self.value(stream)) * torch.sigmoid(self.gate(stream)))
        masks: Tensor = scores.relu() if self.mask == "relu" else scores.sigmoid()
        return masks.permute(0, 2, 3, 1)
