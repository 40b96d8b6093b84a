"""Means, medians and intervals of judged mixtures."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from auscult.errors import UserError
from auscult.metrics.separation_summary import intervals, summary


def record(
    improvement: float, before: float = 0.0, variant: str = "SER", speakers: tuple[str, str] = ("a", "b"), **more: Any
) -> dict[str, Any]:
    return {
        "si_sdr": before + improvement,
        "input_si_sdr": before,
        "si_sdri": improvement,
        "variant": variant,
        "speakers": list(speakers),
        **more,
    }


SILENT = {"si_sdr": math.nan, "input_si_sdr": math.nan, "si_sdri": math.nan, "variant": "C", "speakers": ["a", "b"]}


def test_means_over_mixtures_and_variants() -> None:
    items = [record(4, -2), record(10, 0), record(-1, 1, "C"), record(3, 1, "C"), SILENT]
    found = summary(items)
    assert found == pytest.approx(
        {
            "si_sdr": 4.0,
            "si_sdri": 4.0,
            "input_si_sdr": 0.0,
            "median_si_sdri": 3.5,
            "failure_rate": 0.25,
            "si_sdri_C": 1.0,
            "input_si_sdr_C": 1.0,
            "si_sdri_SER": 7.0,
            "input_si_sdr_SER": -1.0,
            "unjudged": 1.0,
        }
    )


def test_means_of_batch_means_would_be_another_number() -> None:
    """A short last batch weighs as much as a full one in the mean of batch means."""
    items = [record(10.0)] * 4 + [record(0.0)]
    assert summary(items)["si_sdri"] == pytest.approx(8.0)
    planted = np.mean([np.mean([item["si_sdri"] for item in batch]) for batch in (items[:4], items[4:])])
    assert planted == 5.0


def test_what_only_some_mixtures_have_is_not_averaged() -> None:
    items = [record(4, sdr=5.0, stoi=0.9), record(2, sdr=7.0)]
    assert summary(items)["sdr"] == 6.0
    assert "stoi" not in summary(items)
    assert "stoi" not in intervals(items, replicates=10)
    partly = summary([record(4, stoi=0.9), record(2, stoi=math.nan), record(3, stoi=0.5)])
    assert partly["stoi"] == pytest.approx(0.7)
    assert partly["unmeasured_stoi"] == 1


def test_without_mixtures_there_is_no_improvement() -> None:
    found = summary([{"si_sdr": 3.0}, {"si_sdr": 5.0}])
    assert found == {"si_sdr": 4.0, "unjudged": 0.0}
    assert set(intervals([{"si_sdr": 3.0}, {"si_sdr": 5.0}], replicates=10)) == {"si_sdr"}


def test_silent_targets_alone() -> None:
    for function in (summary, intervals):
        with pytest.raises(UserError, match="none of 2 mixtures"):
            function([SILENT, {**SILENT, "si_sdr": None}])


def test_intervals_resample_pairs_before_mixtures() -> None:
    """Mixtures of one pair are alike: taken as independent, they give an interval that is far too narrow."""
    random = np.random.default_rng(0)
    items = []
    for pair in range(12):
        level = random.normal(8, 3)
        # the order in which two speakers are named is no other pair
        items += [
            record(level + random.normal(0, 0.1), speakers=(f"s{pair}", f"t{pair}") if turn % 2 else (f"t{pair}", f"s{pair}"))
            for turn in range(30)
        ]
    paired = intervals(items, replicates=2000)["si_sdri"]
    alone = intervals([{**item, "speakers": None} for item in items], replicates=2000)["si_sdri"]
    mean = summary(items)["si_sdri"]
    assert paired.low < mean < paired.high
    assert (paired.high - paired.low) > 3 * (alone.high - alone.low)


def test_intervals_have_the_keys_of_the_summary() -> None:
    items = [record(4, sdr=5.0), record(-2, sdr=7.0, variant="C"), SILENT]
    found = intervals(items, replicates=50)
    assert set(found) == {"si_sdr", "si_sdri", "input_si_sdr", "sdr", "failure_rate", "si_sdri_C", "si_sdri_SER"}
    assert set(found) <= set(summary([{**item, "sdr": item.get("sdr", 0.0)} for item in items]))
    assert found["failure_rate"] == (0.0, 1.0)
