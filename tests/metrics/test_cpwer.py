"""Word errors of speakers without names."""

from __future__ import annotations

from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auscult.errors import UserError
from auscult.metrics.cpwer import speaker_word_errors
from auscult.metrics.edit_distance import EditCounts
from auscult.metrics.error_rate import error_rate, word_errors


def errors(reference: list[str], hypothesis: list[str]) -> EditCounts:
    return speaker_word_errors(dict(zip("ABCDEF", reference, strict=False)), dict(zip("123456", hypothesis, strict=False))).counts


def test_the_fox_of_meeteval() -> None:
    """The example of the README of fgnt/meeteval: 2 substitutions and 2 deletions in 9 words, for one stream and for two speakers."""
    for reference, hypothesis in (
        (["The quick brown fox jumps over the lazy dog"], ["The kwick brown fox jump over lazy "]),
        (["The quick brown fox", "jumps over the lazy dog"], ["jump over lazy ", "The kwick brown fox"]),
    ):
        counts = errors(reference, hypothesis)
        assert counts == EditCounts(substitutions=2, insertions=0, deletions=2, length=9)
        assert error_rate([counts]) == pytest.approx(4 / 9)


@pytest.mark.parametrize(
    ("reference", "hypothesis", "expected"),
    [
        (["a b", "c d"], ["a b", "c d", "e f"], EditCounts(0, 2, 0, 4)),
        (["a", "b", "c d"], ["a", "b"], EditCounts(0, 0, 2, 4)),
        (["a", "b", "c"], ["b", "c", "d", "a"], EditCounts(0, 1, 0, 3)),
        (["a b"], ["z", "a e f"], EditCounts(1, 2, 0, 2)),
        (["a b", "k"], [" ", "a e f"], EditCounts(1, 1, 1, 3)),
        (["a b", "c"], [], EditCounts(0, 0, 3, 3)),
    ],
)
def test_numbers_of_speakers_may_differ(reference: list[str], hypothesis: list[str], expected: EditCounts) -> None:
    assert errors(reference, hypothesis) == expected


def test_many_recordings_are_a_ratio_of_sums() -> None:
    parts = [
        errors(["First example", "First example second speaker"], ["First example with errors", "First example second speaker"]),
        errors(["Second example"], ["Second example", "Overestimated speaker"]),
    ]
    assert error_rate(parts) == 0.5


texts = st.lists(st.text("ab ", max_size=6), min_size=1, max_size=4)


@given(texts, texts)
def test_no_pairing_has_fewer_errors(reference: list[str], hypothesis: list[str]) -> None:
    size = max(len(reference), len(hypothesis))
    first, second = ([*side, *[""] * (size - len(side))] for side in (reference, hypothesis))
    totals = [
        sum(word_errors(one, second[place]).errors for one, place in zip(first, order, strict=True)) for order in permutations(range(size))
    ]
    assert errors(reference, hypothesis).errors == min(totals)


def test_a_reference_without_speakers() -> None:
    with pytest.raises(UserError, match="no speakers"):
        speaker_word_errors({}, {"1": "a"})
