"""CAM++: densely connected time-delay layers, each masked by the context of its segment; the compact encoder to choose first.

Problem: which modern encoder gives most per multiplication? By published numbers (VoxCeleb1-O cleaned, large-margin tuning and score
normalisation, GMAC per two seconds) ReDimNet-B2 has 0.52 % at 0.90, CAM++ 0.66 % at 1.15, ResNet34 0.72 % at 4.55, ECAPA-512
0.78 % at 1.04.
Choice: CAM++, second by a little. Two toolkits publish it with 7.18 M parameters, which the layers below have; WeSpeaker's port of
ReDimNet-B2 has 4.9 M where its paper has 4.7 M, and says so, so its count could not be asserted. B2 also attends from every frame to
every other, which costs quadratic time and memory on the long recordings diarization has, where CAM++ is linear.
The gate of a layer sees only the mean of the utterance and of its segment of 100 frames (2 s), so here it is computed once per segment
and not once per frame; the result is the same. The pooled deviation is that of the frames (published: the unbiased estimate).
Sources: Wang et al. 2023 (arXiv 2303.00332); modelscope/3D-Speaker and wenet-e2e/wespeaker for sizes.
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
from auscult.models.pooling import UtteranceNorm, frame_weights, weighted_statistics
from auscult.models.recognition import widen_half
from auscult.models.speaker_encoder import EncodedFrames, SpeakerEncoder
from auscult.models.squeeze_excitation import input_planes
from auscult.registry import Component, register

_SEGMENT = 100
_LAYERS = (12, 24, 16)
_DILATIONS = (1, 2, 2)
_PLANES = 32
_SMALLEST_VARIANCE = 1e-7


class PlaneBlock(nn.Module):
    """Residual block on planes: convolution, norm, ReLU, convolution, norm, sum with the skip, ReLU.

    Args:
        planes: channels.
        stride: along frequency; time is kept.
    """

    def __init__(self, planes: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(planes, planes, 3, (stride, 1), padding=1, bias=False)
        self.bn1 = MaskedBatchNorm(planes)
        self.conv2 = nn.Conv2d(planes, planes, 3, padding=1, bias=False)
        self.bn2 = MaskedBatchNorm(planes)
        self.shortcut = None
        if stride != 1:
            self.shortcut = nn.ModuleList((nn.Conv2d(planes, planes, 1, (stride, 1), bias=False), MaskedBatchNorm(planes)))

    def forward(self, values: Tensor, mask: Tensor | None) -> Tensor:
        """(batch, planes, rows, frames), zero in padding -> rows divided by the stride, zero in padding."""
        change = zero_padding(F.relu(self.bn1(self.conv1(values), mask)), mask, 3)
        change = self.bn2(self.conv2(change), mask)
        skip = values if self.shortcut is None else self.shortcut[1](self.shortcut[0](values), mask)
        return zero_padding(F.relu(change + cast(Tensor, skip)), mask, 3)


class PlaneStem(nn.Module):
    """Convolutions over frequency and time that divide the bins by eight and keep the frames: (bins / 8) * 32 channels."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, _PLANES, 3, padding=1, bias=False)
        self.bn1 = MaskedBatchNorm(_PLANES)
        self.blocks = nn.ModuleList(PlaneBlock(_PLANES, stride) for stride in (2, 1, 2, 1))
        self.conv2 = nn.Conv2d(_PLANES, _PLANES, 3, (2, 1), padding=1, bias=False)
        self.bn2 = MaskedBatchNorm(_PLANES)

    def forward(self, planes: Tensor, mask: Tensor | None) -> Tensor:
        """(batch, 1, bins, frames), zero in padding -> (batch, 32 * bins / 8, frames), zero in padding."""
        planes = zero_padding(F.relu(self.bn1(self.conv1(planes), mask)), mask, 3)
        for block in self.blocks:
            planes = block(planes, mask)
        planes = zero_padding(F.relu(self.bn2(self.conv2(planes), mask)), mask, 3)
        return planes.flatten(1, 2)


class ContextLayer(nn.Module):
    """One dense layer: norm, ReLU, narrow, norm, ReLU, dilated convolution times a gate from utterance and segment means.

    Args:
        inputs: channels that come in.
        growth: channels that are added.
        dilation: frames between the taps.
    """

    def __init__(self, inputs: int, growth: int, dilation: int) -> None:
        super().__init__()
        narrow = 4 * growth
        self.norm1 = MaskedBatchNorm(inputs)
        self.narrow = nn.Conv1d(inputs, narrow, 1, bias=False)
        self.norm2 = MaskedBatchNorm(narrow)
        self.local = nn.Conv1d(narrow, growth, 3, padding=dilation, dilation=dilation, bias=False)
        self.squeeze = nn.Conv1d(narrow, narrow // 2, 1)
        self.excite = nn.Conv1d(narrow // 2, growth, 1)

    def forward(self, values: Tensor, mask: Tensor | None) -> Tensor:
        """(batch, inputs, frames), finite in padding -> (batch, growth, frames), finite in padding."""
        hidden = self.narrow(F.relu(self.norm1(values, mask)))
        hidden = zero_padding(F.relu(self.norm2(hidden, mask)), mask, 2)
        gate = torch.sigmoid(self.excite(F.relu(self.squeeze(segment_context(hidden, mask)))))  # (batch, growth, segments)
        return cast(Tensor, self.local(hidden) * gate.repeat_interleave(_SEGMENT, 2)[..., : values.shape[2]])


def segment_context(values: Tensor, mask: Tensor | None) -> Tensor:
    """Return the mean over the utterance plus the mean over each segment of 100 frames; the last segment may be shorter.

    Args:
        values: (batch, channels, frames), zero in padding.
        mask: (batch, frames) bool, or None if every frame is true.

    Returns:
        (batch, channels, segments); segments without a true frame hold the mean of the utterance.
    """
    frames = values.shape[2]
    segments = -(-frames // _SEGMENT)
    whole = F.pad(values, (0, segments * _SEGMENT - frames)).view(*values.shape[:2], segments, _SEGMENT)
    sums = whole.sum(3, dtype=widen_half(values[:0]).dtype)
    lengths = torch.full((1, 1, 1), frames, device=values.device) if mask is None else mask.sum(1)[:, None, None]
    counts = (lengths - _SEGMENT * torch.arange(segments, device=values.device)).clamp(1, _SEGMENT)
    return (sums.sum(2, keepdim=True) / lengths + sums / counts).to(values.dtype)


class DenseBlock(nn.Module):
    """Layers that each see all channels before them, then norm, ReLU and a pointwise layer that halves the channels.

    Args:
        inputs: channels that come in.
        layers: number of layers.
        growth: channels each adds.
        dilation: of the layers.
    """

    def __init__(self, inputs: int, layers: int, growth: int, dilation: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(ContextLayer(inputs + index * growth, growth, dilation) for index in range(layers))
        total = inputs + layers * growth
        self.outputs = total // 2
        self.norm = MaskedBatchNorm(total)
        self.transit = nn.Conv1d(total, self.outputs, 1, bias=False)

    def forward(self, values: Tensor, mask: Tensor | None) -> Tensor:
        """(batch, inputs, frames) -> (batch, outputs, frames), finite in padding."""
        for layer in self.layers:
            values = torch.cat((values, layer(values, mask)), 1)
        return cast(Tensor, self.transit(F.relu(self.norm(values, mask))))


@register("model", "campplus")
class CamPlusPlus(SpeakerEncoder):
    """CAM++ with mean and deviation pooling.

    One encoded frame is two feature frames. Parameter parts: `stem`, `delay`, `delay_norm`, `blocks`, `out_norm`, `fc`, `fc_norm`.

    Args:
        dimensions: size of an embedding; 512 as WeSpeaker (7.18 M parameters), 192 as 3D-Speaker's models.
        growth: channels each dense layer adds.
        channels: before the first dense block.
    """

    frame_stride = 2
    SIZES: ClassVar[dict[str, dict[str, Any]]] = {
        "tiny": {"model": {"growth": 8, "channels": 64, "dimensions": 128}},
        "small": {"model": {"growth": 16, "channels": 96, "dimensions": 192}},
        "base": {"model": {"growth": 32, "channels": 128, "dimensions": 512}},
    }

    def __init__(
        self,
        front_end: Annotated[FrontEnd, Component("front_end", default="log_mel")],
        feature_augmentation: Annotated[list[nn.Module], Component("feature_augmentation", many=True)],
        dimensions: Annotated[int, Field(gt=0)] = 512,
        growth: Annotated[int, Field(gt=0)] = 32,
        channels: Annotated[int, Field(gt=0)] = 128,
    ) -> None:
        super().__init__(front_end, feature_augmentation, dimensions)
        if front_end.bins % 8:
            raise UserError(f"campplus halves the bins three times and got {front_end.bins}; set front_end.mel_bins to a multiple of 8")
        self.stem = PlaneStem()
        self.delay = nn.Conv1d(_PLANES * (front_end.bins // 8), channels, 5, stride=2, padding=2, bias=False)
        self.delay_norm = MaskedBatchNorm(channels)
        self.blocks = nn.ModuleList()
        for layers, dilation in zip(_LAYERS, _DILATIONS, strict=True):
            block = DenseBlock(channels, layers, growth, dilation)
            self.blocks.append(block)
            channels = block.outputs
        self.out_norm = MaskedBatchNorm(channels)
        self.fc = nn.Linear(2 * channels, dimensions, bias=False)
        self.fc_norm = UtteranceNorm(dimensions, affine=False)
        for module in self.modules():
            if isinstance(module, nn.Conv1d | nn.Linear):
                nn.init.kaiming_normal_(module.weight)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def encode(self, features: Features) -> EncodedFrames:
        """features (batch, frames, bins) -> (batch, 512 at the default sizes, ceil(frames / 2))."""
        lengths = features.lengths.cpu()
        values = self.stem(*input_planes(features.values, lengths))
        values = self.delay(values)
        lengths = (lengths - 1).div(2, rounding_mode="floor") + 1
        mask = frame_mask(lengths, values.shape[2], values.device)
        values = F.relu(self.delay_norm(values, mask))
        for block in self.blocks:
            values = block(values, mask)
        values = zero_padding(F.relu(self.out_norm(values, mask)), mask, 2)
        return EncodedFrames(values, lengths.to(features.lengths.device))

    def pool(self, encoded: EncodedFrames, weights: Tensor | None = None) -> Tensor:
        """Return embeddings (batch, dimensions); the contract is the base class's."""
        with torch.autocast(encoded.values.device.type, enabled=False):
            pooled = weighted_statistics(widen_half(encoded.values), frame_weights(encoded, weights), _SMALLEST_VARIANCE)
            embeddings: Tensor = self.fc_norm(self.fc(pooled))
            return embeddings
