"""Edit counts against an obvious dynamic programme, and the laws of a distance."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from auscult.metrics.edit_distance import EditCounts, align

items = st.lists(st.sampled_from("abc"), max_size=9)


def obvious(reference: Sequence[str], hypothesis: Sequence[str]) -> tuple[int, int]:
    """Fewest errors, and the fewest substitutions among alignments with so few."""
    row = [(count, 0) for count in range(len(hypothesis) + 1)]
    for expected in reference:
        following = [(row[0][0] + 1, 0)]
        for column, found in enumerate(hypothesis, start=1):
            errors, swaps = row[column - 1]
            through = (errors, swaps) if expected == found else (errors + 1, swaps + 1)
            skipped = [(errors + 1, swaps) for errors, swaps in (row[column], following[-1])]
            following.append(min(through, *skipped))
        row = following
    return row[-1]


@given(items, items)
def test_equals_the_obvious_programme(reference: list[str], hypothesis: list[str]) -> None:
    counts = align(reference, hypothesis)
    assert (counts.errors, counts.substitutions) == obvious(reference, hypothesis)


@given(items, items)
def test_counts_are_consistent(reference: list[str], hypothesis: list[str]) -> None:
    counts = align(reference, hypothesis)
    assert min(counts.substitutions, counts.insertions, counts.deletions) >= 0
    assert counts.insertions - counts.deletions == len(hypothesis) - len(reference)
    assert counts.substitutions + counts.deletions <= counts.length == len(reference)
    assert counts.errors == counts.substitutions + counts.insertions + counts.deletions


@given(items, items)
def test_symmetry_swaps_insertions_and_deletions(first: list[str], second: list[str]) -> None:
    there, back = align(first, second), align(second, first)
    assert (there.substitutions, there.insertions, there.deletions) == (back.substitutions, back.deletions, back.insertions)


@given(items, items, items)
def test_triangle_inequality(first: list[str], second: list[str], third: list[str]) -> None:
    assert align(first, third).errors <= align(first, second).errors + align(second, third).errors


@given(items)
def test_identity(sequence: list[str]) -> None:
    assert align(sequence, sequence) == EditCounts(0, 0, 0, len(sequence))


def test_ties_prefer_matches() -> None:
    """From the WER fixture: both 7 errors; (6, 0, 1) has one match less than (4, 1, 2)."""
    reference = "goobers don't grow on the tops of vines but underground on the roots like yams is that so"
    hypothesis = "goubles don't grow on topsy bays but under ground on the roots like yams is that so"
    assert align(reference.split(), hypothesis.split()) == EditCounts(4, 1, 2, 18)


def test_items_are_compared_exactly_not_by_hash() -> None:
    assert hash(-1) == hash(-2)
    assert align([-1], [-2]).substitutions == 1


def test_empty_sides() -> None:
    assert align([], []) == EditCounts(0, 0, 0, 0)
    assert align([], ["a", "b"]) == EditCounts(0, 2, 0, 0)
    assert align(["a", "b"], []) == EditCounts(0, 0, 2, 2)


def test_counts_add_up() -> None:
    assert EditCounts(1, 2, 3, 10) + EditCounts(4, 0, 1, 5) == EditCounts(5, 2, 4, 15)
