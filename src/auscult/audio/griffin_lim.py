"""From magnitudes back to samples, so that a reconstruction of features can be listened to and given to another recogniser.

Problem: a spectrogram has lost its phases, and tools that invent them assume another window, padding or scale than the front-end used, so
that what one hears is the mismatch. Choice: the frames of the front-end itself (`ShortTime.cut`, with its reflected edges) are the
only description of the transform; their least-squares inverse adds every sample of every frame back to where it was read from, the
reflected ones too. With it each plain iteration is a true projection and the error never grows. The fast algorithm of Perraudin,
Balazs and Søndergaard (2013), momentum 0.99, gets further than the plain one of Griffin and Lim (1984), but not monotonically. Rejected:
`torch.istft` (it throws the reflected edges away), neural vocoders (what they know of speech would pass for what the gradient leaked).

The front-end must have been told `normalise: none`: mean and deviation of an utterance are gone after normalisation, and whoever
inverts normalised features has to bring their own (`features * deviation + mean`), which is then a guess that the report should state.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from auscult.audio.front_ends.log_spectrogram import LogSpectrogram
from auscult.audio.front_ends.mfcc_context import MfccContext
from auscult.audio.front_ends.short_time import ShortTime
from auscult.errors import UserError

ITERATIONS = 100
MOMENTUM = 0.99

_TINY = 1e-12


class Sound(NamedTuple):
    """Samples that were made from magnitudes.

    Attributes:
        samples: (time,) float32; may leave [-1, 1] where the magnitudes ask for it.
        convergence: (iterations,) float64, spectral convergence ||  |STFT(x)| - M || / || M || of the iterate, 0 for a perfect match;
            after the last one is `samples`.
    """

    samples: Tensor
    convergence: Tensor


def sound_from_log_spectrogram(
    features: Tensor, front_end: LogSpectrogram, generator: torch.Generator, samples: int | None = None, iterations: int = ITERATIONS
) -> Sound:
    """Return samples whose log(1 + magnitude) is near to the features.

    Args:
        features: (frames, bins) as a `log_spectrogram` with `normalise: none` gives them; negative values count as 0.
        front_end: the front-end.
        generator: draws the first phases.
        samples: length of the result; the shortest that has so many frames if None.
        iterations: of `griffin_lim`.

    Raises:
        UserError: a front-end that normalises, or as `griffin_lim`.
    """
    _refuse_normalised(front_end)
    magnitude = torch.expm1(_checked(features, front_end.bins).clamp_min(0))
    return griffin_lim(magnitude, front_end.short_time, generator, samples, iterations)


def sound_from_cepstra(
    features: Tensor, front_end: MfccContext, generator: torch.Generator, samples: int | None = None, iterations: int = ITERATIONS
) -> Sound:
    """Return samples from cepstra. Rough: what is heard is words and rhythm, hardly a voice.

    Of 257 magnitudes a frame 26 numbers are left. The cosine transform is inverted without the coefficients that were dropped, which
    smooths the spectrum; the filters by their pseudo-inverse, whose negative powers become 0, which blurs every harmonic; power
    below 20 Hz is lost. On eight clips of LibriSpeech of 2.5 s the log-spectrogram of the sound of the *true* cepstra was 5 to 8 dB from
    the true one, that of the sound of true magnitudes 22 to 33 dB. So a poor sound does not show that cepstra hide something: put the
    sound of the true ones beside it.

    Args:
        features: (frames, front_end.bins), or without context (frames, coefficients), with `normalise: none`. Of a stacked frame
            the middle is taken. Of `mfcc_delta`, pass its `cepstra` as front-end and the first half of the bins.
        front_end: the front-end; its `kaldi` form has pre-emphasis and another scale and is refused.
        generator: draws the first phases.
        samples: length of the result; the shortest that has so many frames if None.
        iterations: of `griffin_lim`.

    Raises:
        UserError: a front-end that normalises, Kaldi's cepstra, or as `griffin_lim`.
    """
    _refuse_normalised(front_end)
    width = front_end.coefficients
    values = _checked(features, front_end.bins if features.ndim == 2 and features.shape[1] != width else width)
    if values.shape[1] != width:
        values = values[:, front_end.context * width : (front_end.context + 1) * width]
    log_mel = values @ torch.linalg.pinv(front_end.cosine.to(values))  # (frames, mel bins)
    power = (log_mel.exp() @ torch.linalg.pinv(front_end.mel.to(values))).clamp_min(0)  # (frames, bins)
    return griffin_lim(power.sqrt(), front_end.short_time, generator, samples, iterations)


def griffin_lim(
    magnitude: Tensor,
    short_time: ShortTime,
    generator: torch.Generator,
    samples: int | None = None,
    iterations: int = ITERATIONS,
    momentum: float = MOMENTUM,
) -> Sound:
    """Return samples whose spectrum has magnitudes near to the given ones, from random phases.

    Args:
        magnitude: (frames, bins), 0 or more.
        short_time: the transform that they come from.
        generator: draws the first phases, on its own device; the same state gives the same samples.
        samples: length of the result; the shortest that has so many frames if None.
        iterations: at least 1.
        momentum: 0 is Griffin and Lim's algorithm, whose error never grows; at most 1.

    Raises:
        UserError: shapes or values that are no magnitudes of this transform, a length that has another number of frames, or a
            transform with pre-emphasis.
    """
    target = _checked(magnitude, short_time.bins)
    if bool((target < 0).any()):
        raise UserError(f"griffin_lim: {int((target < 0).sum())} magnitudes are negative; undo the logarithm, and any normalisation, first")
    if iterations < 1 or not 0 <= momentum <= 1:
        raise UserError(
            f"griffin_lim: {iterations} iterations and momentum {momentum}; expected at least 1, and a momentum between 0 and 1"
        )
    transform = _Transform(short_time, _length(short_time, len(target), samples), target.device)
    size = transform.norm(target).clamp_min(_TINY)
    turns = torch.rand(target.shape, generator=generator, device=generator.device, dtype=torch.float64).to(target.device)
    spectrum = torch.polar(target, 2 * torch.pi * turns)
    made = transform.inverse(spectrum)
    before = transform.forward(made)
    spectrum, convergence = before, []
    for _ in range(iterations):
        made = transform.inverse(target * spectrum / spectrum.abs().clamp_min(_TINY))
        consistent = transform.forward(made)
        convergence.append(transform.norm(consistent.abs() - target) / size)
        spectrum = consistent + momentum * (consistent - before)
        before = consistent
    return Sound(made.float(), torch.stack(convergence))


class _Transform:
    """Spectra of one utterance, and their least-squares inverse, in float64.

    A frame reads samples by index, so the inverse of "read, then window" divides what all readings of a sample add up to by the sum of
    their squared windows.
    """

    def __init__(self, short_time: ShortTime, samples: int, device: torch.device) -> None:
        lengths = torch.tensor([samples], device=device)
        positions = torch.arange(samples, dtype=torch.float64, device=device)[None]
        self.index = short_time.cut(positions, lengths)[0].long()  # (frames, fft_size): which sample stands where
        self.window = short_time.window.to(device, torch.float64)
        self.fft_size, self.samples = short_time.fft_size, samples
        self.weight = self._gather(self.window.square().expand(self.index.shape))  # (samples,)

    def forward(self, samples: Tensor) -> Tensor:
        """(samples,) -> (frames, bins) complex."""
        spectrum: Tensor = torch.fft.rfft(samples[self.index] * self.window)
        return spectrum

    def inverse(self, spectrum: Tensor) -> Tensor:
        """(frames, bins) complex -> (samples,), the samples whose spectrum is nearest; 0 where no frame looks."""
        summed = self._gather(torch.fft.irfft(spectrum, self.fft_size) * self.window)
        return torch.where(self.weight > _TINY, summed / self.weight.clamp_min(_TINY), 0.0)

    def norm(self, spectrum: Tensor) -> Tensor:
        """Return the norm over all frequencies, of which all but the first and the last of an even size stand for two."""
        squared = spectrum.abs().square().sum(0)
        single = squared[0] + (squared[-1] if self.fft_size % 2 == 0 else 0.0)
        return (2 * squared.sum() - single).sqrt()

    def _gather(self, frames: Tensor) -> Tensor:
        return torch.zeros(self.samples, dtype=torch.float64, device=frames.device).index_add(0, self.index.flatten(), frames.flatten())


def _length(short_time: ShortTime, frames: int, samples: int | None) -> int:
    if short_time.kaldi:
        raise UserError(
            "griffin_lim: Kaldi's spectra have pre-emphasis and no mean, which are not inverted; use a front-end without kaldi: true"
        )
    chosen = max((frames - 1) * short_time.step_samples, short_time.minimum_samples) if samples is None else samples
    there = int(short_time.frames(torch.tensor(chosen)))
    if there != frames:
        raise UserError(
            f"griffin_lim: {chosen} samples have {there} frames of this front-end and {frames} were given; "
            f"{(frames - 1) * short_time.step_samples} to {frames * short_time.step_samples - 1} samples have so many"
        )
    return chosen


def _refuse_normalised(front_end: LogSpectrogram | MfccContext) -> None:
    """Half of normalised features are negative: cut off at 0, or taken for loud, they would still make some sound."""
    if front_end.normalise != "none":
        raise UserError(
            f"griffin_lim: the front-end normalises each {front_end.normalise}, which cannot be undone; multiply features by a deviation, "
            "add a mean, and pass a front-end with normalise: none"
        )


def _checked(features: Tensor, bins: int) -> Tensor:
    """Return features as float64 without gradient."""
    if features.ndim != 2 or features.shape[1] != bins or not len(features) or not features.is_floating_point():
        raise UserError(
            f"griffin_lim: features have shape {tuple(features.shape)} {features.dtype}; "
            f"expected (frames, {bins}) floating point of one utterance"
        )
    if not bool(torch.isfinite(features).all()):
        raise UserError("griffin_lim: features are not finite; there is nothing to hear")
    return features.detach().double()
