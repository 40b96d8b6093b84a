"""Turns out of frames that arrive in order: open ones are kept as numbers, so the state does not grow with a turn's length."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from auscult.metrics.segments import Turn
from auscult.serving.windows import FrameGrid


@dataclass
class _Open:
    """A turn that may go on: first frame, frame after the last, sum of its scores, and number of its frames."""

    first: int
    after: int
    total: float
    frames: int


class StreamTurns:
    """Joins frames to turns, fills short pauses and drops short turns, as `turns.smooth` does for a whole recording.

    Args:
        grid: of the frames.
        speakers: number of columns.
        shortest_pause: seconds; a shorter pause is filled.
        shortest_turn: seconds; a shorter turn is dropped.
    """

    def __init__(self, grid: FrameGrid, speakers: int, shortest_pause: float, shortest_turn: float) -> None:
        self._grid = grid
        self._pause, self._shortest = round(shortest_pause / grid.step), round(shortest_turn / grid.step)
        self._open: list[_Open | None] = [None] * speakers
        self._names: dict[int, str] = {}

    def add(self, start: int, active: NDArray[np.bool_], scores: NDArray[np.float64]) -> list[Turn]:
        """Take frames (frames, speakers) from frame `start` on, and return the turns that cannot go on any more, by start."""
        ended: list[Turn] = []
        for frame, place in enumerate(range(start, start + len(active))):
            for speaker, turn in enumerate(self._open):
                if turn is not None and place - turn.after >= max(self._pause, 1):
                    ended += self._turn(speaker, turn, self._grid.boundary(turn.after))
                    self._open[speaker] = None
            for speaker in np.flatnonzero(active[frame]).tolist():
                self._continue(speaker, place, float(scores[frame, speaker]))
        return sorted(ended, key=lambda turn: (turn.start, turn.speaker))

    def close(self, frames: int, seconds: float) -> list[Turn]:
        """Return the open turns of a stream of so many frames and seconds, by start; the last frame reaches to the end."""
        ended: list[Turn] = []
        for speaker, turn in enumerate(self._open):
            if turn is not None:
                ended += self._turn(speaker, turn, seconds if turn.after >= frames else self._grid.boundary(turn.after))
                self._open[speaker] = None
        return sorted(ended, key=lambda turn: (turn.start, turn.speaker))

    def _continue(self, speaker: int, place: int, score: float) -> None:
        turn = self._open[speaker]
        if turn is None:
            self._open[speaker] = _Open(place, place + 1, score, 1)
        else:
            turn.after, turn.total, turn.frames = place + 1, turn.total + score, turn.frames + 1

    def _turn(self, speaker: int, turn: _Open, end: float) -> list[Turn]:
        start = self._grid.boundary(turn.first) if turn.first else 0.0
        if turn.after - turn.first < self._shortest or end <= start:
            return []
        name = self._names.setdefault(speaker, f"speaker{len(self._names) + 1}")
        return [Turn(round(start, 6), round(end, 6), name, min(max(turn.total / turn.frames, 0.0), 1.0))]
