"""Frames to turns: boundaries, pauses, short turns, confidence."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from auscult.serving.turns import smooth, stretches, turns_of_frames
from auscult.serving.windows import FrameGrid

FLAGS = st.lists(st.booleans(), min_size=1, max_size=40)


@given(FLAGS)
def test_stretches_are_where_the_flags_are(flags: list[bool]) -> None:
    row = np.array(flags)
    found = stretches(row)
    rebuilt = np.zeros(len(row), dtype=bool)
    for first, after in found.tolist():
        assert first < after
        assert not rebuilt[max(0, first - 1) : after].any()  # never touching
        rebuilt[first:after] = True
    assert (rebuilt == row).all()


@given(FLAGS, st.integers(0, 6), st.integers(0, 6))
def test_after_smoothing_no_pause_and_no_turn_is_too_short(flags: list[bool], pause: int, turn: int) -> None:
    smoothed = smooth(np.array(flags)[:, None], pause, turn)[:, 0]
    found = stretches(smoothed).tolist()
    assert all(after - first >= turn for first, after in found)
    assert all(start - end >= pause for (_, end), (start, _) in pairwise(found))
    if pause <= 1 and turn <= 1:
        assert (smoothed == np.array(flags)).all()


def test_pauses_are_filled_before_turns_are_dropped() -> None:
    """Planted: the other order loses a turn that a gap of one frame had cut in two."""
    row = np.array([0, 1, 1, 0, 1, 1, 0], dtype=bool)[:, None]
    assert smooth(row, 2, 4)[:, 0].astype(int).tolist() == [0, 1, 1, 1, 1, 1, 0]


def test_boundaries_and_confidence() -> None:
    grid = FrameGrid(100, 2, 0.0)
    active = np.array([[1, 0], [1, 1], [0, 1], [1, 1]], dtype=bool)
    scores = np.array([[0.5, 0.1], [0.7, 0.9], [0.2, 0.8], [1.0, 0.4]])
    turns = turns_of_frames(active, scores, grid, 0.075, ["a", "b"])
    assert [(turn.start, turn.end, turn.speaker) for turn in turns] == [(0.0, 0.03, "a"), (0.01, 0.075, "b"), (0.05, 0.075, "a")]
    assert [turn.confidence for turn in turns] == pytest.approx([0.6, 0.7, 1.0])
