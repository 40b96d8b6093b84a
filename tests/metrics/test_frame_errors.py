"""Local errors against hand-made windows."""

from __future__ import annotations

import numpy as np
import pytest

from auscult.errors import UserError
from auscult.metrics.frame_errors import local_errors, one_speaker_errors


def table(*rows: str) -> np.ndarray:
    """One string of 0 and 1 per speaker -> (frames, speakers)."""
    return np.array([[int(one) for one in row] for row in rows]).T


def test_known_windows() -> None:
    assert local_errors(table("1111100000", "0000011111"), table("1111111111"))[:4] == (0, 0, 5, 10)
    assert local_errors(table("1111111111", "0000011111"), table("1111111111"))[:4] == (5, 0, 0, 15)
    assert local_errors(table("1111100000"), table("1111111111"))[:4] == (0, 5, 0, 5)
    assert local_errors(table("1111100000", "0000011111"), table("0000011111", "1111100000"))[:3] == (0, 0, 0)
    assert local_errors(np.zeros((4, 0)), table("0110"))[:4] == (0, 2, 0, 0)


def test_speech_and_overlap_are_counted() -> None:
    errors = local_errors(table("111100", "001100"), table("011111", "001001"))
    assert (errors.speech_missed, errors.speech_false_alarm) == (1, 2)
    assert (errors.overlap, errors.overlap_found, errors.overlap_claimed) == (2, 1, 2)


def test_names_of_the_system_change_nothing() -> None:
    random = np.random.default_rng(0)
    reference, system = random.random((200, 4)) > 0.6, random.random((200, 3)) > 0.6
    expected = local_errors(reference, system)
    for order in ([1, 0, 2], [2, 1, 0]):
        assert local_errors(reference, system[:, order]) == expected
        assert local_errors(reference[:, [3, *order]], system) == expected


def test_one_speaker_line() -> None:
    reference = table("1100", "0110")
    expected = local_errors(reference, np.ones((4, 1)))
    assert one_speaker_errors(reference) == expected.missed + expected.false_alarm + expected.confusion == 3


def test_frames_of_different_grids_are_refused() -> None:
    with pytest.raises(UserError, match="the frame grids differ"):
        local_errors(np.zeros((589, 2)), np.zeros((560, 2)))
