"""Descent as a function of its record: schedules, the lowest point, and objectives of any size."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from auscult.privacy.descent import Descent, DescentSettings, descend

CURVATURES = torch.tensor([1.0, 30.0, 300.0], dtype=torch.float64)


def bowl(size: float = 1.0) -> Any:
    """Return a quadratic whose lowest value is 0, at ones, as `descend` wants it."""

    def evaluate(frames: Tensor) -> tuple[float, float, Tensor]:
        off = frames - 1
        value = float(size * (CURVATURES * off.square()).sum())
        return value, value, 2 * size * CURVATURES * off

    return evaluate


def gone_down(evaluate: Any, start: float = 0.0, **settings: Any) -> tuple[Descent, list[float], list[float]]:
    chosen = DescentSettings(
        **{"optimizer": "adam", "rate": 0.1, "schedule": "constant", "patience": 3, "iterations": 40, "signed": False, **settings}
    )
    state = Descent(torch.full((1, 1, 3), start, dtype=torch.float64), chosen.rate)
    objectives: list[float] = []
    rates: list[float] = []

    def done(now: Descent, objective: float) -> None:
        objectives.append(objective)
        rates.append(now.rate)

    descend(state, chosen, evaluate, None, done)
    return state, objectives, rates


def test_plateau_halves_a_rate_that_overshoots() -> None:
    _, objectives, rates = gone_down(bowl(), rate=2.0, schedule="plateau", iterations=30)
    expected, lowest, stale = 2.0, float("inf"), 0
    for objective, rate in zip(objectives, rates, strict=True):
        stale = 0 if objective < lowest else stale + 1
        lowest = min(lowest, objective)
        if stale == 3:
            expected, stale = expected / 2, 0
        assert rate == expected
    assert rates[-1] <= 0.25


def test_the_lowest_point_is_kept_and_not_the_last() -> None:
    state, objectives, _ = gone_down(bowl(), start=1.02, rate=0.9, iterations=3)
    assert state.lowest == min(objectives)
    assert state.lowest < objectives[-1]
    assert bowl()(state.best)[0] == state.lowest


def test_cosine_ends_without_a_step() -> None:
    state, objectives, _ = gone_down(bowl(), rate=0.3, schedule="cosine", iterations=200)
    assert state.lowest < 1e-3 * objectives[0]
    assert abs(objectives[-1] - objectives[-2]) < 1e-3 * objectives[0]


@pytest.mark.parametrize("optimizer", ["adam", "lbfgs"])
def test_the_size_of_an_objective_changes_nothing(optimizer: str) -> None:
    """Distances of gradients are as small as 1e-5; torch's L-BFGS drops curvature below 1e-10 and Adam adds 1e-8 to every slope."""
    rate = 1.0 if optimizer == "lbfgs" else 0.1
    large, small = (gone_down(bowl(size), optimizer=optimizer, rate=rate)[0] for size in (1.0, 1e-9))
    torch.testing.assert_close(small.best, large.best, rtol=1e-6, atol=1e-6)
    assert large.lowest < bowl()(torch.zeros(3))[0] / 1000


def test_a_flat_beginning_is_no_division_by_zero() -> None:
    state, objectives, _ = gone_down(bowl(), start=1.0)
    assert objectives[-1] == 0.0
    assert bool(torch.isfinite(state.frames).all())
