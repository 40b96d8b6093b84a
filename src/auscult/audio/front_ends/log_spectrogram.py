"""The linear log-spectrogram of Deep Speech 2: log(1 + magnitude), normalised over the utterance.

Problem: "spectrogram" means many things, and bins called mel that are linear have cost people weeks. Choice: exactly the
features of the reference experiment R0 (window 32 ms, step 20 ms, 257 linear bins at 16 kHz, `ln(1 + |STFT|)`, one mean and
standard deviation per utterance), equal to `torch.stft` and its reflected, centred frames. `log1p` needs no floor: silence is
zero. Source: Amodei et al. 2016, Deep Speech 2 (arXiv:1512.02595).
"""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from auscult.audio.front_end import Features, FrontEnd, full_precision
from auscult.audio.front_ends.normalisation import normalise
from auscult.audio.front_ends.short_time import ShortTime
from auscult.registry import INJECTED, register


@register("front_end", "log_spectrogram")
class LogSpectrogram(FrontEnd):
    """log(1 + magnitude) of linear frequency bins, on centred Hann windows.

    Args:
        sample_rate: in hertz.
        window: in seconds; its samples are the size of the transform, and `bins` is half of them plus one.
        step: in seconds.
        normalise: subtract the mean and divide by the deviation of the "utterance", of each "bin", or "none".

    >>> LogSpectrogram(sample_rate=16000).bins
    257
    """

    def __init__(
        self,
        sample_rate: Annotated[int, INJECTED],
        window: Annotated[float, Field(gt=0)] = 0.032,
        step: Annotated[float, Field(gt=0)] = 0.020,
        normalise: Literal["utterance", "bin", "none"] = "utterance",
    ) -> None:
        super().__init__()
        self.short_time = ShortTime(sample_rate, window, step)
        self.sample_rate, self.frame_step, self.normalise = sample_rate, step, normalise
        self.bins = self.short_time.bins
        self.minimum_samples = self.short_time.minimum_samples

    def frames(self, sample_lengths: Tensor) -> Tensor:
        """Return 1 + floor(n / step) frames: same shape, int64."""
        return self.short_time.frames(sample_lengths)

    def forward(self, samples: Tensor, sample_lengths: Tensor) -> Features:
        """Return features: samples (batch, time) float32, sample_lengths (batch,) int64 -> (batch, frames, bins) float32."""
        self.check(samples, sample_lengths)
        with full_precision(samples):
            samples = samples.float()
            values = self.short_time.spectrum(samples, sample_lengths, power=False, finish=_log1p, width=self.bins)
            lengths = self.frames(sample_lengths.to(samples.device))
            return Features(normalise(values, lengths, self.normalise, in_place=self.short_time.is_fast(samples)), lengths)

    def extra_repr(self) -> str:
        """Describe the front-end in a line."""
        return f"sample_rate={self.sample_rate}, bins={self.bins}, frame_step={self.frame_step:g}, normalise={self.normalise}"


def _log1p(magnitude: Tensor, out: Tensor | None) -> Tensor:
    return torch.log1p(magnitude, out=out)
