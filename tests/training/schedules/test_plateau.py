"""The plateau schedule reduces when its sentence says so, and remembers across a restart."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from auscult.training.schedules.plateau import Plateau

SCORES = st.lists(st.integers(0, 30).map(lambda value: value / 8), min_size=1, max_size=30)


def factors(schedule: Plateau, scores: list[float]) -> list[float]:
    result = []
    for score in scores:
        schedule.observe(score)
        result.append(schedule.factor(1000, 2000))
    return result


@given(SCORES, st.integers(0, 4), st.integers(0, 4).map(lambda value: value / 8))
def test_plateau_is_that_of_torch(scores: list[float], patience: int, threshold: float) -> None:
    """`ReduceLROnPlateau` in absolute mode states the same rule."""
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([parameter], lr=1.0)
    reference = torch.optim.lr_scheduler.ReduceLROnPlateau(
        optimizer, factor=0.5, patience=patience, threshold=threshold, threshold_mode="abs"
    )
    expected = []
    for score in scores:
        reference.step(score)
        expected.append(max(optimizer.param_groups[0]["lr"], 1e-6))
    found = factors(Plateau(gamma=0.5, patience=patience, threshold=threshold), scores)
    assert [value for value, other in zip(found, expected, strict=True) if other > 1e-6] == [value for value in expected if value > 1e-6]


@given(SCORES, st.integers(0, 30))
def test_a_restart_changes_nothing(scores: list[float], place: int) -> None:
    whole = factors(Plateau(patience=1, floor=0.1), scores)
    first, second = Plateau(patience=1, floor=0.1), Plateau(patience=1, floor=0.1)
    begun = factors(first, scores[:place])
    second.load_state_dict(first.state_dict())
    assert begun + factors(second, scores[place:]) == whole
    assert min(whole) >= 0.1


def test_a_schedule_that_forgets_its_counters_is_noticed() -> None:
    scores = [1.0, 1.0, 1.0]
    forgetful = Plateau(patience=1)
    factors(forgetful, scores[:2])
    assert factors(Plateau(patience=1), scores[2:]) != factors(forgetful, scores[2:])


def test_warm_up_and_reduction_multiply() -> None:
    schedule = Plateau(gamma=0.5, patience=0, warm_up=3)
    schedule.observe(1.0)
    schedule.observe(1.0)
    assert schedule.factor(1, 100) == pytest.approx(0.25)


def test_evaluations_before_the_start_are_not_looked_at() -> None:
    """A curriculum that grows harder gets worse scores without having stopped to improve."""
    schedule = Plateau(gamma=0.5, patience=0, start=10)
    for update, score in ((3, 1.0), (6, 2.0), (9, 3.0)):
        schedule.factor(update - 1, 100)
        schedule.observe(score)
    assert schedule.factor(9, 100) == 1.0
    for score in (4.0, 4.0):  # update 10 is taken
        schedule.observe(score)
    assert schedule.factor(10, 100) == 0.5
