"""What every speaker encoder shares: samples in, one embedding per utterance out, in two steps that can be asked for apart.

Verification wants one embedding per recording; diarization wants many from one recording, each of the frames in which one speaker
is alone. Both are the same network if the frames are computed first (`encode`) and pooled afterwards (`pool`) with a weight per
frame. The front-end lives inside the encoder, so training, evaluation and export cannot differ in features, and true lengths
travel with every tensor, so that padding never reaches an embedding. Rejected: cutting the clean stretches out and encoding
them one by one, which costs one pass per window and speaker and puts artificial joints into the audio.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from auscult.audio.front_end import Features, FrontEnd
from auscult.errors import UserError


class EncodedFrames(NamedTuple):
    """What an encoder knows of each frame, before pooling.

    Attributes:
        values: (batch, channels, frames), zero beyond `lengths`.
        lengths: (batch,) int64 true frames.
    """

    values: Tensor
    lengths: Tensor


class SpeakerEncoder(nn.Module, ABC):
    """Base of the speaker encoders.

    Attributes:
        front_end: turns samples into features.
        feature_augmentation: applied to features in order, in training only.
        dimensions: size of an embedding.
        frame_stride: feature frames per encoded frame.
        minimum_frames: feature frames needed for one embedding.
    """

    frame_stride: int = 1
    minimum_frames: int = 1

    def __init__(self, front_end: FrontEnd, feature_augmentation: Sequence[nn.Module], dimensions: int) -> None:
        super().__init__()
        self.front_end = front_end
        self.feature_augmentation = nn.ModuleList(feature_augmentation)
        self.dimensions = dimensions

    @abstractmethod
    def encode(self, features: Features) -> EncodedFrames:
        """Return encoded frames of features (batch, frames, bins); frame k stands for feature frames around k * frame_stride."""

    @abstractmethod
    def pool(self, encoded: EncodedFrames, weights: Tensor | None = None) -> Tensor:
        """Return embeddings (batch, dimensions), float32, not normalised.

        Args:
            encoded: frames of each utterance.
            weights: (batch, frames) float in [0, 1], which frames count and how much; None counts every true frame as 1.
                Frames beyond the lengths never count, and weights that are all 1 give what None gives.
        """

    @property
    def frame_step(self) -> float:
        """Seconds per encoded frame."""
        return self.front_end.frame_step * self.frame_stride

    @property
    def minimum_samples(self) -> int:
        """Fewest samples that give an embedding, found by asking the front-end."""
        high = self.front_end.minimum_samples
        while self._input_frames(high) < self.minimum_frames:
            high *= 2
        low = high // 2
        while low + 1 < high:
            middle = (low + high) // 2
            low, high = (middle, high) if self._input_frames(middle) < self.minimum_frames else (low, middle)
        return max(high, self.front_end.minimum_samples)

    def forward(self, samples: Tensor, sample_lengths: Tensor) -> Tensor:
        """Embed a batch.

        Args:
            samples: (batch, time) float32 in [-1, 1], anything beyond the lengths.
            sample_lengths: (batch,) int64, true samples of each utterance.

        Returns:
            (batch, dimensions) float32, not normalised.

        Raises:
            UserError: shapes do not fit, or an utterance is shorter than `minimum_samples`.
        """
        return self.pool(self.encode(self.features(samples, sample_lengths)))

    def features(self, samples: Tensor, sample_lengths: Tensor) -> Features:
        """Return the features `encode` takes, augmented in training; arguments and errors as `forward`."""
        self._check(samples, sample_lengths)
        features = self.front_end(samples, sample_lengths)
        for augmentation in self.feature_augmentation:
            features = augmentation(features)
        return Features(features.values.to(next(self.parameters()).dtype), features.lengths)

    def _input_frames(self, samples: int) -> int:
        return int(self.front_end.frames(torch.tensor([samples])))

    def _check(self, samples: Tensor, sample_lengths: Tensor) -> None:
        if samples.dim() != 2 or sample_lengths.shape != samples.shape[:1]:
            raise UserError(
                f"{type(self).__name__} takes samples (batch, time) and lengths (batch,), not {tuple(samples.shape)} and "
                f"{tuple(sample_lengths.shape)}; flatten (speakers, utterances, time) with samples.flatten(0, 1)"
            )
        lengths = sample_lengths.cpu()
        if len(lengths) and int(lengths.max()) > samples.shape[1]:
            raise UserError(
                f"an utterance claims {int(lengths.max())} samples in a batch padded to {samples.shape[1]}; pass the true sample counts"
            )
        short = (self.front_end.frames(lengths) < self.minimum_frames).nonzero().flatten().tolist()
        if short:
            seconds = self.minimum_samples / self.front_end.sample_rate
            raise UserError(
                f"utterance {short[0]} of the batch has {int(lengths[short[0]])} samples; {type(self).__name__} needs at least "
                f"{self.minimum_samples} ({seconds:.3f} s); leave it out or give a longer recording"
            )
