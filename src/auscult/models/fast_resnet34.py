"""Fast ResNet-34 (ResNetSE34L), the small residual encoder of voxceleb_trainer, checkpoint-compatible.

Problem: a quarter of the usual widths and a stem that halves the frequency axis make a 34-layer network affordable (0.22 GMAC per second);
its public checkpoint is the usual baseline. Choice: the published layers, order and child names on convolutions that know the true
lengths. Unlike its larger sister it has batch norm before ReLU in the stem, no pre-emphasis, a mean over frequency before
pooling, and one attention weight per frame, from a vector that every frame is compared with (SAP).
Sources: Chung et al. 2020 (arXiv 2003.11982); clovaai/voxceleb_trainer, models/ResNetSE34L. 1,437,078 parameters at 512 dimensions.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from auscult.audio.front_end import Features, FrontEnd
from auscult.models.masking import MaskedBatchNorm, zero_padding
from auscult.models.pooling import attend, frame_weights
from auscult.models.recognition import widen_half
from auscult.models.speaker_encoder import EncodedFrames, SpeakerEncoder
from auscult.models.squeeze_excitation import initialise_convolutions, input_planes, residual_stages
from auscult.registry import Component, register

_BLOCKS = (3, 4, 6, 3)
_STRIDES = (1, 2, 2, 1)
_MEL_40 = {"mel_bins": 40, "pre_emphasis": 0.0}


@register("model", "fast_resnet34")
class FastResNet34(SpeakerEncoder):
    """Thin residual network of 34 layers with squeeze and excitation, self-attentive pooling.

    One encoded frame is four feature frames. Parameter parts: `conv1`, `bn1`, `layer1` to `layer4`, `sap_linear`, `attention`, `fc`.

    Args:
        dimensions: size of an embedding ("nOut").
        channels: of the first stage; the others have twice as many each; the published network has 16.
        pooling: "SAP" for the mean, "ASP" for mean and deviation.
    """

    frame_stride = 4
    SIZES: ClassVar[dict[str, dict[str, Any]]] = {
        "tiny": {"model": {"channels": 8, "dimensions": 128}},
        "small": {"model": {"channels": 16, "dimensions": 512}},
        "base": {"model": {"channels": 32, "dimensions": 512}},
    }

    def __init__(
        self,
        front_end: Annotated[FrontEnd, Component("front_end", default="voxceleb_mel", default_arguments=_MEL_40)],
        feature_augmentation: Annotated[list[nn.Module], Component("feature_augmentation", many=True)],
        dimensions: Annotated[int, Field(gt=0)] = 512,
        channels: Annotated[int, Field(ge=8)] = 16,
        pooling: Literal["SAP", "ASP"] = "SAP",
    ) -> None:
        super().__init__(front_end, feature_augmentation, dimensions)
        widths = [channels * 2**stage for stage in range(4)]
        self.pooling = pooling
        self.conv1 = nn.Conv2d(1, channels, 7, stride=(2, 1), padding=3, bias=False)
        self.bn1 = MaskedBatchNorm(channels)
        self.layer1, self.layer2, self.layer3, self.layer4 = residual_stages(widths, _BLOCKS, _STRIDES)
        self.sap_linear = nn.Linear(widths[-1], widths[-1])
        self.attention = nn.Parameter(nn.init.xavier_normal_(torch.empty(widths[-1], 1)))
        self.fc = nn.Linear(widths[-1] * (2 if pooling == "ASP" else 1), dimensions)
        initialise_convolutions(self)

    def encode(self, features: Features) -> EncodedFrames:
        """features (batch, frames, bins) -> (batch, 8 * channels, ceil(frames / 4)), the means over frequency."""
        lengths = features.lengths.cpu()
        planes, mask = input_planes(features.values, lengths)
        planes = zero_padding(F.relu(self.bn1(self.conv1(planes), mask)), mask, 3)
        for stage in (self.layer1, self.layer2, self.layer3, self.layer4):
            planes, lengths = stage(planes, lengths)
        return EncodedFrames(planes.mean(2), lengths.to(features.lengths.device))

    def pool(self, encoded: EncodedFrames, weights: Tensor | None = None) -> Tensor:
        """Return embeddings (batch, dimensions); the contract is the base class's."""
        with torch.autocast(encoded.values.device.type, enabled=False):
            values = widen_half(encoded.values)
            hidden = torch.tanh(self.sap_linear(values.transpose(1, 2)))  # (batch, frames, channels)
            scores = (hidden @ self.attention).transpose(1, 2)
            pooled = attend(values, scores, frame_weights(encoded, weights), deviation=self.pooling == "ASP")
            embeddings: Tensor = self.fc(pooled)
            return embeddings
