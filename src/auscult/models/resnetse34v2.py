"""ResNetSE34V2, the larger residual encoder of voxceleb_trainer ("H/ASP"), checkpoint-compatible.

Problem: published weights are worth using only if the network around them is theirs to the last digit, and the original lets padding
into batch norms, excitations and pooling. Choice: the published layers, order and child names, so that `models.voxceleb_trainer`
reads their files, on convolutions that know the true lengths; a batch without padding takes the very same kernels.
The pooling sees 2048 channels (256 planes of 8 rows): mean and deviation weighted by channel and frame ("ASP"), or the mean ("SAP").
The encoded frame is 80 ms, which is fine enough to choose clean stretches, and coarse for the edges of a turn.
Sources: Heo et al. 2020 (arXiv 2009.14153); clovaai/voxceleb_trainer, models/ResNetSE34V2. 8,028,492 parameters at 64 mel bins and
512 dimensions, 1.82 GMAC per second.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from auscult.audio.front_end import Features, FrontEnd
from auscult.errors import UserError
from auscult.models.masking import MaskedBatchNorm, frame_mask, zero_padding
from auscult.models.pooling import ChannelAttention, attend, frame_weights
from auscult.models.recognition import widen_half
from auscult.models.speaker_encoder import EncodedFrames, SpeakerEncoder
from auscult.models.squeeze_excitation import initialise_convolutions, input_planes, residual_stages
from auscult.registry import Component, register

_BLOCKS = (3, 4, 6, 3)
_STRIDES = (1, 2, 2, 2)


@register("model", "resnetse34v2")
class ResNetSE34V2(SpeakerEncoder):
    """Residual network of 34 layers with squeeze and excitation, attentive pooling.

    One encoded frame is eight feature frames. Parameter parts: `conv1`, `bn1`, `layer1` to `layer4`, `attention`, `fc`.

    Args:
        dimensions: size of an embedding ("nOut").
        channels: of the first stage; the others have twice as many each; the published network has 32.
        pooling: "ASP" for mean and deviation, "SAP" for the mean.
    """

    frame_stride = 8
    SIZES: ClassVar[dict[str, dict[str, Any]]] = {
        "tiny": {"model": {"channels": 8, "dimensions": 128}},
        "small": {"model": {"channels": 16, "dimensions": 256}},
        "base": {"model": {"channels": 32, "dimensions": 512}},
    }

    def __init__(
        self,
        front_end: Annotated[FrontEnd, Component("front_end", default="voxceleb_mel", default_arguments={"mel_bins": 64})],
        feature_augmentation: Annotated[list[nn.Module], Component("feature_augmentation", many=True)],
        dimensions: Annotated[int, Field(gt=0)] = 512,
        channels: Annotated[int, Field(ge=8)] = 32,
        pooling: Literal["ASP", "SAP"] = "ASP",
    ) -> None:
        super().__init__(front_end, feature_augmentation, dimensions)
        if front_end.bins % 8:
            raise UserError(f"resnetse34v2 halves the bins three times and got {front_end.bins}; set front_end.mel_bins to a multiple of 8")
        widths = [channels * 2**stage for stage in range(4)]
        self.pooling = pooling
        self.conv1 = nn.Conv2d(1, channels, 3, padding=1)
        self.bn1 = MaskedBatchNorm(channels)
        self.layer1, self.layer2, self.layer3, self.layer4 = residual_stages(widths, _BLOCKS, _STRIDES)
        pooled = widths[-1] * (front_end.bins // 8)
        self.attention = ChannelAttention(pooled)
        self.fc = nn.Linear(pooled * (2 if pooling == "ASP" else 1), dimensions)
        initialise_convolutions(self)

    def encode(self, features: Features) -> EncodedFrames:
        """features (batch, frames, bins) -> (batch, 8 * channels * bins / 8, ceil(frames / 8))."""
        lengths = features.lengths.cpu()
        planes, mask = input_planes(features.values, lengths)
        planes = zero_padding(self.bn1(F.relu(self.conv1(planes)), mask), mask, 3)
        for stage in (self.layer1, self.layer2, self.layer3, self.layer4):
            planes, lengths = stage(planes, lengths)
        return EncodedFrames(planes.flatten(1, 2), lengths.to(features.lengths.device))

    def pool(self, encoded: EncodedFrames, weights: Tensor | None = None) -> Tensor:
        """Return embeddings (batch, dimensions); the contract is the base class's."""
        values, mask = encoded.values, frame_mask(encoded.lengths.cpu(), encoded.values.shape[2], encoded.values.device)
        scores = widen_half(self.attention(values, mask))
        with torch.autocast(values.device.type, enabled=False):
            pooled = attend(widen_half(values), scores, frame_weights(encoded, weights), deviation=self.pooling == "ASP")
            embeddings: Tensor = self.fc(pooled)
            return embeddings
