"""Who speaks when in a cut, in one form for real meetings and simulated conversations, and as labels of frames.

Problem: labels that are made in several places (frames here, RTTM there) disagree by a rounding somewhere, and a frame grid that is a
few per cent off moves every boundary without any error. Choice: one list of turns per recording, from which labels, RTTM and statistics
all follow; the label of a frame is the state at the frame's centre, whose time the model states. Rejected: labels by covered share of
a frame (needs a threshold, and gives a frame that two neighbours share to both).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from lhotse.cut import Cut, MixedCut, MonoCut
from numpy.typing import NDArray

from auscult.errors import UserError
from auscult.metrics.segments import Turn

TOUCHING = 1e-4
"""Seconds below which two pieces of a simulated turn are end to end."""


def turns_of(cut: Cut) -> list[Turn]:
    """Return the turns of a cut in seconds from its start, sorted; what reaches over its ends is cut off.

    Touching tracks of one speaker are one turn (simulated turns are laid from several pieces); touching turns of a recording stay apart,
    as its reference has them.

    Raises:
        UserError: a turn names no speaker.
    """
    tracks = [(track.offset, track.cut) for track in cut.tracks] if isinstance(cut, MixedCut) else [(0.0, cut)]
    turns = []
    for offset, part in tracks:
        for supervision in part.supervisions if isinstance(part, MonoCut) else ():
            if not supervision.speaker:
                raise UserError(f"{cut.id}: the turn at {offset + supervision.start:.3f} s names no speaker; every turn needs one")
            start = max(0.0, offset + max(0.0, supervision.start))
            end = min(cut.duration, offset + min(supervision.end, part.duration))
            if end > start:
                turns.append(Turn(start, end, supervision.speaker))
    turns.sort(key=lambda turn: (turn.start, turn.end, turn.speaker))
    return _joined(turns) if isinstance(cut, MixedCut) else turns


def _joined(turns: Sequence[Turn]) -> list[Turn]:
    """Return turns, sorted by start, with those of a speaker that touch as one."""
    joined: list[Turn] = []
    last: dict[str, int] = {}
    for turn in turns:
        place = last.get(turn.speaker)
        if place is not None and turn.start - joined[place].end < TOUCHING:
            joined[place] = Turn(joined[place].start, max(turn.end, joined[place].end), turn.speaker)
        else:
            last[turn.speaker] = len(joined)
            joined.append(turn)
    return joined


def evaluated_regions(cut: Cut) -> list[tuple[float, float]]:
    """Return the regions that count, (start, end) in seconds, sorted: `custom["evaluated"]` of a recording, or the whole cut."""
    custom = cut.custom if isinstance(cut, MonoCut) and cut.custom else {}
    regions = [(max(0.0, float(start)), min(cut.duration, float(end))) for start, end in custom.get("evaluated", ())]
    return sorted((start, end) for start, end in regions if end > start) or [(0.0, cut.duration)]


def clipped(turns: Sequence[Turn], start: float, end: float) -> list[Turn]:
    """Return the parts of turns between two times, in seconds from the first.

    >>> clipped([Turn(0.0, 2.0, "a"), Turn(3.0, 4.0, "b")], 1.0, 3.0)
    [Turn(start=0.0, end=1.0, speaker='a', confidence=None)]
    """
    inside = [turn for turn in turns if turn.end > start and turn.start < end]
    return [Turn(max(turn.start, start) - start, min(turn.end, end) - start, turn.speaker) for turn in inside]


def frame_activity(turns: Sequence[Turn], centres: NDArray[np.float64], speakers: Sequence[str]) -> NDArray[np.float32]:
    """Return who is active at the centre of each frame.

    Args:
        turns: in seconds.
        centres: (frames,) seconds, increasing.
        speakers: the columns, without repeats; turns of others are not looked at.

    Returns:
        (frames, speakers) float32, 1 where start <= centre < end.

    >>> frame_activity([Turn(0.0, 1.0, "a"), Turn(0.5, 2.0, "b")], np.array([0.0, 0.5, 1.0]), ["a", "b"]).tolist()
    [[1.0, 0.0], [1.0, 1.0], [0.0, 1.0]]
    """
    columns = {name: place for place, name in enumerate(speakers)}
    active = np.zeros((len(centres), len(columns)), dtype=np.float32)
    for turn in turns:
        if turn.speaker in columns:
            first, last = np.searchsorted(centres, [turn.start, turn.end])
            active[first:last, columns[turn.speaker]] = 1.0
    return active
