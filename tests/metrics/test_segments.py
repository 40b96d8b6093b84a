"""Turns and the sweep over their boundaries."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from auscult.errors import UserError
from auscult.metrics.segments import Turn, activity, extent, overlap_seconds, speaker_seconds, to_lanes, twin_of, union_seconds

stretches = st.lists(st.tuples(st.integers(0, 30), st.integers(1, 10), st.sampled_from("abc")), max_size=12)


@pytest.mark.parametrize(("start", "end"), [(1.0, 1.0), (2.0, 1.0), (float("nan"), 1.0), (0.0, float("inf"))])
def test_a_turn_ends_after_its_start(start: float, end: float) -> None:
    with pytest.raises(UserError, match='speaker "anna": expected finite times, start before end'):
        Turn(start, end, "anna")


@given(stretches)
def test_the_sweep_agrees_with_a_raster(stretches: list[tuple[int, int, str]]) -> None:
    turns = [Turn(start, start + length, speaker) for start, length, speaker in stretches]
    speakers, starts, ends, lanes = to_lanes(turns)
    edges = np.unique(np.concatenate([starts, ends]))
    active = activity(edges, starts, ends, lanes, len(speakers))
    raster = {speaker: np.zeros(41, dtype=bool) for speaker in speakers}
    for turn in turns:
        raster[turn.speaker][int(turn.start) : int(turn.end)] = True
    for row, speaker in enumerate(speakers):
        for piece, start in enumerate(edges[:-1]):
            assert active[row, piece] == raster[speaker][int(start)]
    assert speaker_seconds(turns) == {speaker: raster[speaker].sum() for speaker in speakers}
    assert overlap_seconds(turns) == (sum(raster.values()) > 1).sum() if turns else True
    assert union_seconds([(turn.start, turn.end) for turn in turns]) == (sum(raster.values()) > 0).sum() if turns else True


@given(st.permutations([Turn(0, 1, "b"), Turn(0, 2, "a"), Turn(3, 4, "c"), Turn(5, 6, "a")]))
def test_speakers_are_numbered_by_time_not_by_the_order_of_lines(turns: list[Turn]) -> None:
    assert to_lanes(turns).speakers == ("a", "b", "c")


def test_nothing_said() -> None:
    assert extent([]) == []
    assert overlap_seconds([]) == 0
    assert speaker_seconds([]) == {}
    assert to_lanes([]).speakers == ()


def test_hint_for_names_that_only_look_equal() -> None:
    assert "NFC; write both in one form" in twin_of("jose\u0301", ["jos\u00e9"])
    assert "did you mean" in twin_of("meeting-1", ["meeting_1"])
    assert twin_of("x", ["meeting"]) == ""
