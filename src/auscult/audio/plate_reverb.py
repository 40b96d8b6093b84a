"""Reverberation of a plate, as a transfer function: what the corpora made with MATLAB's `reverberator` were reverberated with.

Problem: PolSESS draws its rooms as parameters of a plate reverberator, a network of delays that feed one another. Simulated sample by
sample it takes seconds per second of sound in Python. Choice: without modulation the network is linear and time-invariant, so its transfer
function has a closed form (two halves of a tank, each feeding the other), and the output is a product of spectra. Taken on the unit circle
the product would be circular, and a long decay would wrap around onto the beginning; on a circle of radius r > 1, with r**count = 10**8,
what comes one length later is 10**8 times weaker, so no padding is needed and rounding costs the same 10**-8.

The network is that of J. Dattorro, "Effect design, part 1: reverberator and other filters", J. Audio Eng. Soc. 45 (9), 1997, figure 1 and
tables 1 and 2, at delays for 29,761 Hz scaled to the rate, with the parameters that MATLAB gives it. `decay` is MATLAB's decay factor, and
its sense is not that of most reverberators: the tank's gains are 1 - decay, so that 0.99 is a car and 0.3 an airport. Three things differ
from MATLAB's, whose samples are not matched: the first all-passes of the tank are not modulated, one coefficient serves all all-passes,
and a cut-off above 0.45 of the rate is lowered to it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from auscult.errors import UserError

Spectrum: TypeAlias = NDArray[np.complex128]

DESIGN_RATE = 29_761
"""The rate in hertz that the delays below are samples of."""
INPUT_ALL_PASSES = (142, 107, 379, 277)
HIGHEST_CUT = 0.45
"""Largest cut-off as a share of the sample rate."""
OUTPUT_GAIN = 0.6
WRAP = 1e8
"""How much weaker whatever wraps around is; rounding errors grow by as much."""


@dataclass(frozen=True)
class Half:
    """Delays of one half of the tank, in samples at `DESIGN_RATE`, in the order in which it is passed."""

    first_all_pass: int
    first_delay: int
    second_all_pass: int
    second_delay: int


LEFT, RIGHT = Half(672, 4453, 1800, 3720), Half(908, 4217, 2656, 3163)

TAPS: tuple[tuple[tuple[int, str, int, int], ...], ...] = (
    (
        (1, "first_delay", 266, 1), (1, "first_delay", 2974, 1), (1, "second_all_pass", 1913, -1), (1, "second_delay", 1996, 1),
        (0, "first_delay", 1990, -1), (0, "second_all_pass", 187, -1), (0, "second_delay", 1066, -1),
    ),
    (
        (0, "first_delay", 353, 1), (0, "first_delay", 3627, 1), (0, "second_all_pass", 1228, -1), (0, "second_delay", 2673, 1),
        (1, "first_delay", 2111, -1), (1, "second_all_pass", 335, -1), (1, "second_delay", 121, -1),
    ),
)  # fmt: skip
"""Of each output channel: half (0 left, 1 right), the delay line that is tapped, where, and with which sign."""


@dataclass(frozen=True)
class Plate:
    """What a plate sounds like.

    Attributes:
        high_cut: cut-off of the low-pass in front, in hertz; more than 0.45 of the sample rate has the effect of 0.45.
        diffusion: coefficient of the all-passes, in [0, 1); more makes the tail denser.
        decay: in (0, 1]; more makes the tail shorter, see the module.
        damping: coefficient of the low-passes in the tank, in [0, 1); more makes high frequencies die out sooner.
    """

    high_cut: float
    diffusion: float
    decay: float
    damping: float

    def __post_init__(self) -> None:
        if not (self.high_cut > 0 and 0 <= self.diffusion < 1 and 0 < self.decay <= 1 and 0 <= self.damping < 1):
            raise UserError(
                f"{self}: high_cut must be positive, diffusion and damping from 0 to less than 1, decay more than 0 and at most 1; "
                "at decay 0 the sound would never end"
            )

    def low_pass(self, sample_rate: int) -> float:
        """Return the coefficient of the low-pass in front of the tank."""
        return float(np.exp(-2 * np.pi * min(self.high_cut / sample_rate, HIGHEST_CUT)))


def scaled_delay(samples: int, sample_rate: int) -> int:
    """Return a delay at `DESIGN_RATE` as samples of another rate, one at least."""
    return max(1, round(samples * sample_rate / DESIGN_RATE))


def reverberate(signals: NDArray[np.float64], plate: Plate, sample_rate: int, pre_delays: Sequence[float]) -> NDArray[np.float64]:
    """Return the reverberation alone, the mean of both channels, cut off at the length of the signals.

    Args:
        signals: (signals, time), all in one room.
        plate: the room.
        sample_rate: in hertz.
        pre_delays: of each signal, in seconds, rounded to samples.

    Returns:
        (signals, time) float64, exactly zero during the pre-delay.

    >>> click = np.zeros((1, 4000)); click[0, 0] = 1
    >>> wet = reverberate(click, Plate(20_000, 0.5, 0.5, 0.1), 8000, [0.1])
    >>> bool(wet[:, :800].any()), bool(wet.any())
    (False, True)
    """
    if signals.ndim != 2 or len(signals) != len(pre_delays) or min(pre_delays, default=0) < 0:
        raise UserError(f"signals of shape {signals.shape} with pre-delays {list(pre_delays)}; expected one pre-delay >= 0 for each signal")
    count = signals.shape[1]
    if count == 0:
        return np.zeros_like(signals, dtype=np.float64)
    size = fft.next_fast_len(count, real=True)
    shrinking = WRAP ** (-np.arange(size) / size)
    spectra = fft.rfft(signals * shrinking[:count], size, axis=1) * transfer(plate, sample_rate, size)
    wet: NDArray[np.float64] = fft.irfft(spectra, size, axis=1) / shrinking
    delayed = np.zeros((len(signals), count))
    for row, seconds in enumerate(pre_delays):
        delay = min(round(seconds * sample_rate), count)
        delayed[row, delay:] = wet[row, : count - delay]
    return delayed


def impulse_response(plate: Plate, sample_rate: int, count: int, pre_delay: float = 0.0) -> NDArray[np.float64]:
    """Return the first `count` samples of the response to an impulse, (count,) float64."""
    impulse = np.zeros((1, count))
    impulse[0, :1] = 1
    response: NDArray[np.float64] = reverberate(impulse, plate, sample_rate, [pre_delay])[0]
    return response


@lru_cache(maxsize=32)  # the delays of one rate and length; rooms share them
def delay(samples: int, size: int) -> Spectrum:
    """Return z**-samples, (size // 2 + 1,), where |z|**size = `WRAP`."""
    found: Spectrum = np.exp(-2j * np.pi * (np.arange(size // 2 + 1) * samples % size) / size) * WRAP ** (-samples / size)
    found.setflags(write=False)
    return found


def transfer(plate: Plate, sample_rate: int, size: int) -> Spectrum:
    """Return the transfer function without pre-delay, (size // 2 + 1,), where |z|**size = `WRAP`."""

    def at_rate(samples: int) -> Spectrum:
        return delay(scaled_delay(samples, sample_rate), size)

    def all_pass(samples: int, coefficient: float) -> Spectrum:
        back = at_rate(samples)
        return (coefficient + back) / (1 + coefficient * back)

    one = delay(1, size)
    low_pass = plate.low_pass(sample_rate)
    source = (1 - low_pass) / (1 - low_pass * one)
    for samples in INPUT_ALL_PASSES:
        source = source * all_pass(samples, plate.diffusion)
    gain = 1 - plate.decay
    damped = gain * (1 - plate.damping) / (1 - plate.damping * one)
    lines: list[dict[str, Spectrum]] = []
    loops: list[Spectrum] = []
    for half in (LEFT, RIGHT):  # what enters each delay line of a half, of what enters the half
        first = all_pass(half.first_all_pass, -plate.diffusion)
        middle = first * at_rate(half.first_delay) * damped
        last = middle * all_pass(half.second_all_pass, plate.diffusion)
        inside = middle / (1 + plate.diffusion * at_rate(half.second_all_pass))
        lines.append({"first_delay": first, "second_all_pass": inside, "second_delay": last})
        loops.append(last * at_rate(half.second_delay) * gain)
    closed = source / (1 - loops[0] * loops[1])
    entering = (closed * (1 + loops[1]), closed * (1 + loops[0]))
    taps = [sign * entering[half] * lines[half][line] * at_rate(tap) for channel in TAPS for half, line, tap, sign in channel]
    total: Spectrum = np.sum(taps, axis=0) * (OUTPUT_GAIN / len(TAPS))
    return total
