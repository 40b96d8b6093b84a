"""Resampling keeps duration, pitch and level, and only what is below half the rate."""

from __future__ import annotations

import numpy as np
import pytest

from auscult.audio.resampling import resample, upsampling_note
from auscult.errors import UserError


def tone(frequency: float, rate: int) -> np.ndarray:
    return np.sin(2 * np.pi * frequency * np.arange(rate) / rate).astype(np.float32)


@pytest.mark.parametrize(("low", "high"), [(8000, 16000), (16000, 8000), (22050, 16000), (44100, 16000)])
def test_a_tone_stays_the_tone(low: int, high: int) -> None:
    made = resample(tone(440, low), low, high)
    assert made.dtype == np.float32
    assert len(made) == high
    middle = slice(high // 10, -high // 10)
    assert np.abs(made[middle] - tone(440, high)[middle]).max() < 1e-3


def test_what_cannot_be_kept_is_removed_and_not_folded() -> None:
    assert np.abs(resample(tone(6000, 16000), 16000, 8000)[800:-800]).max() < 1e-3


def test_equal_rates_change_nothing() -> None:
    samples = tone(100, 8000)
    assert resample(samples, 8000, 8000) is samples


def test_bad_input() -> None:
    with pytest.raises(UserError, match="positive"):
        resample(tone(1, 8000), 0, 8000)
    with pytest.raises(UserError, match="one channel"):
        resample(np.zeros((2, 8), np.float32), 8000, 16000)


def test_note() -> None:
    assert upsampling_note(16000, 8000) is None
    assert upsampling_note(8000, 8000) is None
    assert "4000 Hz" in (upsampling_note(8000, 16000) or "")
