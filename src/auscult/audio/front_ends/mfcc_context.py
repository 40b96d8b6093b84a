"""Mel cepstra with their neighbours: the input of Deep Speech 1.

Problem: Deep Speech 1 has no convolution and sees time only through a window of frames, whose order and whose edges differ
between implementations. Choice: 26 coefficients, nine frames of context on each side (494 bins; six give the 338 of the older
line), oldest frame first, zero frames beyond the edges of the utterance and never a neighbour's or padding's. `kaldi: true`
gives the cepstra of `compute-mfcc-feats --dither=0` (coefficient 0 is then the log-energy of the frame) within 0.07.
Source: Hannun et al. 2014, Deep Speech (arXiv:1412.5567).
"""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from auscult.audio.front_end import Features, FrontEnd, full_precision
from auscult.audio.front_ends.log_mel import KALDI_FLOOR, PLAIN_FLOOR
from auscult.audio.front_ends.mel import cosine_transform, mel_filters, project
from auscult.audio.front_ends.normalisation import normalise
from auscult.audio.front_ends.short_time import INT16, ShortTime
from auscult.registry import INJECTED, register


@register("front_end", "mfcc_context")
class MfccContext(FrontEnd):
    """Mel-frequency cepstral coefficients of a frame and of its neighbours.

    Args:
        sample_rate: in hertz.
        window: in seconds.
        step: in seconds.
        coefficients: per frame, at most `mel_bins`.
        context: frames on each side; `bins` is `coefficients * (2 * context + 1)`.
        mel_bins: filters under the cosine transform.
        kaldi: compute what Kaldi computes; coefficient 0 is the log-energy of the frame.
        normalise: subtract the mean and divide by the deviation of each "bin", of the "utterance", or "none".

    >>> MfccContext(sample_rate=16000).bins, MfccContext(sample_rate=16000, context=6).bins
    (494, 338)
    """

    mel: Tensor
    cosine: Tensor

    def __init__(
        self,
        sample_rate: Annotated[int, INJECTED],
        window: Annotated[float, Field(gt=0)] = 0.032,
        step: Annotated[float, Field(gt=0)] = 0.020,
        coefficients: Annotated[int, Field(ge=1)] = 26,
        context: Annotated[int, Field(ge=0)] = 9,
        mel_bins: Annotated[int, Field(ge=1)] = 40,
        kaldi: bool = False,
        normalise: Literal["utterance", "bin", "none"] = "bin",
    ) -> None:
        super().__init__()
        self.short_time = ShortTime(sample_rate, window, step, kaldi=kaldi, power_of_two=True)
        self.sample_rate, self.frame_step, self.normalise = sample_rate, step, normalise
        self.coefficients, self.context, self.kaldi = coefficients, context, kaldi
        self.bins = coefficients * (2 * context + 1)
        self.minimum_samples = self.short_time.minimum_samples
        self.floor = KALDI_FLOOR if kaldi else PLAIN_FLOOR
        self.register_buffer("mel", mel_filters(sample_rate, self.short_time.fft_size, mel_bins), persistent=False)
        self.register_buffer("cosine", cosine_transform(mel_bins, coefficients), persistent=False)

    def frames(self, sample_lengths: Tensor) -> Tensor:
        """Return 1 + floor(n / step) frames, for Kaldi 1 + floor((n - window) / step): same shape, int64."""
        return self.short_time.frames(sample_lengths)

    def forward(self, samples: Tensor, sample_lengths: Tensor) -> Features:
        """Return features: samples (batch, time) float32, sample_lengths (batch,) int64 -> (batch, frames, bins) float32."""
        self.check(samples, sample_lengths)
        with full_precision(samples):
            samples = samples.float()
            values = self.short_time.spectrum(samples, sample_lengths, power=True, finish=self._cepstra, width=self.coefficients)
            if self.kaldi:
                values = torch.cat([self._log_energy(samples, sample_lengths), values[..., 1:]], dim=-1)
            lengths = self.frames(sample_lengths.to(samples.device))
            values = normalise(values, lengths, self.normalise, in_place=self.short_time.is_fast(samples))
            return Features(self._with_context(values, lengths), lengths)

    def _cepstra(self, power: Tensor, out: Tensor | None) -> Tensor:
        cepstra = project(project(power, self.mel).clamp_min(self.floor).log(), self.cosine)
        return cepstra if out is None else out.copy_(cepstra)

    def _log_energy(self, samples: Tensor, sample_lengths: Tensor) -> Tensor:
        """Kaldi's `--raw-energy`: of the frame without its mean, before pre-emphasis and window; (batch, frames, 1)."""
        frames = self.short_time.cut(samples, sample_lengths)[..., 1 : 1 + self.short_time.window_samples]
        energy = (frames - frames.mean(-1, keepdim=True)).square().sum(-1, keepdim=True) * INT16**2
        return energy.clamp_min(self.floor).log()

    def _with_context(self, values: Tensor, lengths: Tensor) -> Tensor:
        """Stack neighbours: (batch, frames, coefficients), zero beyond lengths -> (batch, frames, (2 context + 1) * coefficients)."""
        if not self.context:
            return values
        around = functional.pad(values, (0, 0, self.context, self.context)).unfold(1, 2 * self.context + 1, 1)
        mask = torch.arange(values.shape[1], device=values.device) < lengths[:, None]
        return torch.where(mask[..., None], around.transpose(2, 3).flatten(2), 0.0)

    def extra_repr(self) -> str:
        """Describe the front-end in a line."""
        return (
            f"sample_rate={self.sample_rate}, bins={self.bins}, frame_step={self.frame_step:g}, coefficients={self.coefficients}, "
            f"context={self.context}, kaldi={self.kaldi}, normalise={self.normalise}"
        )
