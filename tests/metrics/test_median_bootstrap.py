"""Medians of resamples are medians, and speakers are resampled before their utterances."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from auscult.errors import UserError
from auscult.metrics.median_bootstrap import bootstrap_median, weighted_medians

VALUES = st.lists(st.floats(-100, 100), min_size=1, max_size=9)


@given(VALUES, st.integers(0, 2**32))
def test_counted_medians_are_numpy_medians(values: list[float], seed: int) -> None:
    ascending = np.sort(np.array(values))
    counts = np.random.default_rng(seed).multinomial(len(values), np.full(len(values), 1 / len(values)), size=20)
    expected = [np.median(np.repeat(ascending, row)) for row in counts]
    assert weighted_medians(ascending, counts) == pytest.approx(expected)


@given(VALUES)
def test_the_interval_lies_within_the_values(values: list[float]) -> None:
    low, high = bootstrap_median(values, replicates=200)
    assert min(values) <= low <= high <= max(values)


def test_coverage_of_a_known_median() -> None:
    random = np.random.default_rng(0)
    inside = [low <= 0.0 <= high for low, high in (bootstrap_median(random.normal(size=25), replicates=500) for _ in range(300))]
    assert 0.9 < np.mean(inside) < 0.99


def test_utterances_of_one_speaker_count_as_one_observation() -> None:
    values = [0.0] * 20 + [10.0] * 20
    low, high = bootstrap_median(values, ["a"] * 20 + ["b"] * 20)
    assert (low, high) == (0.0, 10.0)  # a quarter of the replicates holds one speaker alone
    random = np.random.default_rng(1)
    mixed = random.normal(size=40)
    own = bootstrap_median(mixed)
    shared = bootstrap_median(np.sort(mixed), [str(number // 10) for number in range(40)])
    assert shared.high - shared.low > 2 * (own.high - own.low)


@pytest.mark.parametrize(
    ("values", "arguments"),
    [([], {}), ([float("nan")], {}), ([1.0], {"level": 1.0}), ([1.0], {"replicates": 0}), ([1.0], {"speakers": ["a", "b"]})],
)
def test_bad_input_is_refused(values: list[float], arguments: dict[str, object]) -> None:
    with pytest.raises(UserError, match="bootstrap:"):
        bootstrap_median(values, **arguments)  # type: ignore[arg-type]
