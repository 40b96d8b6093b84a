"""Known answers of the feature scores, and the traps of the published ones."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from auscult.errors import UserError
from auscult.metrics.reconstruction import CEILING, feature_mae, feature_scores, feature_snr, mel_psnr


def features(frames: int = 40, bins: int = 7, seed: int = 0) -> np.ndarray:
    values = np.random.default_rng(seed).normal(size=(frames, bins))
    return (values - values.mean()) / values.std()


def test_zeros_are_exactly_0_db_on_normalised_features() -> None:
    assert feature_snr(features(), np.zeros((40, 7))) == pytest.approx(0.0, abs=1e-12)
    raw = 3 + 5 * features()
    assert feature_snr(raw, np.full_like(raw, raw.mean())) == 0.0


def test_float32_features_of_a_front_end_keep_zeros_at_0_db() -> None:
    assert feature_snr(features().astype(np.float32), np.zeros((40, 7), np.float32)) == pytest.approx(0.0, abs=1e-9)


def test_a_reconstruction_that_is_worse_than_zeros_is_negative() -> None:
    assert feature_snr(features(seed=1), features(seed=2)) == pytest.approx(-3.0, abs=0.5)  # unrelated, equal power: about -3 dB


@given(st.floats(0.01, 3.0), st.floats(0.01, 1000.0), st.floats(-100.0, 100.0))
def test_a_constant_error_is_known_whatever_the_scale(error: float, scale: float, shift: float) -> None:
    """The figures in print depend on the loudness of the clip; these must not."""
    truth = shift + scale * features()
    scores = feature_scores(truth, truth + error * scale)
    assert scores.mae == pytest.approx(error, rel=1e-6)
    assert scores.raw_mae == pytest.approx(error * scale, rel=1e-6)
    assert scores.snr == pytest.approx(-20 * math.log10(error), abs=1e-5)


def test_a_perfect_copy_has_a_finite_score() -> None:
    scores = feature_scores(features(), features())
    assert (scores.mae, scores.raw_mae, scores.snr, scores.length_error) == (0.0, 0.0, CEILING, 0)


def test_too_long_is_cut_too_short_is_filled_with_the_mean_and_both_are_told() -> None:
    truth = 2 + features()
    longer = np.concatenate([truth, np.full((5, 7), 99.0)])
    assert feature_scores(truth, longer).snr == CEILING
    assert feature_scores(truth, longer).length_error == 5
    half = feature_scores(truth, truth[:20])
    assert half.length_error == -20
    missing = np.square(truth[20:] - truth.mean()).sum()
    assert half.snr == pytest.approx(10 * math.log10(np.square(truth - truth.mean()).sum() / missing))
    assert half.record()["length_error"] == 20.0


def test_scale_is_that_of_the_truth_not_of_the_reconstruction() -> None:
    """An attack that is wrong by a factor of ten is wrong."""
    assert feature_mae(features(), 10 * features()) == pytest.approx(9 * np.abs(features()).mean())


def test_mel_psnr_states_its_range_and_does_not_know_the_base_of_the_logarithm() -> None:
    truth = features() * 3
    found = truth + 0.1
    ratio, span = mel_psnr(truth, found)
    assert span == pytest.approx(truth.max() - truth.min())
    assert ratio == pytest.approx(20 * math.log10(span / 0.1))
    assert mel_psnr(truth * 4.343, found * 4.343).decibels == pytest.approx(ratio)
    assert mel_psnr(truth, truth).decibels == CEILING


@pytest.mark.parametrize(
    ("truth", "found", "message"),
    [
        (np.ones((4, 2)), np.ones((4, 2)), r"constant and have no scale"),
        (features(4, 2), features(4, 3), r"truth has 2 bins, the reconstruction 3"),
        (features(4, 2), np.full((4, 2), np.nan), r"frame 0 of the reconstruction is not finite; an attack that diverged"),
        (features(4, 2), np.zeros(8), r"the reconstruction has shape \(8,\)"),
        (features(4, 2), np.zeros((0, 2)), r"at least one frame"),
    ],
)
def test_what_cannot_be_scored_is_said(truth: np.ndarray, found: np.ndarray, message: str) -> None:
    with pytest.raises(UserError, match=message):
        feature_scores(truth, found)
    with pytest.raises(UserError, match=message):
        mel_psnr(truth, found)
