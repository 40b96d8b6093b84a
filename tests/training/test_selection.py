"""Which checkpoints are kept and when a run stops: the code against the sentence that describes it."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auscult.training.selection import BestScores, EarlyStop

SCORES = st.lists(st.integers(0, 40).map(lambda value: value / 8), min_size=1, max_size=40)


def stops_at(scores: list[float], patience: int, minimum: float) -> int | None:
    """Index of the first evaluation that ends `patience` in a row without an improvement of at least `minimum`; brute force.

    An improvement is measured against the last score that counted as one.
    """
    for end in range(len(scores)):
        improvements = [0]
        for index in range(1, end + 1):
            reference = scores[improvements[-1]]
            if scores[index] < reference and reference - scores[index] >= minimum:
                improvements.append(index)
        if end - improvements[-1] >= patience:
            return end
    return None


@given(SCORES, st.integers(1, 5), st.integers(0, 8).map(lambda value: value / 8), st.booleans(), st.data())
def test_early_stop_holds_exactly_when_its_sentence_does(
    scores: list[float], patience: int, minimum: float, lower: bool, data: st.DataObject
) -> None:
    rule = EarlyStop(patience, minimum, lower)
    interrupted = data.draw(st.integers(0, len(scores)))
    stopped = None
    for index, score in enumerate(scores):
        if index == interrupted:  # a resumed run decides the same way
            state = rule.state_dict()
            rule = EarlyStop(patience, minimum, lower)
            rule.load_state_dict(state)
        if rule.observe(score if lower else -score):
            stopped = index
            break
    assert stopped == stops_at(scores, patience, minimum)


def test_a_score_that_is_not_a_number_is_no_improvement() -> None:
    rule = EarlyStop(patience=2)
    assert [rule.observe(score) for score in (math.nan, 1.0, math.nan, 0.5, math.nan, math.inf)] == [
        False,
        False,
        False,
        False,
        False,
        True,
    ]
    assert rule.best == 0.5


@given(SCORES, st.integers(1, 4), st.booleans())
def test_the_best_few_are_kept_and_the_older_of_equals(scores: list[float], keep: int, lower: bool) -> None:
    best = BestScores(keep, lower)
    files: set[int] = set()
    for update, score in enumerate(scores):
        dropped = best.offer(update, score)
        if dropped is not None:
            files.add(update)
            files -= set(dropped)
        again = BestScores(keep, lower)
        again.load_state_dict(best.state_dict())
        assert again.entries == best.entries
        best = again
    ranked = sorted(enumerate(scores), key=lambda pair: (pair[1] if lower else -pair[1], pair[0]))[:keep]
    assert best.entries == ranked
    assert files == {update for update, _ in ranked}


@pytest.mark.parametrize("score", [math.nan, math.inf, -math.inf])
def test_a_score_that_is_not_finite_is_never_best(score: float) -> None:
    assert BestScores(2).offer(1, score) is None
