"""Bursts are short, of every band, at the level drawn, and leave the rest alone."""

from __future__ import annotations

import numpy as np
import pytest

from auscult.audio.augmentation.bursts import Bursts, burst, loudest_level
from auscult.errors import UserError

RATE = 16000


def tone(seconds: float = 4.0) -> np.ndarray:
    return (0.1 * np.sin(2 * np.pi * 300 * np.arange(round(seconds * RATE)) / RATE)).astype(np.float32)


def test_events_last_milliseconds_to_a_second_in_many_bands() -> None:
    events = [burst(RATE, np.random.default_rng(seed)) for seed in range(200)]
    lengths = np.array([len(event) for event in events]) / RATE
    assert 0.004 < lengths.min() < 0.02
    assert 0.5 < lengths.max() <= 1.0
    assert all(abs(float(np.sqrt(np.mean(event**2))) - 1) < 1e-3 for event in events)
    long = [event for event in events if len(event) > 2000]
    centroids = [float((np.abs(np.fft.rfft(event)) ** 2 * np.fft.rfftfreq(len(event), 1 / RATE)).sum()) for event in long]
    powers = [float((np.abs(np.fft.rfft(event)) ** 2).sum()) for event in long]
    bands = np.array(centroids) / np.array(powers)
    assert bands.min() < 200
    assert bands.max() > 2000


def test_added_at_the_level_drawn_and_only_somewhere() -> None:
    samples = tone(20.0)
    augment = Bursts(rate=0.5, low=-10.0, high=-10.0, probability=1.0)
    changes = [augment(samples, RATE, np.random.default_rng(seed)) - samples for seed in range(20)]
    touched = [float((change != 0).mean()) for change in changes]
    assert 0 < np.mean(touched) < 0.5
    expected = loudest_level(samples, RATE) * 10 ** (-10 / 20)
    whole = next(change for change in changes if 0 < (change != 0).mean() < 0.1)
    assert 0.2 * expected < float(np.sqrt(np.mean(whole[whole != 0] ** 2))) < 3 * expected


def test_follows_its_generator_and_its_probability() -> None:
    samples = tone()
    augment = Bursts(rate=3.0, probability=0.5)
    one, other = (augment(samples, RATE, np.random.default_rng(seed)) for seed in (3, 3))
    np.testing.assert_array_equal(one, other)
    changed = [not np.array_equal(augment(samples, RATE, np.random.default_rng(seed)), samples) for seed in range(60)]
    assert 0.2 < np.mean(changed) < 0.6
    np.testing.assert_array_equal(samples, tone())
    assert Bursts(probability=1.0)(np.zeros(100, np.float32), RATE, np.random.default_rng(0)).any() == False  # noqa: E712


def test_bad_limits_are_named() -> None:
    with pytest.raises(UserError, match="exchange them"):
        Bursts(low=0.0, high=-10.0)
