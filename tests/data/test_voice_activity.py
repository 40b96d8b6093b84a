"""Speech is found where it is, at any level, and silence holds none."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from auscult.audio.reading import read_audio
from auscult.data.voice_activity import voice_activity
from auscult.errors import UserError

RATE = 16000


def bursts(*places: tuple[float, float], seconds: float = 6.0, floor: float = 1e-4) -> np.ndarray:
    """Noise at `floor`, with a tone of 0.1 in some places."""
    samples = np.random.default_rng(0).normal(0, floor, round(seconds * RATE))
    for start, end in places:
        time = np.arange(round(start * RATE), round(end * RATE))
        samples[time] += 0.1 * np.sin(2 * np.pi * 200 * time / RATE)
    return samples.astype(np.float32)


def seconds(found: list[tuple[int, int]]) -> list[tuple[float, float]]:
    return [(round(start / RATE, 2), round(end / RATE, 2)) for start, end in found]


def test_silence_and_nothing_hold_no_speech() -> None:
    assert voice_activity(np.zeros(RATE, np.float32), RATE) == []
    assert voice_activity(np.zeros(3, np.float32), RATE) == []
    assert voice_activity(np.random.default_rng(0).normal(0, 1e-4, RATE).astype(np.float32), RATE) == []


@pytest.mark.parametrize("gain", [1.0, 0.05, 5.0])
def test_boundaries_do_not_depend_on_the_level(gain: float) -> None:
    samples = bursts((1.0, 2.0), (3.0, 4.5)) * np.float32(gain)
    for (start, end), (true_start, true_end) in zip(
        seconds(voice_activity(samples, RATE, hangover=0.0)), [(1.0, 2.0), (3.0, 4.5)], strict=True
    ):
        assert abs(start - true_start) <= 0.021
        assert abs(end - true_end) <= 0.021


def test_a_recording_without_pauses_is_speech_from_end_to_end() -> None:
    assert voice_activity(bursts((0.0, 6.0)), RATE) == [(0, 6 * RATE)]


def test_short_pauses_are_bridged_and_clicks_dropped() -> None:
    samples = bursts((1.0, 2.0), (2.2, 3.0), (4.0, 4.03))
    assert len(voice_activity(samples, RATE, shortest_pause=0.3)) == 1
    assert len(voice_activity(samples, RATE, shortest_pause=0.05)) == 2
    assert len(voice_activity(samples, RATE, shortest_pause=0.05, shortest_speech=0.01, hangover=0.0)) == 3


def test_hangover_stays_inside_the_recording() -> None:
    found = voice_activity(bursts((0.0, 1.0), (5.0, 6.0)), RATE, hangover=0.2)
    assert found[0][0] == 0
    assert found[-1][1] == 6 * RATE


def test_real_utterances_are_mostly_speech_with_pauses(data_pack: Path) -> None:
    files = sorted((data_pack / "librispeech_1utt").glob("*.flac"))[::10]
    shares, edges = [], []
    for file in files:
        samples, rate = read_audio(file)
        found = voice_activity(samples, rate)
        shares.append(sum(end - start for start, end in found) / len(samples))
        inside = np.zeros(len(samples), dtype=bool)
        for start, end in found:
            inside[start:end] = True
        outside = float(np.square(samples[~inside], dtype=np.float64).sum())
        edges.append(outside / float(np.square(samples, dtype=np.float64).sum()))
    assert 0.6 < np.mean(shares) < 0.97
    assert np.median(edges) < 0.002, "what is left out holds next to none of the energy"
    assert max(edges) < 0.15, "not even where the room is 20 dB below the voice"


def test_bad_input_is_named() -> None:
    with pytest.raises(UserError, match=r"expected samples \(time,\)"):
        voice_activity(np.zeros((2, 100), np.float32), RATE)
    with pytest.raises(UserError, match="must not be negative"):
        voice_activity(np.zeros(100, np.float32), RATE, hangover=-1.0)
