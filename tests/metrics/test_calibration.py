"""Calibration: recovers a planted map, lowers Cllr, moves no decision order, and survives separable data."""

from __future__ import annotations

import json

import numpy as np
import pytest
from numpy.typing import NDArray

from auscult.errors import UserError
from auscult.metrics.calibration import Calibration, duration_measures, fit_calibration, paired_measures, probability
from auscult.metrics.detection import cllr, equal_error_rate, minimum_cllr


def gaussian_trials(number: int, seed: int = 0, strength: float = 3.0) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Log likelihood ratios by construction: N(m, 2m) for targets and N(-m, 2m) for the others."""
    random = np.random.default_rng(seed)
    target = np.arange(number) % 4 == 0
    return np.where(target, strength, -strength) + np.sqrt(2 * strength) * random.normal(size=number), target


def test_recovers_a_planted_affine_map() -> None:
    ratios, target = gaussian_trials(200_000)
    calibration = fit_calibration(0.04 * ratios + 0.31, target)
    found = calibration.log_likelihood_ratio([0.31, 0.35])
    assert found[0] == pytest.approx(0.0, abs=0.05)
    assert found[1] - found[0] == pytest.approx(1.0, abs=0.03)


def test_lowers_cllr_and_moves_no_order() -> None:
    ratios, target = gaussian_trials(4000)
    scores = np.tanh(ratios / 8)
    after = fit_calibration(scores, target).log_likelihood_ratio(scores)
    assert cllr(after, target) < 0.6 * cllr(scores, target)
    assert cllr(after, target) >= minimum_cllr(scores, target)
    assert equal_error_rate(after, target) == equal_error_rate(scores, target)


def test_holds_on_trials_it_has_not_seen() -> None:
    ratios, target = gaussian_trials(4000, seed=1)
    calibration = fit_calibration(ratios / 10, target)
    unseen, labels = gaussian_trials(4000, seed=2)
    assert cllr(calibration.log_likelihood_ratio(unseen / 10), labels) < cllr(unseen, labels) + 0.01


def test_a_quality_measure_that_shifts_scores_is_used() -> None:
    """Short recordings score lower whoever speaks: the score alone cannot know, the score with durations can."""
    ratios, target = gaussian_trials(8000)
    random = np.random.default_rng(5)
    enrol, test = random.uniform(1, 30, size=(2, 8000))
    measures = duration_measures(enrol, test)
    scores = ratios + 0.4 * measures["shorter_seconds"]
    alone, informed = fit_calibration(scores, target), fit_calibration(scores, target, measures)
    assert informed.cllr < 0.9 * alone.cllr
    assert informed.inputs == ("score", "shorter_seconds", "longer_seconds", "log_duration_ratio")
    assert equal_error_rate(informed.log_likelihood_ratio(scores, measures), target) < 0.9 * equal_error_rate(scores, target)


def test_the_solution_is_the_minimum() -> None:
    """No small step from the solution lowers the cost that it minimises."""
    ratios, target = gaussian_trials(600)
    made = fit_calibration(ratios, target, prior=0.1, penalty=1e-9)
    offset = np.log(0.1 / 0.9)

    def cost(weight: float, bias: float) -> float:
        odds = (ratios - made.means[0]) / made.scales[0] * weight + bias + offset
        return float(0.1 * np.logaddexp(0, -odds[target]).mean() + 0.9 * np.logaddexp(0, odds[~target]).mean())

    best = cost(made.weights[0], made.bias)
    for step in ((1e-3, 0), (-1e-3, 0), (0, 1e-3), (0, -1e-3)):
        assert cost(made.weights[0] + step[0], made.bias + step[1]) > best


def test_separable_trials_give_finite_weights() -> None:
    made = fit_calibration([0.9, 0.8, 0.2, 0.1], [1, 1, 0, 0])
    assert np.isfinite([*made.weights, made.bias]).all()
    assert abs(made.weights[0]) < 20


def test_a_constant_measure_changes_nothing() -> None:
    ratios, target = gaussian_trials(500)
    constant = fit_calibration(ratios, target, {"norm": np.full(500, 7.0)})
    assert constant.weights[1] == 0.0
    plain = fit_calibration(ratios, target)
    assert constant.log_likelihood_ratio(ratios, {"norm": np.full(500, 9.0)}) == pytest.approx(plain.log_likelihood_ratio(ratios), abs=1e-4)


def test_travels_as_json() -> None:
    ratios, target = gaussian_trials(500)
    measures = paired_measures("norm", np.abs(ratios), np.abs(ratios) + 1)
    made = fit_calibration(ratios, target, measures)
    back = Calibration.from_dict(json.loads(json.dumps(made.to_dict())))
    assert back == made
    assert (back.log_likelihood_ratio(ratios, measures) == made.log_likelihood_ratio(ratios, measures)).all()
    for change, words in (
        ({"wieghts": [1.0]}, 'unknown key "wieghts" .did you mean "weights"'),
        ({"weights": [1.0]}, "one entry per input"),
        ({"scales": [0.0, 1.0, 1.0]}, "above 0"),
        ({"bias": float("nan")}, "finite"),
    ):
        with pytest.raises(UserError, match=words):
            Calibration.from_dict({**made.to_dict(), **change})
    with pytest.raises(UserError, match="bias, prior missing"):
        Calibration.from_dict({key: value for key, value in made.to_dict().items() if key not in ("bias", "prior")})


def test_probability_adds_the_prior() -> None:
    assert probability([0.0, 0.0], 0.01) == pytest.approx([0.01, 0.01])
    assert probability([np.log(9.0)], 0.1) == pytest.approx([0.5])
    assert probability([-1e6, 1e6], 0.5).tolist() == [0.0, 1.0]
    with pytest.raises(UserError, match="prior"):
        probability([0.0], 1.0)


def test_measures_do_not_depend_on_the_order_of_the_files() -> None:
    one, other = duration_measures([3.0, 50.0], [6.0, 2.0]), duration_measures([6.0, 2.0], [3.0, 50.0])
    assert {name: value.tolist() for name, value in one.items()} == {name: value.tolist() for name, value in other.items()}
    assert one["longer_seconds"].tolist() == [6.0, 20.0]
    assert one["log_duration_ratio"].tolist() == pytest.approx([np.log(2), np.log(10)])


def test_bad_input_is_refused() -> None:
    scores, target = [0.1, 0.9, 0.4], [0, 1, 0]
    with pytest.raises(UserError, match="no target trials"):
        fit_calibration(scores, [0, 0, 0])
    with pytest.raises(UserError, match="prior between 0 and 1"):
        fit_calibration(scores, target, prior=0.0)
    with pytest.raises(UserError, match='"norm" has shape'):
        fit_calibration(scores, target, {"norm": [1.0]})
    with pytest.raises(UserError, match='"norm" of trial 2 is not finite'):
        fit_calibration(scores, target, {"norm": [1.0, float("nan"), 2.0]})
    with pytest.raises(UserError, match="expected the quality measures norm, got none"):
        fit_calibration(scores, target, {"norm": [1.0, 3.0, 2.0]}).log_likelihood_ratio(scores)
    with pytest.raises(UserError, match="seconds above 0"):
        duration_measures([0.0], [1.0])
    with pytest.raises(UserError, match="both files of each trial"):
        paired_measures("norm", [1.0], [1.0, 2.0])


def test_few_speakers_are_little_evidence() -> None:
    """Separable trials of twelve speakers must not promise what twelve speakers cannot show; many speakers may promise more."""
    random = np.random.default_rng(0)
    target = np.arange(4000) % 4 == 0
    scores = np.where(target, 0.9, 0.1) + 0.02 * random.standard_normal(4000)
    sure = fit_calibration(scores, target).log_likelihood_ratio([0.9])[0]
    few, many = (fit_calibration(scores, target, speakers=count).log_likelihood_ratio([0.9])[0] for count in (12, 1000))
    assert few == pytest.approx(np.log(13), rel=0.05)  # odds of (1 - doubt) to doubt
    assert few < many <= sure
