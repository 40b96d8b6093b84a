"""Who spoke when, as plain values, and the one sweep over their boundaries that every diarization score is made of.

Problem: a score per 10 ms frame depends on how boundaries are rounded, and a score by loops over pairs of turns is slow and easy to
get wrong where turns overlap. Choice: time is cut at every boundary that matters, and within a piece nothing changes; one table says
which speaker is active in which piece (`activity`). Turns stay as they were written: touching turns of a speaker are not merged,
because a boundary inside them still carries a collar (ES2005a of AMI: 7.063 % against 7.049 %). Rejected: frames; an interval tree
(more code, and slower than sorting for files of a few thousand turns).
"""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from auscult.errors import UserError, did_you_mean

Floats: TypeAlias = NDArray[np.float64]
Flags: TypeAlias = NDArray[np.bool_]
Regions: TypeAlias = Sequence[tuple[float, float]]
"""Stretches of one recording, (start, end) in seconds."""


@dataclass(frozen=True, slots=True)
class Turn:
    """One speaker talks from `start` to `end`, in seconds; `confidence` is the system's own, if it has one.

    >>> Turn(1.5, 2.0, "anna").duration
    0.5
    """

    start: float
    end: float
    speaker: str
    confidence: float | None = None

    def __post_init__(self) -> None:
        if not (math.isfinite(self.start) and math.isfinite(self.end) and self.start < self.end):
            raise UserError(f'turn of speaker "{self.speaker}": expected finite times, start before end, got {self.start} to {self.end}')

    @property
    def duration(self) -> float:
        """Return the length in seconds."""
        return self.end - self.start


Annotation: TypeAlias = Mapping[str, Sequence[Turn]]
"""Recording to its turns, in any order. A recording in which nobody speaks has an empty list."""
Evaluated: TypeAlias = Mapping[str, Regions]
"""Recording to the regions that are scored (a UEM)."""


class Lanes(NamedTuple):
    """Turns as arrays: `speakers` in the order of their first turn, and per turn starts, ends (float64) and lane (int64)."""

    speakers: tuple[str, ...]
    starts: Floats
    ends: Floats
    lanes: NDArray[np.int64]


def to_lanes(turns: Sequence[Turn]) -> Lanes:
    """Return turns as arrays; speakers are numbered by their earliest turn, and equal starts by name, not by the order of the list.

    >>> to_lanes([Turn(3.0, 4.0, "a"), Turn(0.0, 1.0, "b")]).speakers
    ('b', 'a')
    """
    numbers: dict[str, int] = {}
    for turn in sorted(turns, key=lambda turn: (turn.start, turn.speaker)):
        numbers.setdefault(turn.speaker, len(numbers))
    return Lanes(
        tuple(numbers),
        np.array([turn.start for turn in turns], dtype=np.float64),
        np.array([turn.end for turn in turns], dtype=np.float64),
        np.array([numbers[turn.speaker] for turn in turns], dtype=np.int64),
    )


def activity(edges: NDArray[Any], starts: NDArray[Any], ends: NDArray[Any], lanes: NDArray[np.int64], count: int) -> Flags:
    """Say which lane is covered in which piece; overlapping stretches of one lane count once.

    Args:
        edges: (pieces + 1,) increasing; holds every start and end.
        starts: (stretches,) same kind as `edges`.
        ends: (stretches,).
        lanes: (stretches,) lane of each stretch, 0 or more.
        count: number of lanes.

    Returns:
        (count, pieces) bool.
    """
    changes = np.zeros((count, max(len(edges), 1)), dtype=np.int64)
    np.add.at(changes, (lanes, np.searchsorted(edges, starts)), 1)
    np.add.at(changes, (lanes, np.searchsorted(edges, ends)), -1)
    covered: Flags = np.cumsum(changes, axis=1)[:, :-1] > 0
    return covered


def extent(*annotations: Sequence[Turn]) -> list[tuple[float, float]]:
    """Return the stretch from the first start to the last end, as one region, or no region without turns.

    >>> extent([Turn(1.0, 2.0, "a")], [Turn(0.5, 1.0, "x"), Turn(4.0, 5.0, "x")])
    [(0.5, 5.0)]
    """
    turns = [turn for annotation in annotations for turn in annotation]
    return [(min(turn.start for turn in turns), max(turn.end for turn in turns))] if turns else []


def union_seconds(regions: Regions) -> float:
    """Return the time covered by at least one region.

    >>> union_seconds([(0.0, 2.0), (1.0, 3.0), (5.0, 6.0)])
    4.0
    """
    total, reached = 0.0, -math.inf
    for start, end in sorted(regions):
        total += max(0.0, end - max(start, reached))
        reached = max(reached, end)
    return total


def speaker_seconds(turns: Sequence[Turn]) -> dict[str, float]:
    """Return how long each speaker talks; overlapping turns of one speaker count once.

    >>> speaker_seconds([Turn(0.0, 2.0, "a"), Turn(1.0, 3.0, "a"), Turn(1.0, 2.0, "b")])
    {'a': 3.0, 'b': 1.0}
    """
    names = to_lanes(turns).speakers
    return {name: union_seconds([(turn.start, turn.end) for turn in turns if turn.speaker == name]) for name in names}


def overlap_seconds(turns: Sequence[Turn]) -> float:
    """Return how long two or more speakers talk at once.

    >>> overlap_seconds([Turn(0.0, 2.0, "a"), Turn(1.0, 3.0, "a"), Turn(1.5, 2.5, "b")])
    1.0
    """
    speakers, starts, ends, lanes = to_lanes(turns)
    edges = np.unique(np.concatenate([starts, ends]))
    active = activity(edges, starts, ends, lanes, len(speakers))
    return float(np.diff(edges)[active.sum(axis=0) > 1].sum())


def twin_of(name: str, known: Iterable[str]) -> str:
    """Return a hint for a recording that is not known: the same name in another Unicode form, or the nearest one.

    >>> twin_of("caf\\u00e9", ["cafe\\u0301"])
    ' (the other file writes it in another Unicode form, NFD; write both in one form)'
    >>> twin_of("ES2O05a", ["ES2005a"])
    ' (did you mean "ES2005a"?)'
    """
    known = list(known)
    composed = unicodedata.normalize("NFC", name)
    for other in known:
        if other != name and unicodedata.normalize("NFC", other) == composed:
            form = "NFC" if unicodedata.is_normalized("NFC", other) else "NFD"
            return f" (the other file writes it in another Unicode form, {form}; write both in one form)"
    return did_you_mean(name, known)
