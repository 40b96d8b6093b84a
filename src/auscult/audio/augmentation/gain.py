"""Loudness: the same utterance from another distance or another microphone setting.

Problem: a front-end that does not normalise, or one that does and is served clipped levels, must not depend on loudness.
Choice: a factor drawn uniformly in dB. Samples may leave [-1, 1]: they are floating point, and clipping is another effect.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from auscult.errors import UserError
from auscult.registry import register


@register("augmentation", "gain")
class Gain:
    """Multiply an utterance by a gain drawn uniformly in dB.

    Args:
        low: smallest gain in dB.
        high: largest gain in dB.
    """

    def __init__(self, low: float = -6.0, high: float = 6.0) -> None:
        if low > high:
            raise UserError(f"gain: low {low:g} dB is above high {high:g} dB; exchange them")
        self.low, self.high = low, high

    def __call__(self, samples: NDArray[np.float32], sample_rate: int, random: np.random.Generator) -> NDArray[np.float32]:
        """Return (time,) float32 from samples (time,) float32."""
        return samples * np.float32(10 ** (random.uniform(self.low, self.high) / 20))
