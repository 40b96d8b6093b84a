"""The light CNN of the pseudo-label experiment, on the waveform or on features, so that its cost can be looked at.

Problem: "only the input channels change, from 1 to 80" was said of this network, and hides that the waveform has 160 times as many
positions as features every 10 ms: 12.8 against 0.085 thousand million multiply-accumulates for three seconds, with a receptive field of
10 ms against 1.6 s before everything is averaged. Choice: one class with the front-end as an optional part: without one it is the
waveform variant, and `auscult inspect` prints what either costs. Batch statistics and the mean over time are over true frames only.
Rejected: a second class for the waveform (the two would drift apart). It is here to repeat the experiment, not to be used:
for speakers take an encoder of `models/`, for who speaks when `powerset_segmentation`.
"""

from __future__ import annotations

from typing import Annotated

import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from auscult.audio.front_end import FrontEnd
from auscult.errors import UserError
from auscult.models.masking import MaskedBatchNorm, frame_mask, zero_padding
from auscult.models.recognition import widen_half
from auscult.registry import INJECTED, Component, register
from auscult.specification import Specification

CHANNELS = (64, 128, 256, 256, 512)
POOLING = 2 ** len(CHANNELS)
"""Input positions per position after the last block."""


class _Block(nn.Module):
    """Two convolutions of three taps with batch norm, a skip (1 x 1 where the width changes), ReLU, and the maximum of every two."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.first = nn.Conv1d(inputs, outputs, 3, padding=1, bias=False)
        self.first_norm = MaskedBatchNorm(outputs)
        self.second = nn.Conv1d(outputs, outputs, 3, padding=1, bias=False)
        self.second_norm = MaskedBatchNorm(outputs)
        self.skip = nn.Conv1d(inputs, outputs, 1, bias=False) if inputs != outputs else nn.Identity()

    def forward(self, values: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """(batch, channels, positions), (batch,) -> the same at half the length, zero beyond it."""
        mask = frame_mask(lengths, values.shape[2], values.device)
        hidden = zero_padding(F.relu(self.first_norm(self.first(values), mask)), mask, 2)
        total = F.relu(self.second_norm(self.second(hidden), mask) + self.skip(values))
        pooled = F.max_pool1d(total, 2)
        half = lengths.div(2, rounding_mode="floor")
        return zero_padding(pooled, frame_mask(half, pooled.shape[2], values.device), 2), half


@register("model", "light_cnn")
class LightCnn(nn.Module):
    """Five residual blocks, the mean over time, and two linear layers; 2.26 M parameters for two classes.

    Args:
        front_end: what the first block sees; left out, it is the waveform (150 times the cost of features every 10 ms).
        feature_augmentation: needs a front-end.
        dropout: probability of losing a unit before the last layer.
    """

    def __init__(
        self,
        specification: Annotated[Specification, INJECTED],
        front_end: Annotated[FrontEnd | None, Component("front_end")],
        feature_augmentation: Annotated[list[nn.Module], Component("feature_augmentation", many=True)],
        dropout: Annotated[float, Field(ge=0, lt=1)] = 0.3,
    ) -> None:
        super().__init__()
        if feature_augmentation and front_end is None:
            raise UserError("light_cnn: feature_augmentation changes features and there is no front_end; name one or remove the key")
        self.front_end = front_end
        self.feature_augmentation = nn.ModuleList(feature_augmentation)
        widths = (front_end.bins if front_end is not None else 1, *CHANNELS)
        self.blocks = nn.ModuleList(_Block(inputs, outputs) for inputs, outputs in zip(widths[:-1], CHANNELS, strict=True))
        self.hidden = nn.Linear(CHANNELS[-1], 256)
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(256, specification.classes)

    def forward(self, samples: Tensor, sample_lengths: Tensor) -> Tensor:
        """Classify a batch.

        Args:
            samples: (batch, time) float32 in [-1, 1], anything beyond the lengths.
            sample_lengths: (batch,) int64.

        Returns:
            logits (batch, classes) float32.

        Raises:
            UserError: an utterance has fewer than 32 positions (samples or frames) for the five halvings.
        """
        values, lengths = self._positions(samples, sample_lengths)
        short = (lengths < POOLING).nonzero().flatten().tolist()
        if short:
            what = "samples" if self.front_end is None else "feature frames"
            raise UserError(
                f"light_cnn: utterance {short[0]} of the batch has {int(lengths[short[0]])} {what}, at least {POOLING} are needed; "
                "leave it out"
            )
        for block in self.blocks:
            values, lengths = block(values, lengths)
        mean = values.sum(dim=2) / lengths.to(values.device)[:, None]
        logits: Tensor = self.fc(self.dropout(F.relu(self.hidden(mean))))
        return widen_half(logits)

    def _positions(self, samples: Tensor, sample_lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Return (batch, channels, positions), zero beyond the lengths, and lengths (batch,) on the CPU."""
        lengths = sample_lengths.cpu()
        if self.front_end is None:
            return zero_padding(samples[:, None], frame_mask(lengths, samples.shape[1], samples.device), 2), lengths
        features = self.front_end(samples, sample_lengths)
        for augmentation in self.feature_augmentation:
            features = augmentation(features)
        return features.values.transpose(1, 2), features.lengths.cpu()
