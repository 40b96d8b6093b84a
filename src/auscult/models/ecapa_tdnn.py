"""ECAPA-TDNN: a one-dimensional encoder with Res2Net blocks, excitation over channels and attention that sees the whole utterance.

Problem: the most copied speaker encoder exists in forms that share a name and not a number (excitation width, which outputs feed which
block, what stands between the attention's layers), so that "14.7 M parameters" does not say which. Choice: the form of WeSpeaker, whose
counts are published and asserted in the tests: dilations 2, 3, 4, a chain of blocks whose three outputs are joined, tanh in
the attention, batch norm after pooling. Everything is one-dimensional, so an encoded frame is a feature frame (10 ms).
`global_context` appends mean and deviation of the utterance to what the attention sees; they are taken with the same weights per
frame as the pooling, so an embedding of one speaker's frames is not told about the others.
Rejected: the form whose blocks take the sum of all earlier outputs (15.4 M parameters; no comparison under one recipe is known to us).
The deviation the attention sees is that of the frames (published: the unbiased estimate, which one frame does not have).
Sources: Desplanques et al. 2020 (arXiv 2005.07143); wenet-e2e/wespeaker for sizes.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, cast

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from auscult.audio.front_end import Features, FrontEnd
from auscult.errors import UserError
from auscult.models.masking import MaskedBatchNorm, frame_mask, zero_padding
from auscult.models.pooling import UtteranceNorm, attend, frame_weights, weighted_mean, weighted_statistics
from auscult.models.recognition import widen_half
from auscult.models.speaker_encoder import EncodedFrames, SpeakerEncoder
from auscult.registry import Component, register

_SCALE = 8
_BOTTLENECK = 128
_DILATIONS = (2, 3, 4)
_SMALLEST_VARIANCE = 1e-7


class ConvolutionBlock(nn.Module):
    """Convolution over time with bias, ReLU, batch norm.

    Args:
        inputs: channels that come in.
        outputs: channels that go out.
        kernel: frames, odd.
        dilation: frames between the taps.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int = 1, dilation: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv1d(inputs, outputs, kernel, padding=dilation * (kernel // 2), dilation=dilation)
        self.norm = MaskedBatchNorm(outputs)

    def forward(self, values: Tensor, mask: Tensor | None) -> Tensor:
        """(batch, inputs, frames), zero in padding -> (batch, outputs, frames), zero in padding."""
        return zero_padding(self.norm(F.relu(self.conv(values)), mask), mask, 2)


class Res2Block(nn.Module):
    """Pointwise layer, convolutions in a cascade over groups of channels, pointwise layer, excitation, sum with the input.

    Args:
        channels: of the stream, a multiple of 8.
        dilation: of the convolutions in the cascade.
    """

    def __init__(self, channels: int, dilation: int) -> None:
        super().__init__()
        group = channels // _SCALE
        self.first = ConvolutionBlock(channels, channels)
        self.cascade = nn.ModuleList(ConvolutionBlock(group, group, 3, dilation) for _ in range(_SCALE - 1))
        self.last = ConvolutionBlock(channels, channels)
        self.squeeze = nn.Linear(channels, _BOTTLENECK)
        self.excite = nn.Linear(_BOTTLENECK, channels)

    def forward(self, values: Tensor, mask: Tensor | None) -> Tensor:
        """(batch, channels, frames), zero in padding -> same shape, zero in padding."""
        groups = self.first(values, mask).chunk(_SCALE, 1)
        done, carried = [], None
        for block, group in zip(self.cascade, groups[:-1], strict=True):
            carried = block(group if carried is None else group + carried, mask)
            done.append(carried)
        joined = self.last(torch.cat((*done, groups[-1]), 1), mask)
        means = weighted_mean(joined, None if mask is None else mask.to(joined.dtype))
        scale = torch.sigmoid(self.excite(F.relu(self.squeeze(means))))
        return cast(Tensor, values + joined * scale.unsqueeze(2))


@register("model", "ecapa_tdnn")
class EcapaTdnn(SpeakerEncoder):
    """Three Res2Net blocks with excitation, joined, attentive statistics.

    One encoded frame is one feature frame. Parameter parts: `stem`, `blocks`, `join`, `attention`, `norm`, `fc`.

    Args:
        channels: of the blocks, a multiple of 8; 512 gives 6.2 M parameters, 1024 gives 14.7 M.
        dimensions: size of an embedding.
        joined: channels that are pooled.
        global_context: let the attention see mean and deviation of the utterance.
    """

    SIZES: ClassVar[dict[str, dict[str, Any]]] = {
        "tiny": {"model": {"channels": 128, "joined": 384, "dimensions": 128}},
        "small": {"model": {"channels": 512}},
        "base": {"model": {"channels": 1024}},
    }

    def __init__(
        self,
        front_end: Annotated[FrontEnd, Component("front_end", default="log_mel")],
        feature_augmentation: Annotated[list[nn.Module], Component("feature_augmentation", many=True)],
        channels: Annotated[int, Field(gt=0)] = 512,
        dimensions: Annotated[int, Field(gt=0)] = 192,
        joined: Annotated[int, Field(gt=0)] = 1536,
        global_context: bool = True,
    ) -> None:
        super().__init__(front_end, feature_augmentation, dimensions)
        if channels % _SCALE:
            raise UserError(f"ecapa_tdnn: channels is {channels} and must be a multiple of {_SCALE}; use {channels // _SCALE * 8 + 8}")
        self.global_context = global_context
        self.stem = ConvolutionBlock(front_end.bins, channels, 5)
        self.blocks = nn.ModuleList(Res2Block(channels, dilation) for dilation in _DILATIONS)
        self.join = nn.Conv1d(len(_DILATIONS) * channels, joined, 1)
        seen = joined * (3 if global_context else 1)
        self.attention = nn.Sequential(nn.Conv1d(seen, _BOTTLENECK, 1), nn.Tanh(), nn.Conv1d(_BOTTLENECK, joined, 1))
        self.norm = UtteranceNorm(2 * joined)
        self.fc = nn.Linear(2 * joined, dimensions)

    def encode(self, features: Features) -> EncodedFrames:
        """features (batch, frames, bins) -> (batch, joined, frames)."""
        mask = frame_mask(features.lengths.cpu(), features.values.shape[1], features.values.device)
        values = self.stem(zero_padding(features.values.transpose(1, 2), mask, 2), mask)
        outputs = []
        for block in self.blocks:
            values = block(values, mask)
            outputs.append(values)
        joined = F.relu(self.join(torch.cat(outputs, 1)))
        return EncodedFrames(zero_padding(joined, mask, 2), features.lengths)

    def pool(self, encoded: EncodedFrames, weights: Tensor | None = None) -> Tensor:
        """Return embeddings (batch, dimensions); the contract is the base class's."""
        counted = frame_weights(encoded, weights)
        scores = widen_half(self._scores(encoded.values, counted))
        with torch.autocast(encoded.values.device.type, enabled=False):
            pooled = attend(widen_half(encoded.values), scores, counted, deviation=True, floor=_SMALLEST_VARIANCE)
            embeddings: Tensor = self.fc(self.norm(pooled))
            return embeddings

    def _scores(self, values: Tensor, counted: Tensor | None) -> Tensor:
        """(batch, joined, frames) -> attention scores of the same shape."""
        if not self.global_context:
            return cast(Tensor, self.attention(values))
        with torch.autocast(values.device.type, enabled=False):
            context = weighted_statistics(widen_half(values), counted, _SMALLEST_VARIANCE)
        first, rest = cast(nn.Conv1d, self.attention[0]), self.attention[1:]
        joined = values.shape[1]
        # the context is the same in every frame: one product per utterance instead of one per frame, and no tensor of three times the size
        shared = F.linear(context.to(first.weight.dtype), first.weight[:, joined:, 0], first.bias)
        hidden = F.conv1d(values, first.weight[:, :joined]) + shared.unsqueeze(2)
        return cast(Tensor, rest(hidden))
