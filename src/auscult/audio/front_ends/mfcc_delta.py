"""Mel cepstra and their slopes in time: the "40 MFCC + deltas" of many small classifiers, with a hop that is stated.

Problem: `librosa.feature.mfcc` hops 512 samples where nothing is said, which gives 94 frames for three seconds at 16 kHz while everybody
around it counts on 300; and slopes at the edges of an utterance, or beside padding, depend on what the tool puts there. Choice: window and
hop in seconds, slopes by linear regression over `reach` frames on each side, the first and last true frame repeated beyond the ends.
Source: the regression is HTK's (The HTK Book, section 5.9).
"""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from auscult.audio.front_end import Features, FrontEnd, full_precision
from auscult.audio.front_ends.mfcc_context import MfccContext
from auscult.audio.front_ends.normalisation import normalise
from auscult.registry import INJECTED, register


@register("front_end", "mfcc_delta")
class MfccDelta(FrontEnd):
    """Mel-frequency cepstral coefficients of a frame, then their slopes: `bins` is twice `coefficients`.

    Args:
        sample_rate: in hertz.
        window: in seconds.
        step: in seconds.
        coefficients: per frame, at most `mel_bins`.
        reach: frames on each side that a slope is fitted to.
        mel_bins: filters under the cosine transform.
        normalise: subtract the mean and divide by the deviation of each "bin", of the "utterance", or "none".

    >>> front_end = MfccDelta(sample_rate=16000)
    >>> front_end.bins, int(front_end.frames(torch.tensor([48000]))[0])
    (80, 301)
    """

    def __init__(
        self,
        sample_rate: Annotated[int, INJECTED],
        window: Annotated[float, Field(gt=0)] = 0.025,
        step: Annotated[float, Field(gt=0)] = 0.010,
        coefficients: Annotated[int, Field(ge=1)] = 40,
        reach: Annotated[int, Field(ge=1)] = 4,
        mel_bins: Annotated[int, Field(ge=1)] = 80,
        normalise: Literal["utterance", "bin", "none"] = "bin",
    ) -> None:
        super().__init__()
        self.cepstra = MfccContext(sample_rate, window, step, coefficients, context=0, mel_bins=mel_bins, normalise="none")
        self.sample_rate, self.frame_step, self.normalise = sample_rate, step, normalise
        self.reach, self.bins = reach, 2 * coefficients
        self.minimum_samples = self.cepstra.minimum_samples

    def frames(self, sample_lengths: Tensor) -> Tensor:
        """Return 1 + floor(n / step) frames: same shape, int64."""
        return self.cepstra.frames(sample_lengths)

    def forward(self, samples: Tensor, sample_lengths: Tensor) -> Features:
        """Return features: samples (batch, time) float32, sample_lengths (batch,) int64 -> (batch, frames, bins) float32."""
        with full_precision(samples):
            values, lengths = self.cepstra(samples, sample_lengths)
            both = torch.cat([values, slopes(values, lengths, self.reach)], dim=2)
            return Features(normalise(both, lengths, self.normalise, in_place=False), lengths)

    def extra_repr(self) -> str:
        """Describe the front-end in a line."""
        return f"sample_rate={self.sample_rate}, bins={self.bins}, frame_step={self.frame_step:g}, reach={self.reach}"


def slopes(values: Tensor, lengths: Tensor, reach: int) -> Tensor:
    """Return the slope of each bin at each frame, per frame, by regression over `reach` frames on each side.

    Args:
        values: (batch, frames, bins).
        lengths: (batch,) int64; frames beyond them are never looked at, and their slopes mean nothing.
        reach: at least 1.

    >>> slopes(torch.arange(5.0)[None, :, None], torch.tensor([5]), 1)[0, :, 0].tolist()
    [0.5, 1.0, 1.0, 1.0, 0.5]
    """
    frames = torch.arange(values.shape[1], device=values.device)
    last = (lengths - 1).clamp_min(0)[:, None]  # (batch, 1)
    total = torch.zeros_like(values)
    for distance in range(1, reach + 1):
        after, before = torch.minimum(frames + distance, last), torch.minimum((frames - distance).clamp_min(0), last)
        shape = (-1, -1, values.shape[2])
        total = total + distance * (values.gather(1, after[..., None].expand(shape)) - values.gather(1, before[..., None].expand(shape)))
    return total / (2 * sum(distance**2 for distance in range(1, reach + 1)))
