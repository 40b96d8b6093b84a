"""Log-mel filter banks, in the plain form and in Kaldi's.

Problem: "80 mel bins" computed by two toolkits differ by several nats, and a model fed the other kind fails quietly. Choice:
two declared forms. Plain: centred Hann windows filled to a power of two, samples in [-1, 1], the same number of frames as the
log-spectrogram at the same step. `kaldi: true`: int16 scale, mean removal, pre-emphasis, povey window, whole frames only
(`snip_edges`), within 0.02 of `compute-fbank-feats --dither=0`. Both take natural logarithms of power with a floor, so digital
silence is finite. Rejected: dither, which makes serving differ from training.
"""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from auscult.audio.front_end import Features, FrontEnd, full_precision
from auscult.audio.front_ends.mel import mel_filters, project
from auscult.audio.front_ends.normalisation import normalise
from auscult.audio.front_ends.short_time import ShortTime
from auscult.registry import INJECTED, register

KALDI_FLOOR = 1.1920929e-07
"""Kaldi's floor under a filter's power on the int16 scale: the spacing of float32 at 1."""

PLAIN_FLOOR = 1e-10
"""Floor for samples in [-1, 1]: 100 dB below one; a thousand times under the rounding noise of 16 bits."""


@register("front_end", "log_mel")
class LogMel(FrontEnd):
    """Logarithm of the power in triangular mel filters.

    Args:
        sample_rate: in hertz.
        window: in seconds.
        step: in seconds.
        mel_bins: number of filters between 20 Hz and half the sample rate.
        kaldi: compute what Kaldi computes.
        normalise: subtract the mean and divide by the deviation of each "bin", of the "utterance", or "none".

    >>> LogMel(sample_rate=16000, mel_bins=40).bins
    40
    """

    mel: Tensor

    def __init__(
        self,
        sample_rate: Annotated[int, INJECTED],
        window: Annotated[float, Field(gt=0)] = 0.025,
        step: Annotated[float, Field(gt=0)] = 0.010,
        mel_bins: Annotated[int, Field(ge=1)] = 80,
        kaldi: bool = False,
        normalise: Literal["utterance", "bin", "none"] = "bin",
    ) -> None:
        super().__init__()
        self.short_time = ShortTime(sample_rate, window, step, kaldi=kaldi, power_of_two=True)
        self.sample_rate, self.frame_step, self.normalise = sample_rate, step, normalise
        self.bins, self.kaldi = mel_bins, kaldi
        self.minimum_samples = self.short_time.minimum_samples
        self.floor = KALDI_FLOOR if kaldi else PLAIN_FLOOR
        self.register_buffer("mel", mel_filters(sample_rate, self.short_time.fft_size, mel_bins), persistent=False)

    def frames(self, sample_lengths: Tensor) -> Tensor:
        """Return 1 + floor(n / step) frames, for Kaldi 1 + floor((n - window) / step): same shape, int64."""
        return self.short_time.frames(sample_lengths)

    def forward(self, samples: Tensor, sample_lengths: Tensor) -> Features:
        """Return features: samples (batch, time) float32, sample_lengths (batch,) int64 -> (batch, frames, mel_bins) float32."""
        self.check(samples, sample_lengths)
        with full_precision(samples):
            samples = samples.float()
            values = self.short_time.spectrum(samples, sample_lengths, power=True, finish=self._log, width=self.bins)
            lengths = self.frames(sample_lengths.to(samples.device))
            return Features(normalise(values, lengths, self.normalise, in_place=self.short_time.is_fast(samples)), lengths)

    def _log(self, power: Tensor, out: Tensor | None) -> Tensor:
        return torch.log(project(power, self.mel).clamp_min(self.floor), out=out)

    def extra_repr(self) -> str:
        """Describe the front-end in a line."""
        return (
            f"sample_rate={self.sample_rate}, bins={self.bins}, frame_step={self.frame_step:g}, "
            f"kaldi={self.kaldi}, normalise={self.normalise}"
        )


def log_mel(samples: NDArray[np.float32], sample_rate: int, mel_bins: int = 80) -> NDArray[np.float32]:
    """Return the log-mel picture of a waveform in dB, every 10 ms, for figures.

    Args:
        samples: (time,) float32 in [-1, 1]; silence is appended to a clip too short for a frame.
        sample_rate: in hertz.
        mel_bins: number of filters.

    Returns:
        (frames, mel_bins) float32, dB of the power in each filter, -100 at least.
    """
    window = round(0.025 * sample_rate) / sample_rate
    step = round(0.010 * sample_rate) / sample_rate
    front_end = LogMel(sample_rate, window, step, mel_bins, normalise="none")
    waveform = np.zeros(max(len(samples), front_end.minimum_samples), np.float32)
    waveform[: len(samples)] = samples
    with torch.no_grad():
        values = front_end(torch.from_numpy(waveform)[None], torch.tensor([len(waveform)])).values[0]
    decibels: NDArray[np.float32] = values.numpy() * np.float32(10 / np.log(10))
    return decibels
