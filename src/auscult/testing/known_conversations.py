"""Conversations whose samples say who speaks, and a segmentation and embeddings that read it off them.

Problem: a diarization pipeline is a chain of index arithmetic around two networks, and with real networks nobody can tell an off-by-one
hop from a bad model. Choice: a sample is the sum of 2^k over the active speakers k, scaled; not a sound, but any misplaced window,
frame or label reads another number, so the pipeline must come out exactly right, and a planted shift must show.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from auscult.metrics.segments import Turn
from auscult.serving.segmenter import LocalActivity
from auscult.serving.windows import FrameGrid

RATE, STEP, VOICES = 1000, 20, 8
GRID = FrameGrid(RATE, STEP, 0.0)
"""Frames of 20 ms; speakers change half way between two of them."""
_LOCAL_SPEAKERS = 3
_SCALE = 256


def encode_turns(turns: Sequence[Turn], seconds: float) -> NDArray[np.float32]:
    """Return the samples (time,) of turns whose speakers are called "0" to "7"."""
    samples = np.zeros(round(seconds * RATE), dtype=np.int64)
    for turn in turns:
        samples[round(turn.start * RATE) : round(turn.end * RATE)] |= 1 << int(turn.speaker)
    return (samples / _SCALE).astype(np.float32)


def decode_samples(samples: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Return who speaks: (..., time) -> (..., time, voices)."""
    codes = np.rint(np.asarray(samples, dtype=np.float64) * _SCALE).astype(np.int64)
    spoken: NDArray[np.bool_] = (codes[..., None] >> np.arange(VOICES)) & 1 > 0
    return spoken


def known_conversation(seed: int, seconds: float, people: int) -> list[Turn]:
    """Return random turns with pauses and overlaps; boundaries lie between frames, and at most two people speak at once."""
    random = np.random.default_rng(seed)
    turns: list[Turn] = []
    time, speaker = float(random.uniform(0.0, 1.0)), -1
    free = np.zeros(people)
    while time < seconds - 2.0:
        speaker = int(random.choice([one for one in range(people) if one != speaker]))
        start = max(time, free[speaker] + 0.3)
        begin, end = (_between_frames(one) for one in (start, min(seconds - 0.1, start + float(random.uniform(1.0, 3.0)))))
        others = {turn.speaker for turn in turns if turn.end > begin and turn.start < end}
        if end > begin and len(others) < 2:
            turns.append(Turn(begin, end, str(speaker)))
            free[speaker] = end
        time = max(end + float(random.uniform(-0.8, 0.8)), time + 0.2)
    return turns


def _between_frames(seconds: float) -> float:
    step = STEP / RATE
    return round(max(0.0, (round(seconds / step) - 0.5) * step), 6)


class KnownSegmenter:
    """Reads who speaks at the centre of each frame and numbers the speakers of a window in an order that changes with the window.

    Args:
        window: seconds.
        shift: samples by which it looks beside the centre; anything but 0 is a planted bug.
    """

    def __init__(self, window: float = 5.0, shift: int = 0) -> None:
        self.grid = GRID
        self.window_samples = round(window * RATE)
        self.minimum_samples = STEP
        self.shift = shift

    def segment(self, windows: NDArray[np.float32], lengths: NDArray[np.int64]) -> LocalActivity:
        """Read windows (windows, time); see `Segmenter`."""
        counts = (lengths - 1) // STEP + 1
        active = np.zeros((len(windows), int(counts.max()), _LOCAL_SPEAKERS), dtype=bool)
        for row, (window, count) in enumerate(zip(windows, counts.tolist(), strict=True)):
            spoken = decode_samples(window[np.clip(np.arange(count) * STEP + self.shift, 0, len(window) - 1)])  # (frames, voices)
            people = np.flatnonzero(spoken.any(axis=0)).tolist()
            mixed = sorted(people, key=lambda one: (int(spoken.sum()) * 31 + 7 * one * one) % 11)
            for place, one in enumerate(mixed[:_LOCAL_SPEAKERS]):
                active[row, :count, place] = spoken[:, one]
        return LocalActivity(0.98 * active.astype(np.float32), active, counts.astype(np.int64))


class KnownVoices:
    """Averages who speaks over the frames that count, so that any frame of somebody else shows in the embedding."""

    minimum_seconds = 0.02

    def embed(
        self, samples: NDArray[np.float32], starts: NDArray[np.int64], weights: NDArray[np.float32], grid: FrameGrid
    ) -> NDArray[np.float32]:
        """Return (rows, voices); see `Voices`."""
        found = np.full((len(starts), VOICES), np.nan, dtype=np.float32)
        for row, (start, weight) in enumerate(zip(starts.tolist(), weights, strict=True)):
            places = np.flatnonzero(weight > 0)
            if len(places):
                found[row] = decode_samples(samples[(start + places) * grid.step_samples]).mean(axis=0)
        return found
