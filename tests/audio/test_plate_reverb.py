"""The plate against a plain simulation of the same network, and what its parameters do."""

from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from auscult.audio.plate_reverb import (
    INPUT_ALL_PASSES,
    LEFT,
    OUTPUT_GAIN,
    RIGHT,
    TAPS,
    Plate,
    impulse_response,
    reverberate,
    scaled_delay,
)
from auscult.errors import UserError

RATE = 8000
PLATES = [Plate(15_000, 0.5, 0.5, 0.3), Plate(2_000, 0.9, 0.3, 0.1), Plate(20_000, 0.1, 0.99, 0.9), Plate(17_000, 0.6, 0.02, 0.0005)]


class Line:
    """A delay line: `back(k)` is what was pushed k samples ago."""

    def __init__(self, samples: int) -> None:
        self.memory, self.place = [0.0] * (samples + 1), 0

    def push(self, value: float) -> None:
        self.place = (self.place + 1) % len(self.memory)
        self.memory[self.place] = value

    def back(self, samples: int) -> float:
        return self.memory[(self.place - samples) % len(self.memory)]


def through_all_pass(line: Line, samples: int, coefficient: float, value: float) -> float:
    back = line.back(samples - 1)
    inside = value - coefficient * back
    line.push(inside)
    return coefficient * inside + back


def simulated(plate: Plate, rate: int, signal: NDArray[np.float64]) -> NDArray[np.float64]:
    """The network, one sample after the other."""
    size = {one: scaled_delay(one, rate) for one in (*INPUT_ALL_PASSES, *vars(LEFT).values(), *vars(RIGHT).values())}
    diffusers = [Line(size[one]) for one in INPUT_ALL_PASSES]
    halves = [{name: Line(size[samples]) for name, samples in vars(half).items()} for half in (LEFT, RIGHT)]
    low_pass, gain = plate.low_pass(rate), 1 - plate.decay
    state, damped, output = 0.0, [0.0, 0.0], np.zeros(len(signal))
    for place, sample in enumerate(signal):
        state = (1 - low_pass) * sample + low_pass * state
        value = state
        for line, samples in zip(diffusers, INPUT_ALL_PASSES, strict=True):
            value = through_all_pass(line, size[samples], plate.diffusion, value)
        fed = [halves[1 - side]["second_delay"].back(size[(RIGHT, LEFT)[side].second_delay] - 1) * gain for side in (0, 1)]
        for side, half in enumerate((LEFT, RIGHT)):
            lines = halves[side]
            first = through_all_pass(lines["first_all_pass"], size[half.first_all_pass], -plate.diffusion, value + fed[side])
            delayed = lines["first_delay"].back(size[half.first_delay] - 1)
            lines["first_delay"].push(first)
            damped[side] = (1 - plate.damping) * delayed + plate.damping * damped[side]
            second = through_all_pass(lines["second_all_pass"], size[half.second_all_pass], plate.diffusion, gain * damped[side])
            lines["second_delay"].push(second)
        taps = [sign * halves[side][line].back(scaled_delay(tap, rate)) for channel in TAPS for side, line, tap, sign in channel]
        output[place] = OUTPUT_GAIN * sum(taps) / 2
    return output


def decay_time(response: NDArray[np.float64], rate: int) -> float:
    """Seconds until 99.9 % of the energy has come."""
    energy = np.cumsum(response**2)
    return float(np.searchsorted(energy, 0.999 * energy[-1])) / rate


@pytest.mark.parametrize("plate", PLATES, ids=str)
def test_response_is_that_of_the_simulated_network(plate: Plate) -> None:
    count = 6000
    impulse = np.zeros(count)
    impulse[0] = 1
    expected = simulated(plate, RATE, impulse)
    np.testing.assert_allclose(impulse_response(plate, RATE, count), expected, atol=1e-7)
    assert np.abs(expected).max() > 1e-3


def test_a_signal_at_another_rate() -> None:
    signal = np.random.default_rng(1).standard_normal(4000)
    found = reverberate(signal[None], PLATES[0], 16_000, [0.0])[0]
    np.testing.assert_allclose(found, simulated(PLATES[0], 16_000, signal), atol=1e-6)


def test_long_decays_do_not_wrap_around() -> None:
    """The first second is the same whether one second is computed or eight."""
    plate = Plate(20_000, 0.6, 0.02, 0.0005)
    short, long = impulse_response(plate, RATE, RATE), impulse_response(plate, RATE, 8 * RATE)
    assert np.abs(long[4 * RATE :]).max() > 1e-3, "the decay is not long"
    np.testing.assert_allclose(short, long[:RATE], atol=1e-7)


@given(st.floats(0, 1))
def test_pre_delay_is_exact(seconds: float) -> None:
    plate, delay = Plate(15_000, 0.5, 0.7, 0.2), round(seconds * RATE)
    found, plain = impulse_response(plate, RATE, 9000, seconds), impulse_response(plate, RATE, 9000)
    assert not found[:delay].any()
    np.testing.assert_array_equal(found[delay:], plain[: 9000 - delay])


@given(st.floats(0.01, 1), st.floats(0, 0.95), st.floats(0, 0.95), st.floats(100, 20_000))
def test_stable(decay: float, diffusion: float, damping: float, high_cut: float) -> None:
    response = impulse_response(Plate(high_cut, diffusion, decay, damping), RATE, 16_000)
    assert np.isfinite(response).all()
    quarters = [float(np.sum(part**2)) for part in np.split(response, 4)]
    assert quarters[3] <= quarters[1] + 1e-9


def test_more_decay_is_a_shorter_tail() -> None:
    """MATLAB's decay factor: the gains of the tank are one minus it."""
    times = [
        decay_time(impulse_response(Plate(15_000, 0.5, decay, 0.3), RATE, 40_000), RATE) for decay in (0.05, 0.1, 0.3, 0.5, 0.7, 0.9, 0.99)
    ]
    assert times == sorted(times, reverse=True)
    assert times[0] > 4 * times[-1]


def test_damping_takes_the_high_frequencies_away() -> None:
    """Of what has been around once; the first taps lie before the low-passes."""

    def brightness(damping: float) -> float:
        power = np.abs(np.fft.rfft(impulse_response(Plate(20_000, 0.5, 0.3, damping), RATE, 16_000)[4000:])) ** 2
        return float(power[len(power) // 2 :].sum() / power.sum())

    values = [brightness(damping) for damping in (0.0, 0.3, 0.6, 0.9)]
    assert values == sorted(values, reverse=True)


def test_high_cut_above_the_clamp_has_the_effect_of_the_clamp() -> None:
    found = [impulse_response(Plate(cut, 0.5, 0.7, 0.1), RATE, 4000) for cut in (0.45 * RATE, 15_000, 20_000, 1_000)]
    np.testing.assert_array_equal(found[0], found[1])
    np.testing.assert_array_equal(found[0], found[2])
    assert np.abs(found[0] - found[3]).max() > 0


@given(st.integers(0, 1000), st.floats(-2, 2))
def test_linear(seed: int, factor: float) -> None:
    signals = np.random.default_rng(seed).standard_normal((2, 3000))
    both = np.stack([signals[0], signals[1], signals[0] + factor * signals[1]])
    wet = reverberate(both, PLATES[0], RATE, [0.01] * 3)
    np.testing.assert_allclose(wet[2], wet[0] + factor * wet[1], atol=1e-6)


def test_no_samples() -> None:
    assert reverberate(np.zeros((2, 0)), PLATES[0], RATE, [0.1, 0.2]).shape == (2, 0)


def test_quick() -> None:
    """Three layers of four seconds; the bound is some twenty times what an idle core needs."""
    signals = np.random.default_rng(1).standard_normal((3, 4 * RATE))
    times = []
    for _ in range(5):
        start = time.process_time()
        reverberate(signals, PLATES[0], RATE, [0.1, 0.2, 0.3])
        times.append(time.process_time() - start)
    assert min(times) < 0.5


@pytest.mark.parametrize("values", [(0, 0.5, 0.5, 0.5), (1000, 1.0, 0.5, 0.5), (1000, 0.5, 0.0, 0.5), (1000, 0.5, 0.5, 1.0)])
def test_impossible_plates(values: tuple[float, float, float, float]) -> None:
    with pytest.raises(UserError, match="decay more than 0"):
        Plate(*values)


def test_one_pre_delay_per_signal() -> None:
    with pytest.raises(UserError, match="one pre-delay"):
        reverberate(np.zeros((2, 10)), PLATES[0], RATE, [0.1])
