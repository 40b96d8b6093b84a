"""Values of the schedules that depend on the update only."""

from __future__ import annotations

from itertools import pairwise

import pytest

from auscult.training.schedules.fixed import Constant, Cosine, Step


def test_constant_warms_up_linearly_and_stays() -> None:
    assert [Constant(warm_up=3).factor(update, 10) for update in range(6)] == [0.25, 0.5, 0.75, 1.0, 1.0, 1.0]
    assert Constant().factor(0, 10) == 1.0


def test_cosine_starts_at_one_after_the_warm_up_and_ends_at_the_floor() -> None:
    schedule = Cosine(warm_up=2, floor=0.1)
    values = [schedule.factor(update, 10) for update in range(11)]
    assert values[:3] == pytest.approx([1 / 3, 2 / 3, 1.0])
    assert values[6] == pytest.approx(0.55)  # half way: mean of 1 and the floor
    assert values[10] == pytest.approx(0.1)
    assert all(earlier > later for earlier, later in pairwise(values[2:]))


def test_cosine_with_a_warm_up_longer_than_the_budget_stays_finite() -> None:
    assert 0 < Cosine(warm_up=20).factor(9, 10) < 1
    assert Cosine(warm_up=10).factor(10, 10) == 1.0


def test_step_multiplies_at_each_interval() -> None:
    schedule = Step(every=3, gamma=0.5)
    assert [schedule.factor(update, 100) for update in (0, 2, 3, 5, 6, 9)] == [1.0, 1.0, 0.5, 0.5, 0.25, 0.125]
