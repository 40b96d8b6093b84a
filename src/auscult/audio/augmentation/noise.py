"""Background noise at an exact signal-to-noise ratio.

Problem: "10 dB" means little if the power of a whole noise file is used for the two seconds that were mixed in. Choice: both
powers are those of the samples that are added, so the ratio of this very mixture is the one drawn. The speech keeps its level.
"""

from __future__ import annotations

from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from auscult.audio.augmentation.folder import AudioFolder
from auscult.errors import UserError
from auscult.registry import register


@register("augmentation", "noise")
class Noise:
    """Add a random stretch of a random recording from a folder.

    Args:
        folder: of WAV, FLAC or OGG files, searched through; shorter ones are repeated, other rates resampled.
        snr_low: smallest signal-to-noise ratio in dB.
        snr_high: largest signal-to-noise ratio in dB.
        probability: share of the utterances that get noise.
    """

    def __init__(
        self, folder: str, snr_low: float = 5.0, snr_high: float = 20.0, probability: Annotated[float, Field(ge=0, le=1)] = 1.0
    ) -> None:
        if snr_low > snr_high:
            raise UserError(f"noise: snr_low {snr_low:g} dB is above snr_high {snr_high:g} dB; exchange them")
        self.recordings = AudioFolder("noise.folder", folder)
        self.snr_low, self.snr_high, self.probability = snr_low, snr_high, probability

    def __call__(self, samples: NDArray[np.float32], sample_rate: int, random: np.random.Generator) -> NDArray[np.float32]:
        """Return (time,) float32 from samples (time,) float32; unchanged where speech or noise has no power at all.

        Raises:
            AudioError: the recording drawn cannot be read.
        """
        if random.random() >= self.probability or not len(samples):
            return samples
        ratio = random.uniform(self.snr_low, self.snr_high)
        return mix(samples, self.recordings.draw_stretch(len(samples), sample_rate, random), ratio)


def mix(speech: NDArray[np.float32], noise: NDArray[np.float32], ratio: float) -> NDArray[np.float32]:
    """Return speech plus noise, the noise scaled so that their powers differ by `ratio` dB; both (time,) float32.

    >>> mix(np.ones(4, np.float32), np.full(4, 9, np.float32), 20.0)
    array([1.1, 1.1, 1.1, 1.1], dtype=float32)
    """
    speech_power = float(np.mean(np.square(speech, dtype=np.float64)))
    noise_power = float(np.mean(np.square(noise, dtype=np.float64)))
    if speech_power == 0 or noise_power == 0:
        return speech
    return speech + noise * np.float32((speech_power / noise_power) ** 0.5 * 10 ** (-ratio / 20))
