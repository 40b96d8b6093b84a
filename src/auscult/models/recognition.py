"""What every recognition model shares: samples in, logits with lengths out, and a refusal of input too short to have any.

The front-end lives inside the model, so training, evaluation and export cannot differ in features. A model adds only what
follows the features (`encode`) and its arithmetic of lengths (`output_frames`); the length of the result is thereby a formula
that can be asked for without running anything, which data audits and CTC feasibility checks need.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from auscult.audio.front_end import Features, FrontEnd
from auscult.errors import UserError
from auscult.models.output import FrameLogits
from auscult.specification import Specification

_LONGEST_SEARCHED = 1 << 40


class RecognitionModel(nn.Module, ABC):
    """Base of the CTC recognition models.

    Attributes:
        front_end: turns samples into features.
        feature_augmentation: applied to features in order, in training only.
        minimum_frames: input frames needed for one output frame.
        frame_stride: input frames per output frame.
        minimum_samples: samples needed for one output frame.
        classes: output classes, the blank included.
    """

    minimum_frames: int = 1
    frame_stride: int = 1

    def __init__(self, specification: Specification, front_end: FrontEnd, feature_augmentation: Sequence[nn.Module]) -> None:
        super().__init__()
        if specification.blank is None:
            raise UserError("a recognition model is trained with CTC, but its specification has no blank; set Specification.blank")
        self.classes = specification.classes
        self.front_end = front_end
        self.feature_augmentation = nn.ModuleList(feature_augmentation)

    @abstractmethod
    def output_frames(self, frames: Tensor) -> Tensor:
        """Return the output frames of `frames` input frames, both (batch,) int64; values below 1 mean too short."""

    @abstractmethod
    def encode(self, features: Features) -> FrameLogits:
        """Return logits of features (batch, frames, bins); the part of the model after the front-end.

        Raises:
            UserError: an utterance has fewer frames than `minimum_frames`.
        """

    @property
    def frame_step(self) -> float:
        """Seconds per output frame."""
        return self.front_end.frame_step * self.frame_stride

    @property
    def minimum_samples(self) -> int:
        """Fewest samples that give one output frame, found by asking the front-end."""
        high = 1
        while self._input_frames(high) < self.minimum_frames:
            high *= 2
            if high > _LONGEST_SEARCHED:
                raise UserError(f"{type(self.front_end).__name__} never gives the {self.minimum_frames} frames {type(self).__name__} needs")
        low = high // 2
        while low + 1 < high:
            middle = (low + high) // 2
            low, high = (middle, high) if self._input_frames(middle) < self.minimum_frames else (low, middle)
        return high

    def output_lengths(self, sample_lengths: Tensor) -> Tensor:
        """Return (batch,) int64 output frames for (batch,) int64 sample counts, without running the model; 0 where too short."""
        return self.output_frames(self.front_end.frames(sample_lengths)).clamp_min(0)

    def forward(self, samples: Tensor, sample_lengths: Tensor) -> FrameLogits:
        """Recognise a batch.

        Args:
            samples: (batch, time) float32 in [-1, 1], anything beyond the lengths.
            sample_lengths: (batch,) int64, true samples of each utterance.

        Returns:
            logits (batch, frames, classes) and lengths (batch,).

        Raises:
            UserError: shapes do not fit, or an utterance is shorter than `minimum_samples`.
        """
        self._check_samples(samples, sample_lengths)
        features = self.front_end(samples, sample_lengths)
        for augmentation in self.feature_augmentation:
            features = augmentation(features)
        return self.encode(Features(features.values.to(next(self.parameters()).dtype), features.lengths))

    def parameter_groups(self) -> dict[str, list[nn.Parameter]]:
        """Return the parameters by part, under names that stay the same across versions.

        A part is a top-level module (`conv`, `bn`, `fc`); recurrent layers are parts of their own (`rnn.0`, `rnn.1`, ...).
        """
        groups: dict[str, list[nn.Parameter]] = {}
        for name, parameter in self.named_parameters():
            pieces = name.split(".")
            groups.setdefault(".".join(pieces[: 2 if pieces[0] == "rnn" else 1]), []).append(parameter)
        return groups

    def _input_frames(self, samples: int) -> int:
        return int(self.front_end.frames(torch.tensor([samples])))

    def _check_samples(self, samples: Tensor, sample_lengths: Tensor) -> None:
        if samples.dim() != 2 or sample_lengths.shape != samples.shape[:1]:
            raise UserError(
                f"{type(self).__name__} takes samples (batch, time) and lengths (batch,), not "
                f"{tuple(samples.shape)} and {tuple(sample_lengths.shape)}; add a batch dimension to a single waveform"
            )
        lengths = sample_lengths.cpu()
        if len(lengths) and int(lengths.max()) > samples.shape[1]:
            raise UserError(
                f"an utterance claims {int(lengths.max())} samples in a batch padded to {samples.shape[1]}; pass the true sample counts"
            )
        short = (self.output_lengths(lengths) < 1).nonzero().flatten().tolist()
        if short:
            seconds = self.minimum_samples / self.front_end.sample_rate
            raise UserError(
                f"utterance {short[0]} of the batch has {int(lengths[short[0]])} samples; {type(self).__name__} needs at least "
                f"{self.minimum_samples} ({seconds:.3f} s); leave it out or use a smaller frame step"
            )

    def _checked_lengths(self, features: Features) -> Tensor:
        """Return the input frame counts on the CPU, after checking them and the shape of the features."""
        values, lengths = features
        if values.dim() != 3 or values.shape[2] != self.front_end.bins:
            raise UserError(f"{type(self).__name__} takes features (batch, frames, {self.front_end.bins}), not {tuple(values.shape)}")
        on_cpu = lengths.cpu()
        short = (on_cpu < self.minimum_frames).nonzero().flatten().tolist()
        if short:
            raise UserError(
                f"utterance {short[0]} of the batch has {int(on_cpu[short[0]])} feature frames; {type(self).__name__} needs at least "
                f"{self.minimum_frames} for one output frame; leave it out or use a smaller frame step"
            )
        return on_cpu


def widen_half(logits: Tensor) -> Tensor:
    """Return logits in float32 if autocast made them half precision: losses and decoders never see less."""
    return logits.float() if logits.dtype in (torch.float16, torch.bfloat16) else logits
