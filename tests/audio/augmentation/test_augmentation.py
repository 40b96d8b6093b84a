"""Augmentations do what their names say, exactly, and the same for the same seed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
from scipy.signal import fftconvolve

from auscult.audio.augmentation.gain import Gain
from auscult.audio.augmentation.noise import Noise, mix
from auscult.audio.augmentation.reverberation import Reverberation
from auscult.audio.augmentation.speed import Speed
from auscult.errors import UserError
from auscult.registry import build

RATE = 16_000


def tone(frequency: float = 1000, seconds: float = 1.0, rate: int = RATE) -> np.ndarray:
    return (0.3 * np.sin(2 * np.pi * frequency * np.arange(int(seconds * rate)) / rate)).astype(np.float32)


def peak_frequency(samples: np.ndarray) -> float:
    return float(np.abs(np.fft.rfft(samples * np.hanning(len(samples)))).argmax() * RATE / len(samples))


@pytest.fixture
def noises(tmp_path: Path) -> Path:
    random = np.random.default_rng(5)
    (tmp_path / "deep").mkdir()
    soundfile.write(tmp_path / "long.wav", random.normal(0, 0.1, 5 * RATE), RATE)
    soundfile.write(tmp_path / "deep" / "short.flac", random.normal(0, 0.01, RATE // 4), RATE)
    soundfile.write(tmp_path / "other_rate.ogg", random.normal(0, 0.05, 8000), 8000)
    return tmp_path


@pytest.mark.parametrize("factor", [0.5, 0.9, 1.1, 2.0])
def test_speed_changes_duration_and_pitch_alike(factor: float) -> None:
    made = Speed((factor,))(tone(), RATE, np.random.default_rng(0))
    assert made.dtype == np.float32
    assert abs(len(made) - RATE / factor) <= 1
    assert abs(peak_frequency(made) - 1000 * factor) < 3
    assert abs(np.std(made[500:-500]) - np.std(tone())) < 2e-3


def test_speed_draws_every_factor_and_one_changes_nothing() -> None:
    random = np.random.default_rng(0)
    lengths = {len(Speed()(tone(), RATE, random)) for _ in range(30)}
    assert lengths == {RATE, round(RATE / 0.9), round(RATE / 1.1)}
    with pytest.raises(UserError, match="factors"):
        Speed((0.0,))
    with pytest.raises(UserError, match="factors"):
        Speed(())


def test_gain_stays_in_its_range() -> None:
    random = np.random.default_rng(0)
    decibels = [20 * np.log10(Gain(-3, 5)(tone(), RATE, random)[4] / tone()[4]) for _ in range(200)]
    assert -3.001 <= min(decibels) < -2.5
    assert 4.5 < max(decibels) <= 5.001
    with pytest.raises(UserError, match="above"):
        Gain(1, -1)


@pytest.mark.parametrize("ratio", [-5.0, 0.0, 17.5])
def test_noise_has_exactly_the_ratio_asked_for(noises: Path, ratio: float) -> None:
    noise, random, speech = Noise(str(noises), ratio, ratio), np.random.default_rng(0), tone(seconds=0.7)
    for _ in range(12):
        made = noise(speech, RATE, random)
        assert made.shape == speech.shape
        assert made.dtype == np.float32
        measured = 10 * np.log10(np.mean(speech.astype(float) ** 2) / np.mean((made.astype(float) - speech) ** 2))
        assert abs(measured - ratio) < 0.01


def test_noise_differs_from_draw_to_draw_and_repeats_with_the_seed(noises: Path) -> None:
    noise = Noise(str(noises))
    first, second = (noise(tone(), RATE, random) for random in [np.random.default_rng(1)] * 2)
    assert not np.array_equal(first, second)
    assert np.array_equal(first, noise(tone(), RATE, np.random.default_rng(1)))
    assert np.array_equal(Noise(str(noises), probability=0.0)(tone(), RATE, np.random.default_rng(1)), tone())


def test_silence_stays_silence() -> None:
    silence = np.zeros(100, np.float32)
    assert mix(silence, tone(), 0.0) is silence
    assert np.array_equal(mix(tone(seconds=0.1), np.zeros(1600, np.float32), 0.0), tone(seconds=0.1))


def test_folders_that_cannot_serve_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"noise\.folder: no such folder"):
        Noise(str(tmp_path / "nowhere"))
    with pytest.raises(UserError, match=r"reverberation\.folder: no WAV, FLAC or OGG file"):
        Reverberation(str(tmp_path))
    with pytest.raises(UserError, match="snr_low"):
        Noise(str(tmp_path), 10, 5)


def test_reverberation_keeps_length_level_and_time(tmp_path: Path) -> None:
    response = np.zeros(4000)
    response[800] = 0.5  # 50 ms before the direct sound
    response[801:] = 0.05 * np.random.default_rng(0).normal(size=3199) * np.exp(-np.arange(3199) / 800)
    soundfile.write(tmp_path / "room.wav", response, RATE, subtype="FLOAT")
    speech = np.random.default_rng(1).normal(0, 0.1, RATE).astype(np.float32)
    made = Reverberation(str(tmp_path))(speech, RATE, np.random.default_rng(0))
    expected = fftconvolve(speech, response[800:])[:RATE]
    assert made.dtype == np.float32
    assert made.shape == speech.shape
    assert abs(np.linalg.norm(made) / np.linalg.norm(speech) - 1) < 1e-5
    assert np.allclose(made, expected * np.linalg.norm(speech) / np.linalg.norm(expected), atol=1e-5)
    assert int(fftconvolve(made, speech[::-1]).argmax()) == RATE - 1


def test_a_silent_room_is_refused(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "room.wav", np.zeros(100), RATE)
    with pytest.raises(UserError, match="no sound in it"):
        Reverberation(str(tmp_path))(tone(), RATE, np.random.default_rng(0))


def test_real_noises_and_rooms(data_pack: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUSCULT_DATA", str(data_pack))
    random = np.random.default_rng(0)
    for section in ({"name": "noise", "folder": "${AUSCULT_DATA}/noise"}, {"name": "reverberation", "folder": "$AUSCULT_DATA/rir"}):
        augmentation = build("augmentation", section)
        for _ in range(6):
            made = augmentation(tone(), RATE, random)
            assert np.isfinite(made).all()
            assert not np.array_equal(made, tone())
