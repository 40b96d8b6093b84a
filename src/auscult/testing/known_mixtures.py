"""Estimates whose level relative to their error is known before anything is measured.

Problem: a wrong loss or metric of separation usually agrees with itself; only signals whose ratio follows from their construction show
it. Choice: noise that is made orthogonal to a speech-like source (louder and softer stretches, no mean) and scaled, in float64, so
that SI-SDR and SNR are both the level asked for, to ten digits.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def estimates_at(
    decibels: float, batch: int = 2, sources: int = 2, samples: int = 8000, seed: int = 0
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return sources and estimates at a level, (batch, source, samples) both.

    >>> there, said = estimates_at(20.0, batch=1, sources=1)
    >>> float(np.round(10 * np.log10((there**2).sum() / ((said - there) ** 2).sum()), 9))
    20.0
    """
    random = np.random.default_rng(seed)
    loudness = 0.1 * random.random((batch, sources, -(-samples // 400))).repeat(400, axis=2)[..., :samples]
    there = _without_mean(loudness * random.standard_normal((batch, sources, samples)))
    wrong = _without_mean(random.standard_normal((batch, sources, samples)))
    wrong -= (wrong * there).sum(-1, keepdims=True) / (there**2).sum(-1, keepdims=True) * there
    scale = np.sqrt((there**2).sum(-1, keepdims=True) / (wrong**2).sum(-1, keepdims=True))
    return there, there + wrong * scale * 10 ** (-decibels / 20)


def _without_mean(signals: NDArray[np.float64]) -> NDArray[np.float64]:
    centred: NDArray[np.float64] = signals - signals.mean(-1, keepdims=True)
    return centred
