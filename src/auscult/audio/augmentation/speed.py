"""Speed perturbation: the same words, faster and higher or slower and lower.

Problem: a few speakers are memorised rather than generalised from. Choice: resampling by a drawn factor, which moves pitch,
formants and rate together, as Ko et al. 2015 ("Audio augmentation for speech recognition") found best; soxr, medium quality,
because loader workers pay for it. Rejected: time stretching with a vocoder (ten times the cost, and smears onsets), linear
interpolation (aliases the sibilants).
"""

from __future__ import annotations

from typing import Annotated

import numpy as np
import soxr
from numpy.typing import NDArray
from pydantic import Field

from auscult.errors import UserError
from auscult.registry import register


@register("augmentation", "speed")
class Speed:
    """Play an utterance at a speed drawn from a list.

    Args:
        factors: each with the same chance; 1.1 is 10 % faster and higher, and the utterance 1.1 times shorter.
    """

    def __init__(
        self, factors: Annotated[tuple[Annotated[float, Field(ge=0.25, le=4)], ...], Field(min_length=1)] = (0.9, 1.0, 1.1)
    ) -> None:
        if not factors or any(not 0.25 <= factor <= 4 for factor in factors):
            raise UserError(f"speed: factors {list(factors)} must be at least one number from 0.25 to 4, such as [0.9, 1.0, 1.1]")
        self.factors = tuple(factors)

    def __call__(self, samples: NDArray[np.float32], sample_rate: int, random: np.random.Generator) -> NDArray[np.float32]:
        """Return (about time / factor,) float32 from samples (time,) float32."""
        factor = self.factors[int(random.integers(len(self.factors)))]
        if factor == 1 or not len(samples):
            return samples
        return np.asarray(soxr.resample(samples, sample_rate * factor, sample_rate, quality="MQ"), np.float32)
