"""EER, detection costs, Cllr and area against known answers, slow references, and the bugs they replace."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from auscult.errors import UserError
from auscult.metrics.decisive_points import decisive_curve
from auscult.metrics.detection import (
    COST_PRIORS,
    DetectionCurve,
    area_under_curve,
    cllr,
    detection_metrics,
    equal_error_rate,
    inverted_scores_alarm,
    minimum_cllr,
    minimum_detection_cost,
)

trials = st.lists(st.tuples(st.integers(-6, 6) | st.floats(-3, 3, width=32), st.booleans()), min_size=2, max_size=60).filter(
    lambda pairs: len({label for _, label in pairs}) == 2
)


def split(pairs: list[tuple[float, bool]]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    return np.array([score for score, _ in pairs], dtype=np.float64), np.array([label for _, label in pairs])


def slow_points(scores: NDArray[np.float64], target: NDArray[np.bool_]) -> list[tuple[float, float]]:
    thresholds = [*sorted(set(scores.tolist())), np.inf]
    return [(float((scores[target] < one).mean()), float((scores[~target] >= one).mean())) for one in thresholds]


def slow_equal_error_rate(scores: NDArray[np.float64], target: NDArray[np.bool_]) -> float:
    points = slow_points(scores, target)
    for (miss, alarm), (next_miss, next_alarm) in pairwise(points):
        if miss < alarm and next_miss >= next_alarm:
            share = (alarm - miss) / ((alarm - miss) + (next_miss - next_alarm))
            return miss + share * (next_miss - miss)
    raise AssertionError("the rates do not cross")


def grid_equal_error_rate(scores: NDArray[np.float64], target: NDArray[np.bool_]) -> float:
    """The planted bug: thresholds .50 to .99 instead of the scores themselves."""
    rates = [((scores[target] < one).mean(), (scores[~target] >= one).mean()) for one in np.arange(0.5, 1.0, 0.01)]
    miss, alarm = min(rates, key=lambda pair: abs(pair[0] - pair[1]))
    return float((miss + alarm) / 2)


def pool_adjacent_violators(scores: NDArray[np.float64], target: NDArray[np.bool_]) -> NDArray[np.float64]:
    """The share of targets at each trial's score, made monotone: the textbook algorithm."""
    blocks: list[list[float]] = []  # targets, trials
    levels = sorted(set(scores.tolist()))
    for one in levels:
        blocks.append([float(target[scores == one].sum()), float((scores == one).sum())])
        while len(blocks) > 1 and blocks[-2][0] / blocks[-2][1] >= blocks[-1][0] / blocks[-1][1]:
            hits, number = blocks.pop()
            blocks[-1][0] += hits
            blocks[-1][1] += number
    shares = np.concatenate([np.full(int(number), hits / number) for hits, number in blocks])
    return shares[np.argsort(np.argsort(scores, kind="stable"), kind="stable")]


def test_known_answers_of_four_trials() -> None:
    assert equal_error_rate([1.0, 0.0, 0.9, 0.1], [1, 0, 1, 0]) == 0.0
    assert equal_error_rate([1.0, 0.0, 0.9, 0.1], [0, 1, 0, 1]) == 1.0
    for prior in COST_PRIORS.values():
        assert minimum_detection_cost([1.0, 0.0, 0.9, 0.1], [1, 0, 1, 0], prior) == 0.0
        assert minimum_detection_cost([1.0, 0.0, 0.9, 0.1], [0, 1, 0, 1], prior) == 1.0
    assert area_under_curve([1.0, 0.0, 0.9, 0.1], [1, 0, 1, 0]) == 1.0
    assert minimum_cllr([1.0, 0.0, 0.9, 0.1], [1, 0, 1, 0]) == 0.0
    assert minimum_cllr([1.0, 0.0, 0.9, 0.1], [0, 1, 0, 1]) == 1.0


def test_hundred_real_trials(data_pack: Path) -> None:
    folder = data_pack / "fixtures" / "eer"
    expected = json.loads((folder / "expected.json").read_text())["spk_trial_scores_100.txt"]
    rows = [line.split() for line in (folder / "spk_trial_scores_100.txt").read_text().splitlines()]
    scores, target = np.array([float(row[1]) for row in rows]), np.array([int(row[2]) for row in rows])
    figures = detection_metrics(scores, target)
    assert 100 * figures["eer"] == pytest.approx(expected["EER_percent"], abs=1e-12)
    assert figures["min_dcf_p05"] == pytest.approx(expected["minDCF_p0.05_c1_1"], abs=1e-12)
    assert figures["min_dcf_p01"] == pytest.approx(0.04, abs=1e-12)
    assert scores[target == 1].mean() == pytest.approx(expected["trg_mean"], abs=1e-12)


@given(trials)
def test_equals_the_slow_definitions(pairs: list[tuple[float, bool]]) -> None:
    scores, target = split(pairs)
    curve = DetectionCurve.of(scores, target)
    assert np.stack(curve.rates(), axis=1) == pytest.approx(np.array(slow_points(scores, target)))
    assert curve.equal_error_rate() == pytest.approx(slow_equal_error_rate(scores, target), abs=1e-12)
    for prior in (0.01, 0.05, 0.5, 0.9):
        slow = min((prior * miss + (1 - prior) * alarm) / min(prior, 1 - prior) for miss, alarm in slow_points(scores, target))
        assert curve.minimum_detection_cost(prior) == pytest.approx(slow, abs=1e-12)
    beaten = (scores[target][:, None] > scores[~target]).mean() + (scores[target][:, None] == scores[~target]).mean() / 2
    assert curve.area() == pytest.approx(beaten, abs=1e-12)


@given(trials)
def test_decisive_points_give_the_same_bits(pairs: list[tuple[float, bool]]) -> None:
    scores, target = split(pairs)
    whole, few = DetectionCurve.of(scores, target), decisive_curve(scores, target)
    assert few.equal_error_rate() == whole.equal_error_rate()
    assert [few.minimum_detection_cost(one) for one in COST_PRIORS.values()] == [
        whole.minimum_detection_cost(one) for one in COST_PRIORS.values()
    ]


@pytest.mark.parametrize("spread", [0.0, 5e-324, 1e-300, 1.0, 1e308])
def test_decisive_points_of_any_spread(spread: float) -> None:
    random = np.random.default_rng(0)
    target = random.random(5000) < 0.3
    scores = np.clip(random.normal(size=5000) / 4 + 0.3 * target, -1, 1) * spread
    few, whole = decisive_curve(scores, target), DetectionCurve.of(scores, target)
    assert few.equal_error_rate() == whole.equal_error_rate()
    assert few.minimum_detection_cost(0.01) == whole.minimum_detection_cost(0.01)


def test_decisive_points_are_few() -> None:
    random = np.random.default_rng(0)
    target = random.random(40_000) < 0.5
    assert len(decisive_curve(random.normal(size=40_000) + 3 * target, target).misses) < 4000


@given(trials)
def test_minimum_cllr_is_what_pool_adjacent_violators_gives(pairs: list[tuple[float, bool]]) -> None:
    scores, target = split(pairs)
    share = pool_adjacent_violators(scores, target)
    with np.errstate(divide="ignore"):
        ratios = np.log(share) - np.log1p(-share) - np.log(target.mean() / (1 - target.mean()))
        terms = [np.logaddexp(0.0, -ratios[target]).mean(), np.logaddexp(0.0, ratios[~target]).mean()]
    assert minimum_cllr(scores, target) == pytest.approx(sum(terms) / 2 / np.log(2), abs=1e-9)


@given(trials)
def test_no_monotone_map_beats_the_minimum_cllr(pairs: list[tuple[float, bool]]) -> None:
    scores, target = split(pairs)
    least = minimum_cllr(scores, target)
    assert least <= cllr(scores, target) + 1e-12
    assert least <= 1.0 + 1e-12
    assert minimum_cllr(np.arctan(scores), target) == pytest.approx(least, abs=1e-9)


@given(trials, st.randoms(use_true_random=False))
def test_the_order_of_the_file_decides_nothing(pairs: list[tuple[float, bool]], random: object) -> None:
    before = detection_metrics(*split(pairs))
    shuffled = list(pairs)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert detection_metrics(*split(shuffled)) == pytest.approx(before, abs=1e-12)


def test_ties_move_together() -> None:
    """Sorting tied scores by their label would make a constant score look perfect, or useless."""
    for labels in ([1, 1, 0, 0], [0, 0, 1, 1], [0, 1, 0, 1]):
        assert equal_error_rate([0.3] * 4, labels) == 0.5
        assert area_under_curve([0.3] * 4, labels) == 0.5
        assert minimum_detection_cost([0.3] * 4, labels, 0.01) == 1.0


def test_a_grid_of_thresholds_misses_the_crossing() -> None:
    """Scores of a good model below .5: the grid from .50 to .99 reports half, the exact curve reports none."""
    scores, target = np.array([0.45, 0.42, 0.40, 0.10, 0.05, 0.02]), np.array([1, 1, 1, 0, 0, 0], dtype=bool)
    assert grid_equal_error_rate(scores, target) == 0.5
    assert equal_error_rate(scores, target) == 0.0


def test_the_crossing_is_interpolated() -> None:
    """Between (0, 2/3) and (1/2, 1/3) the rates cross at 2/5; the nearest point would say 1/2 or 1/3."""
    scores, target = [0.1, 0.2, 0.2, 0.3, 0.4], [0, 1, 0, 0, 1]
    assert equal_error_rate(scores, target) == pytest.approx(0.4)


def test_cllr_rewards_calibration_and_stays_finite() -> None:
    assert cllr([0.0] * 4, [1, 0, 1, 0]) == 1.0
    assert cllr([20.0, -20.0], [1, 0]) < 1e-7
    assert cllr([-2000.0, 2000.0], [1, 0]) == pytest.approx(2000 / np.log(2))


def test_inverted_scores_raise_the_alarm() -> None:
    random = np.random.default_rng(0)
    target = random.random(400) < 0.5
    scores = random.normal(size=400) + 2 * target
    assert inverted_scores_alarm(area_under_curve(scores, target)) is None
    alarm = inverted_scores_alarm(area_under_curve(-scores, target))
    assert alarm is not None
    assert "change their sign" in alarm


def test_the_threshold_separates_what_can_be_separated() -> None:
    curve = DetectionCurve.of([0.9, 0.8, 0.2, 0.1], [1, 1, 0, 0])
    assert curve.equal_error_threshold() == 0.8
    assert DetectionCurve.of([0.1, 0.9], [1, 0]).equal_error_threshold() == 0.9


@pytest.mark.parametrize(
    ("scores", "target", "words"),
    [
        ([0.1, 0.2], [0, 0], "no target trials"),
        ([0.1, 0.2], [1, 1], "no non-target trials"),
        ([], [], "no target trials"),
        ([0.1, float("nan")], [1, 0], "score of trial 2 is nan"),
        ([0.1, float("-inf")], [1, 0], "score of trial 2"),
        ([0.1, 0.2, 0.3], [1, 0], "equally long"),
        ([0.1, 0.2], [1, 2], "neither 0 nor 1"),
        ([[0.1, 0.2]], [[1, 0]], "equally long"),
    ],
)
def test_bad_trials_are_refused(scores: list[float], target: list[int], words: str) -> None:
    for figure in (equal_error_rate, cllr, decisive_curve):
        with pytest.raises(UserError, match=words):
            figure(scores, target)


@pytest.mark.parametrize("prior", [0.0, 1.0, -0.1, float("nan")])
def test_a_prior_lies_between_0_and_1(prior: float) -> None:
    with pytest.raises(UserError, match="prior"):
        minimum_detection_cost([0.1, 0.2], [0, 1], prior)
