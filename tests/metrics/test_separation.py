"""Levels of estimates: known answers, silence, and the judgement of a mixture."""

from __future__ import annotations

import math

import numpy as np
import pytest

from auscult.errors import UserError
from auscult.metrics.separation import best_permutation, judge_mixture, si_sdr, snr
from auscult.ops.silence import SILENT_POWER
from auscult.testing.known_mixtures import estimates_at


def speech(seed: int = 0, sources: int = 2) -> np.ndarray:
    return estimates_at(0, batch=1, sources=sources, seed=seed)[0][0]


def orthogonal(signals: np.ndarray) -> np.ndarray:
    """Without what each shares with those before it, of one energy."""
    basis, _ = np.linalg.qr(signals.T)
    return basis.T


@pytest.mark.parametrize("decibels", [-20, 0, 20, 60, 90])
def test_known_levels(decibels: float) -> None:
    there, said = (one[0, 0] for one in estimates_at(decibels))
    for moved in (said, 7.3 * said, said + 4, -0.01 * said):
        assert si_sdr(there + 1, moved) == pytest.approx(decibels, abs=1e-3)
    assert snr(there, said + 4) == pytest.approx(decibels, abs=1e-3)
    assert snr(there, 2 * there) == pytest.approx(0, abs=1e-9)


def test_inner_products_alone_are_lost_where_the_error_is_small() -> None:
    worst = 0.0
    for there, said in zip(*(one.reshape(-1, 8000).astype(np.float32) for one in estimates_at(70, batch=8)), strict=True):
        power = (there @ said) ** 2 / (there @ there)
        planted = 10 * np.log10(power / max(said @ said - power, np.float32(1e-14)))
        worst = max(worst, abs(planted - 70))
        assert si_sdr(there, said) == pytest.approx(70, abs=0.01)
    assert worst > 3


def test_ends_of_the_scale() -> None:
    there = speech()[0]
    assert si_sdr(there, there) == pytest.approx(140, abs=0.1)
    assert si_sdr(there, np.zeros_like(there)) == pytest.approx(0, abs=1e-9)
    assert si_sdr(*orthogonal(speech())) < -100


def test_a_silent_reference_has_no_level() -> None:
    """With a small constant alone (1e-8) it counts as -80 dB or +80 dB."""
    estimate = speech()[0]
    last_bit = np.random.default_rng(0).integers(-1, 2, len(estimate)) * 2.0**-15
    for silent in (np.zeros_like(estimate), last_bit, np.full_like(estimate, 0.5)):
        assert math.isnan(si_sdr(silent, estimate))
        assert math.isnan(snr(silent, estimate))
    quiet = estimate / np.sqrt((estimate**2).mean()) * np.sqrt(SILENT_POWER)
    assert math.isnan(si_sdr(0.99 * quiet, estimate))
    assert si_sdr(1.01 * quiet, estimate) > 100
    planted = 10 * np.log10(1e-8 / ((estimate**2).sum() + 1e-8))
    assert planted < -80


@pytest.mark.parametrize("difference", [-5.0, 0.0, 5.0])
def test_level_of_the_mixture_itself(difference: float) -> None:
    """Two orthogonal sources d dB apart: the mixture is at +d for one and -d for the other."""
    first, second = orthogonal(speech())
    second = second * 10 ** (-difference / 20)
    judged = judge_mixture(first + second, [first, second], [second, first])
    assert judged["source_input_si_sdr"] == pytest.approx([difference, -difference], abs=1e-3)
    assert judged["input_si_sdr"] == pytest.approx(0, abs=1e-3)
    assert judged["permutation"] == [1, 0]
    assert judged["si_sdri"] > 130


@pytest.mark.parametrize(("scene", "expected"), [(0, -4.77), (-7, -1.46), (-14, -0.33)])
def test_level_of_a_mixture_with_a_scene(scene: float, expected: float) -> None:
    first, second, noise = orthogonal(speech(sources=3))
    noise = noise * np.sqrt(2) * 10 ** (scene / 20)
    judged = judge_mixture(first + second + noise, [first, second], [first, second])
    assert judged["input_si_sdr"] == pytest.approx(expected, abs=0.005)


def test_judgement_with_a_silent_source() -> None:
    there, said = (one[0] for one in estimates_at(12, batch=1))
    there[1] = 0
    judged = judge_mixture(said[0], there, said[::-1])
    assert judged["permutation"] == [1, 0]
    assert judged["silent"] == [1]
    assert judged["silent_estimates"] == []
    assert judged["source_si_sdr"][0] == judged["si_sdr"] == pytest.approx(12)
    assert math.isnan(judged["source_si_sdr"][1])
    assert judged["si_sdri"] == pytest.approx(0)
    nothing = judge_mixture(None, 0 * there, 0 * said)
    assert nothing["silent"] == nothing["silent_estimates"] == [0, 1]
    assert math.isnan(nothing["si_sdr"])
    assert "si_sdri" not in nothing


def test_permutations() -> None:
    assert best_permutation([[5.0]]) == (0,)
    assert best_permutation([[1, 2, 9], [math.nan] * 3, [8, 1, 9.5]]) == (2, 1, 0)
    scores = np.random.default_rng(0).random((12, 12))
    assert sorted(best_permutation(scores)) == list(range(12))
    with pytest.raises(UserError, match="as many estimates"):
        best_permutation([[1.0, 2.0]])


def test_refusals() -> None:
    with pytest.raises(UserError, match="one length"):
        si_sdr(np.ones(3), np.ones(4))
    with pytest.raises(UserError, match="one length"):
        snr([], [])
    with pytest.raises(UserError, match="one shape"):
        judge_mixture(None, np.ones((2, 9)), np.ones((3, 9)))
    with pytest.raises(UserError, match="one length"):
        judge_mixture(np.ones(8), np.ones((2, 9)), np.ones((2, 9)))


def test_what_is_not_finite_stays_visible() -> None:
    broken = speech()[0]
    broken[7] = math.nan
    judged = judge_mixture(None, speech(), [broken, speech()[1]])
    assert judged["silent"] == judged["silent_estimates"] == []
