"""Samples from magnitudes: on a real clip, with the front-end's own frames as the judge."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from auscult.audio.front_ends.log_spectrogram import LogSpectrogram
from auscult.audio.front_ends.mfcc_context import MfccContext
from auscult.audio.front_ends.mfcc_delta import MfccDelta
from auscult.audio.griffin_lim import griffin_lim, sound_from_cepstra, sound_from_log_spectrogram
from auscult.audio.reading import read_audio
from auscult.errors import UserError
from auscult.metrics.reconstruction import feature_snr


@pytest.fixture(scope="module")
def speech(data_pack: Path) -> Tensor:
    """1.5 s of a LibriSpeech recording, not a whole number of steps."""
    path = sorted((data_pack / "LibriSpeech").rglob("*.flac"))[0]
    return torch.from_numpy(read_audio(path)[0])[4000 : 4000 + 24_123]


def random(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def features_of(front_end: torch.nn.Module, samples: Tensor) -> Tensor:
    values: Tensor = front_end(samples[None], torch.tensor([len(samples)])).values[0]
    return values


def test_fast_iterations_converge_on_real_speech(speech: Tensor) -> None:
    front_end = LogSpectrogram(16000, normalise="none")
    features = features_of(front_end, speech)
    sound = sound_from_log_spectrogram(features, front_end, random(), len(speech))
    steps = sound.convergence
    assert steps[0] > 0.2
    assert steps[-1] < 0.02
    assert (steps[10:] < steps[:-10]).float().mean() > 0.95  # falls, with ripples
    assert feature_snr(features.numpy(), features_of(front_end, sound.samples).numpy()) > 30
    assert sound.samples.shape == speech.shape
    assert sound.samples.dtype == torch.float32


@pytest.mark.parametrize("step", [0.020, 0.010, 0.032])
def test_plain_iterations_never_get_worse(speech: Tensor, step: float) -> None:
    """A property of exact projections: an inverse that mistreats the reflected edges breaks it."""
    front_end = LogSpectrogram(16000, step=step, normalise="none")
    magnitude = torch.expm1(features_of(front_end, speech).double())
    convergence = griffin_lim(magnitude, front_end.short_time, random(), len(speech), iterations=40, momentum=0.0).convergence
    assert (convergence.diff() <= 1e-12).all()


def test_momentum_gets_further_than_none(speech: Tensor) -> None:
    front_end = LogSpectrogram(16000, normalise="none")
    magnitude = torch.expm1(features_of(front_end, speech).double())
    plain, fast = (
        griffin_lim(magnitude, front_end.short_time, random(), len(speech), 60, momentum).convergence[-1] for momentum in (0.0, 0.99)
    )
    assert fast < 0.6 * plain


def test_the_error_that_is_told_is_the_front_ends_own(speech: Tensor) -> None:
    front_end = LogSpectrogram(16000, normalise="none")
    target = torch.expm1(features_of(front_end, speech).double())
    sound = griffin_lim(target, front_end.short_time, random(), len(speech), iterations=5)
    found = torch.expm1(features_of(front_end, sound.samples).double())
    twice = torch.full((257,), 2.0, dtype=torch.float64)
    twice[0] = twice[-1] = 1.0
    error = ((found - target).square() * twice).sum().sqrt() / (target.square() * twice).sum().sqrt()
    assert error == pytest.approx(float(sound.convergence[-1]), rel=1e-4)


def test_the_same_generator_gives_the_same_samples(speech: Tensor) -> None:
    front_end = LogSpectrogram(16000, normalise="none")
    features = features_of(front_end, speech[:8000])
    first, again, other = (sound_from_log_spectrogram(features, front_end, random(seed), iterations=5).samples for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert front_end.frames(torch.tensor(len(first))) == len(features)


@pytest.mark.parametrize("context", [0, 9])
def test_true_cepstra_sound_more_like_the_clip_than_silence_does(speech: Tensor, context: int) -> None:
    front_end, judge = MfccContext(16000, context=context, normalise="none"), LogSpectrogram(16000, normalise="none")
    features = features_of(front_end, speech)
    sound = sound_from_cepstra(features, front_end, random(), len(speech), iterations=30)
    assert feature_snr(features_of(judge, speech).numpy(), features_of(judge, sound.samples).numpy()) > 2
    cepstra = features_of(MfccContext(16000, context=0, normalise="none"), speech)
    assert torch.equal(sound.samples, sound_from_cepstra(cepstra, front_end, random(), len(speech), iterations=30).samples)


def test_cepstra_with_slopes_are_inverted_by_their_first_half(speech: Tensor) -> None:
    front_end = MfccDelta(16000, normalise="none")
    features = features_of(front_end, speech)[:, : front_end.cepstra.coefficients]
    sound = sound_from_cepstra(features, front_end.cepstra, random(), len(speech), iterations=10)
    assert feature_snr(features.numpy(), features_of(front_end.cepstra, sound.samples).numpy()) > 6


def test_silence_stays_silent_and_all_of_a_short_clip_is_made() -> None:
    front_end = LogSpectrogram(16000, normalise="none")
    sound = sound_from_log_spectrogram(torch.zeros(1, 257), front_end, random(), iterations=2)
    assert len(sound.samples) == front_end.minimum_samples
    assert not sound.samples.any()
    assert torch.isfinite(sound.convergence).all()


def test_normalised_features_and_other_misuse_are_refused(speech: Tensor) -> None:
    front_end = LogSpectrogram(16000, normalise="none")
    features = features_of(front_end, speech)
    with pytest.raises(UserError, match=r"magnitudes are negative; undo the logarithm, and any normalisation"):
        griffin_lim(features - features.mean(), front_end.short_time, random())
    with pytest.raises(UserError, match=r"normalises each utterance, which cannot be undone"):
        sound_from_log_spectrogram(features, LogSpectrogram(16000), random())
    with pytest.raises(UserError, match=r"normalises each bin"):
        sound_from_cepstra(features, MfccContext(16000), random())
    with pytest.raises(UserError, match=r"16000 samples have 51 frames of this front-end and 76 were given; 24000 to 24319"):
        sound_from_log_spectrogram(features, front_end, random(), 16000)
    with pytest.raises(UserError, match=r"shape \(76, 100\).*expected \(frames, 257\)"):
        sound_from_log_spectrogram(features[:, :100], front_end, random())
    with pytest.raises(UserError, match="not finite"):
        sound_from_log_spectrogram(features * torch.nan, front_end, random())
    with pytest.raises(UserError, match="0 iterations"):
        sound_from_log_spectrogram(features, front_end, random(), iterations=0)
    kaldi = MfccContext(16000, context=0, kaldi=True, normalise="none")
    with pytest.raises(UserError, match="pre-emphasis"):
        sound_from_cepstra(features_of(kaldi, speech), kaldi, random())
