"""The mel features of voxceleb_trainer, without which its published speaker encoders give other embeddings.

Problem: a checkpoint is only worth something with the features it was trained on, and these differ from `log_mel` in six ways: optional
pre-emphasis of the waveform, a Hamming window, filters from 0 Hz that are straight in hertz (not in mel), 1e-6 added to the power
instead of a floor, the biased variance, and the epsilon inside its root. Choice: the same arithmetic on the frames every front-end here
shares, normalised over the true frames of each utterance; the original has no lengths and takes statistics over padding.
torchaudio puts the window of 400 samples into the middle of the 512 of the transform and reflects 256 samples; a frame sees the
same 400 samples as ours, so the power is equal. It refuses clips of 256 samples or fewer; ours needs 201.
Sources: Chung et al. 2020, In defence of metric learning (arXiv 2003.11982); clovaai/voxceleb_trainer; torchaudio's documentation.
"""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from auscult.audio.front_end import Features, FrontEnd, full_precision
from auscult.audio.front_ends.mel import project
from auscult.audio.front_ends.short_time import ShortTime
from auscult.errors import UserError
from auscult.registry import INJECTED, register

_ADDED_POWER = 1e-6
_EPSILON = 1e-5


@register("front_end", "voxceleb_mel")
class VoxcelebMel(FrontEnd):
    """Mel power every 10 ms in windows of 25 ms, its logarithm, and mean and deviation of each bin taken out.

    Args:
        sample_rate: in hertz; the published encoders use 16000.
        mel_bins: number of filters between 0 Hz and half the sample rate.
        pre_emphasis: share of the sample before that is subtracted from each sample; 0.97 for ResNetSE34V2, 0 for ResNetSE34L.
        log_input: take the logarithm; without it the network sees linear power, which voxceleb_trainer does when the key is forgotten.

    >>> VoxcelebMel(sample_rate=16000).frames(torch.tensor([32240])).tolist()
    [202]
    """

    mel: Tensor

    def __init__(
        self,
        sample_rate: Annotated[int, INJECTED],
        mel_bins: Annotated[int, Field(ge=1)] = 64,
        pre_emphasis: Annotated[float, Field(ge=0, lt=1)] = 0.97,
        log_input: bool = True,
    ) -> None:
        super().__init__()
        self.short_time = ShortTime(sample_rate, 0.025, 0.010, power_of_two=True, hamming=True)
        self.sample_rate, self.frame_step, self.bins = sample_rate, 0.010, mel_bins
        self.pre_emphasis, self.log_input = pre_emphasis, log_input
        self.minimum_samples = self.short_time.minimum_samples
        self.register_buffer("mel", _hertz_filters(sample_rate, self.short_time.fft_size, mel_bins), persistent=False)

    def frames(self, sample_lengths: Tensor) -> Tensor:
        """Return 1 + floor(n / step) frames: same shape, int64."""
        return self.short_time.frames(sample_lengths)

    def forward(self, samples: Tensor, sample_lengths: Tensor) -> Features:
        """Return features: samples (batch, time) float32, sample_lengths (batch,) int64 -> (batch, frames, mel_bins) float32."""
        self.check(samples, sample_lengths)
        with full_precision(samples):
            samples = self._emphasised(samples.float())
            values = self.short_time.spectrum(samples, sample_lengths, power=True, finish=self._filtered, width=self.bins)
            lengths = self.frames(sample_lengths.to(samples.device))
            return Features(_normalised(values, lengths), lengths)

    def _emphasised(self, samples: Tensor) -> Tensor:
        """x[t] - pre_emphasis * x[t - 1]; the sample before the first is the second, as in a reflection."""
        if self.pre_emphasis == 0:
            return samples
        before = torch.cat((samples[:, 1:2], samples[:, :-1]), 1)
        return samples - self.pre_emphasis * before

    def _filtered(self, power: Tensor, out: Tensor | None) -> Tensor:
        filtered = project(power, self.mel) + _ADDED_POWER
        if self.log_input:
            return torch.log(filtered, out=out)
        return filtered if out is None else out.copy_(filtered)

    def extra_repr(self) -> str:
        """Describe the front-end in a line."""
        return f"sample_rate={self.sample_rate}, bins={self.bins}, pre_emphasis={self.pre_emphasis:g}, log_input={self.log_input}"


def _hertz_filters(sample_rate: int, fft_size: int, mel_bins: int) -> Tensor:
    """Return triangles whose corners are evenly spaced in mel and whose sides are straight in hertz: (fft_size // 2 + 1, mel_bins).

    Raises:
        UserError: more filters than the transform can tell apart.
    """
    top = torch.tensor(sample_rate / 2, dtype=torch.float64)
    mel_corners = torch.linspace(0, float(2595 * torch.log10(1 + top / 700)), mel_bins + 2, dtype=torch.float64)
    corners = 700 * (10 ** (mel_corners / 2595) - 1)
    frequency = torch.linspace(0, sample_rate // 2, fft_size // 2 + 1, dtype=torch.float64)[:, None]
    rising = (frequency - corners[:-2]) / (corners[1:-1] - corners[:-2])
    falling = (corners[2:] - frequency) / (corners[2:] - corners[1:-1])
    filters = torch.minimum(rising, falling).clamp_min(0)
    empty = (filters.sum(0) == 0).nonzero().flatten().tolist()
    if empty:
        raise UserError(
            f"mel_bins: {mel_bins} filters are too many for a transform of {fft_size} points at {sample_rate} Hz "
            f"(filter {empty[0]} would be empty); choose fewer mel_bins"
        )
    return filters.float()


def _normalised(values: Tensor, lengths: Tensor) -> Tensor:
    """Take out mean and biased deviation over true frames: (batch, frames, bins), arbitrary beyond lengths (batch,) -> zero there.

    The first frame is subtracted first, so that a bin that never changes (digital silence) is exactly zero, not rounding divided by
    the small epsilon.
    """
    mask = (torch.arange(values.shape[1], device=values.device) < lengths[:, None])[..., None]
    count = lengths[:, None, None]
    values = torch.where(mask, values - values[:, :1].detach(), 0.0)
    mean = values.sum(1, keepdim=True) / count
    centred = torch.where(mask, values - mean, 0.0)
    variance = centred.square().sum(1, keepdim=True) / count
    return centred * torch.rsqrt(variance + _EPSILON)
