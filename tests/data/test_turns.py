"""Turns of cuts, and frame labels that are the state at the centre."""

from __future__ import annotations

import numpy as np
import pytest
from lhotse import SupervisionSegment
from lhotse.cut import MonoCut

from auscult.data.turns import clipped, evaluated_regions, frame_activity, turns_of
from auscult.errors import UserError
from auscult.metrics.segments import Turn


def meeting(make_cut, turns: list[tuple[float, float, str | None]], **custom: object) -> MonoCut:  # type: ignore[no-untyped-def]
    cut = make_cut("meeting", samples=80_000)
    cut.supervisions = [
        SupervisionSegment(id=str(place), recording_id="meeting", start=start, duration=end - start, speaker=name)
        for place, (start, end, name) in enumerate(turns)
    ]
    cut.custom = custom or None
    return cut


def test_turns_are_sorted_and_cut_at_the_ends(make_cut) -> None:  # type: ignore[no-untyped-def]
    found = turns_of(meeting(make_cut, [(8.0, 12.0, "b"), (-1.0, 2.0, "a"), (2.0, 3.0, "a")]))
    assert found == [Turn(0.0, 2.0, "a"), Turn(2.0, 3.0, "a"), Turn(8.0, 10.0, "b")], "touching turns of a reference stay apart"
    with pytest.raises(UserError, match=r"the turn at 1\.000 s names no speaker"):
        turns_of(meeting(make_cut, [(1.0, 2.0, None)]))


def test_regions_are_the_evaluated_ones_or_everything(make_cut) -> None:  # type: ignore[no-untyped-def]
    assert evaluated_regions(meeting(make_cut, [])) == [(0.0, 10.0)]
    assert evaluated_regions(meeting(make_cut, [], evaluated=[[5.0, 11.0], [0.5, 2.0]])) == [(0.5, 2.0), (5.0, 10.0)]


def test_labels_are_the_state_at_the_centre() -> None:
    centres = np.arange(100) * 0.02
    turns = [Turn(0.1, 0.5, "a"), Turn(0.31, 0.33, "b"), Turn(0.4, 0.8, "a")]
    active = frame_activity(turns, centres, ["b", "a"])
    for frame, centre in enumerate(centres):
        for column, name in enumerate(["b", "a"]):
            assert active[frame, column] == any(turn.start <= centre < turn.end and turn.speaker == name for turn in turns)


def test_a_grid_five_per_cent_off_is_seen() -> None:
    turns = [Turn(start, start + 0.5, "a") for start in np.arange(0, 10, 1.0)]
    right = frame_activity(turns, np.arange(500) * 0.02, ["a"])
    wrong = frame_activity(turns, np.arange(500) * 0.021, ["a"])
    assert np.abs(right - wrong).mean() > 0.2


def test_clipping_moves_the_origin() -> None:
    assert clipped([Turn(1.0, 3.0, "a"), Turn(5.0, 6.0, "b")], 2.0, 5.5) == [Turn(0.0, 1.0, "a"), Turn(3.0, 3.5, "b")]
