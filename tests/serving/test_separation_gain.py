"""Gains: exact where the outputs are, bounded where they are not, and steady where a window says nothing."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from auscult.serving.separation_gain import FARTHEST, GainMemory, fit_gains


def voices(sources: int = 2, seed: int = 0) -> NDArray[np.float64]:
    return 0.1 * np.random.default_rng(seed).standard_normal((sources, 24_000))


@given(st.integers(1, 4), st.integers(0, 100), st.data())
@settings(max_examples=30)
def test_exact_outputs_get_exact_gains(sources: int, seed: int, data: st.DataObject) -> None:
    said = voices(sources, seed)
    factors = np.array([data.draw(st.floats(0.6, 2.0)) * data.draw(st.sampled_from([-1.0, 1.0])) for _ in range(sources)])
    gains, trust = fit_gains(said.sum(axis=0), said * factors[:, None])
    assert np.allclose(gains * factors, 1.0, atol=1e-7)
    assert np.allclose(trust, 1.0)


@pytest.mark.parametrize("level", [1e-6, 1.0, 1e6])
def test_the_scale_of_a_network_does_not_matter(level: float) -> None:
    said = voices()
    gains, _ = fit_gains(said.sum(axis=0), said * level)
    assert np.allclose(gains * level, 1.0, atol=1e-7)


def test_noise_of_the_mixture_leaves_the_gains_nearly_right_and_costs_trust() -> None:
    said, noise = voices(), voices(1, 9)[0]
    gains, trust = fit_gains(said.sum(axis=0) + noise, said)
    assert np.allclose(gains, 1.0, atol=0.05)
    assert np.allclose(trust, 0.5, atol=0.05)


def test_the_residue_of_a_silent_speaker_is_not_raised_to_speech() -> None:
    """What the network leaves of a silent speaker looks like what it missed of the other one; free least squares blows it up."""
    voice, missed = voices(2, 1)
    mixture = voice + missed
    estimates = np.stack([voice, 1e-3 * missed])
    free = np.linalg.lstsq(estimates.T, mixture, rcond=None)[0]
    gains, _ = fit_gains(mixture, estimates)
    assert free[1] == pytest.approx(1000.0)
    assert gains[1] <= FARTHEST * 1.01


def test_two_copies_of_one_voice_share_it() -> None:
    voice, extra = voices(2, 3)
    gains, _ = fit_gains(voice + extra, np.stack([voice, voice]))
    assert np.allclose(gains, 0.5, atol=0.01)
    nearly, _ = fit_gains(voice + extra, np.stack([voice, voice + 1e-4 * voices(1, 5)[0]]))
    assert np.all(nearly > 0.0)


def test_crosstalk_of_the_only_voice_stays_as_quiet_as_it_is() -> None:
    """Least squares alone has no opinion on copies; sharing evenly (the shortest solution) would put the voice at full level into both."""
    voice, noise = voices(2, 6)
    estimates = np.stack([voice, 0.18 * voice]) * 3
    even = np.linalg.pinv((estimates / np.linalg.norm(estimates, axis=1)[:, None]).T) @ voice
    assert even[0] == pytest.approx(even[1])
    for extra in (0.0, 0.5):
        gains, _ = fit_gains(voice + extra * noise, estimates + extra * 0.01 * voices(2, 7))
        levels = np.linalg.norm(estimates * gains[:, None], axis=1)
        assert levels[1] / levels[0] == pytest.approx(0.18, rel=0.3)


def test_a_quiet_output_that_is_upside_down_is_turned_over() -> None:
    said = voices() * np.array([[1.0], [0.01]])
    gains, _ = fit_gains(said.sum(axis=0), said * np.array([[1.0], [-1.0]]))
    assert np.allclose(gains, [1.0, -1.0], atol=1e-7)
    loud = voices()
    noisy, _ = fit_gains(loud.sum(axis=0) + 3 * voices(1, 8)[0], loud * np.array([[1.0], [-1.0]]))
    assert np.allclose(noisy, [1.0, -1.0], atol=0.15)


def test_silence_gives_no_gain_and_no_trust() -> None:
    said = voices()
    for mixture, estimates in ((np.zeros(24_000), said), (said[0], np.zeros_like(said))):
        gains, trust = fit_gains(mixture, estimates)
        assert gains.tolist() == [1.0, 1.0]
        assert trust.tolist() == [0.0, 0.0]
    gains, trust = fit_gains(said[0], np.stack([said[0] / 2, 0 * said[0]]))
    assert gains[0] == pytest.approx(2.0)
    assert trust.tolist() == pytest.approx([1.0, 0.0])


def test_outputs_that_cancel_have_a_finite_gain() -> None:
    voice = voices(1)[0]
    gains, trust = fit_gains(voices(1, 4)[0], np.stack([voice, -voice]))
    assert np.isfinite(gains).all()
    assert np.isfinite(trust).all()


def test_a_silent_speaker_keeps_the_level_it_had_and_an_exact_one_jumps() -> None:
    memory = GainMemory(2)
    assert memory.smooth(np.array([2.0, 3.0]), np.array([1.0, 1.0])).tolist() == [2.0, 3.0]
    assert memory.smooth(np.array([9.0, 9.0]), np.array([0.0, 1.0])).tolist() == [2.0, 9.0]
    assert memory.smooth(np.array([4.0, -9.0]), np.array([0.5, 1.0])).tolist() == [3.0, -9.0]
    fresh = GainMemory(1)
    assert fresh.smooth(np.array([5.0]), np.array([0.0])).tolist() == [5.0]
    assert fresh.smooth(np.array([2.0]), np.array([0.1])).tolist() == [2.0]
