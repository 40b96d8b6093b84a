"""Sparse combinations: found where signals are zero often, and not claimed where they are not."""

from __future__ import annotations

import numpy as np
import pytest

from auscult.privacy.unmixing import sparse_combinations


@pytest.mark.parametrize("count", [2, 3, 4])
@pytest.mark.parametrize("off", [0.3, 0.6])
def test_signals_come_back_up_to_factors_and_order(count: int, off: float) -> None:
    random = np.random.default_rng(count)
    signals = random.normal(size=(count, 4000)) * (random.random((count, 4000)) > off)
    mixtures = random.normal(size=(count, count)) @ signals
    combinations = sparse_combinations(mixtures, random)
    assert combinations is not None
    found = combinations @ mixtures
    cosines = np.abs(found @ signals.T) / np.linalg.norm(found, axis=1)[:, None] / np.linalg.norm(signals, axis=1)
    assert sorted(cosines.argmax(1).tolist()) == list(range(count))
    assert cosines.max(1).min() > 1 - 1e-6


def test_signals_that_are_never_zero_are_not_claimed() -> None:
    random = np.random.default_rng(0)
    assert sparse_combinations(random.normal(size=(3, 2000)), random) is None


def test_silence_is_not_claimed() -> None:
    assert sparse_combinations(np.zeros((2, 50)), np.random.default_rng(0)) is None
