"""Bursts of sound that is nobody's speech: taps, breaths, chairs, rumbling cables.

Problem: a model that has heard only steady background takes everything that begins and ends for speech; in meetings, paper, breath and
touched microphones do that all the time, and folders of recorded noises hardly hold them. Choice: events at random instants, each a
piece of Gaussian noise with its own band, rise and decay, from a click of five milliseconds to a breath or a rumble of a second; level
and number are drawn. They are not speech by construction, so labels stay as they are. Rejected: recorded event corpora (none is
small and free enough to come with a recipe).
"""

from __future__ import annotations

from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from auscult.errors import UserError
from auscult.registry import register

SHORTEST, LONGEST = 0.005, 1.0
"""Seconds of an event; the logarithm is drawn uniformly."""
LOWEST, HIGHEST = 40.0, 4000.0
"""Hertz between which the centre of an event's band is drawn, again by its logarithm."""


@register("augmentation", "bursts")
class Bursts:
    """Add short events of shaped noise.

    Args:
        rate: events per second, on average; every utterance draws its own number around it.
        low: smallest level of an event in dB, against the loudest tenth of a second of the utterance.
        high: largest level in dB.
        probability: share of the utterances that get events.
    """

    def __init__(
        self, rate: Annotated[float, Field(gt=0)] = 0.7, low: float = -35.0, high: float = -3.0,
        probability: Annotated[float, Field(ge=0, le=1)] = 0.7,
    ) -> None:  # fmt: skip
        if low > high:
            raise UserError(f"bursts: low {low:g} dB is above high {high:g} dB; exchange them")
        self.rate, self.low, self.high, self.probability = rate, low, high, probability

    def __call__(self, samples: NDArray[np.float32], sample_rate: int, random: np.random.Generator) -> NDArray[np.float32]:
        """Return (time,) float32 from samples (time,) float32; unchanged where these are silent."""
        if random.random() >= self.probability or not len(samples):
            return samples
        loudest = loudest_level(samples, sample_rate)
        if loudest <= 0:
            return samples
        mixed = samples.copy()
        for _ in range(random.poisson(self.rate * random.exponential() * len(samples) / sample_rate)):
            event = burst(sample_rate, random) * np.float32(loudest * 10 ** (random.uniform(self.low, self.high) / 20))
            start = int(random.integers(len(samples)))
            mixed[start : start + len(event)] += event[: len(samples) - start]
        return mixed


def loudest_level(samples: NDArray[np.float32], sample_rate: int) -> float:
    """Return the effective value of the loudest tenth of a second."""
    block = max(1, min(sample_rate // 10, len(samples)))
    whole = samples[: len(samples) // block * block].reshape(-1, block)
    return float(np.sqrt(np.square(whole, dtype=np.float64).mean(axis=1).max()))


def burst(sample_rate: int, random: np.random.Generator) -> NDArray[np.float32]:
    """Return one event with an effective value of about 1: (time,) float32."""
    length = max(8, round(sample_rate * float(np.exp(random.uniform(np.log(SHORTEST), np.log(LONGEST))))))
    centre = float(np.exp(random.uniform(np.log(LOWEST), np.log(min(HIGHEST, 0.4 * sample_rate)))))
    width = float(random.uniform(0.5, 2.5))  # octaves on either side at which the band has fallen by 9 dB
    spectrum = np.fft.rfft(random.standard_normal(length))
    frequencies = np.maximum(np.fft.rfftfreq(length, 1 / sample_rate), 1.0)
    shaped = np.fft.irfft(spectrum * np.exp(-((np.log2(frequencies / centre) / width) ** 2)), length)
    time = np.linspace(0.0, 1.0, length)
    rise = float(random.uniform(0.02, 0.5))
    envelope = np.minimum(time / rise, 1.0) * np.exp(-float(random.uniform(0.0, 5.0)) * time) * np.minimum((1.0 - time) / 0.1, 1.0)
    event = shaped * envelope
    return np.asarray(event / max(float(np.sqrt(np.square(event).mean())), 1e-9), np.float32)
