"""What a softmax over cosines costs while embeddings and weights point anywhere: the first loss of a run, from theory.

Problem: a wrong label, scale or reduction shows in the first loss, if one knows what it should be. The closed form ln C + s^2 / (2 D),
plus what the margin takes, is the start of a series that needs s^2 / D to be small beside ln C: with C = 140 and s = 30 it is 0.2 %
high at D = 512, but 9 % at D = 64, where it raises an alarm about a healthy network. Choice: the expectation itself, by quadrature. A
cosine of random directions in D dimensions has density (1 - c^2)^((D - 3) / 2), the logits x_j are independent, and

    E ln sum_j exp(x_j) = integral over t > 0 of (exp(-t) - prod_j E exp(-t exp(x_j))) / t      (from ln a = int (e^-t - e^-at) / t)

leaves one-dimensional sums. It holds for few classes, few dimensions, any margin, and the nearest of several sub-centres. Rejected:
simulation, which takes longer and needs chance.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Logits = Callable[[NDArray[np.float64]], NDArray[np.float64]]

_ANGLES, _TIMES = 1000, 800


def expected_cross_entropy(classes: int, dimensions: int, scale: float, margin: Logits | None = None, sub_centres: int = 1) -> float:
    """Return the expected softmax cross-entropy, in nats, for embeddings and class weights of random direction.

    Args:
        classes: C; for a metric loss the speakers of the batch.
        dimensions: D.
        scale: s of the logits.
        margin: from cosines of the true class to what takes their place; None leaves them.
        sub_centres: weights per class, the nearest of which counts.

    >>> round(expected_cross_entropy(140, 512, 30.0, lambda cosine: cosine - 0.2), 2)
    11.8
    """
    cosine, share = _cosines(dimensions, sub_centres)
    wrong = scale * cosine
    true = wrong if margin is None else scale * margin(cosine)
    top, bottom = max(wrong.max(), true.max()), min(wrong.min(), true.min())
    times = np.linspace(-(top + math.log(classes) + 15.0), 5.0 - min(bottom, 0.0), _TIMES)  # logarithms of t
    others = (classes - 1) * np.log(_transform(times, wrong, share))
    difference = np.exp(-np.exp(times)) - np.exp(others) * _transform(times, true, share)
    return float(np.trapezoid(difference, times) - (true * share).sum())


def _cosines(dimensions: int, sub_centres: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return cosines (points,) in rising order and their probabilities (points,)."""
    reach = min(math.pi / 2, 9.0 / math.sqrt(dimensions))
    edges = np.linspace(math.pi / 2 + reach, math.pi / 2 - reach, _ANGLES + 1)
    angles = (edges[1:] + edges[:-1]) / 2
    density = np.sin(angles) ** max(dimensions - 2, 0)
    below = np.concatenate([[0.0], np.cumsum(density)]) / density.sum()
    return np.cos(angles), np.diff(below**sub_centres)  # the largest of several is below c if all are


def _transform(times: NDArray[np.float64], logits: NDArray[np.float64], share: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return E exp(-t exp(x)) for every t: (times,)."""
    exponent = np.minimum(times[:, None] + logits[None], 7.0)  # exp(-exp(7)) is 0 already
    return np.asarray((np.exp(-np.exp(exponent)) * share).sum(1)) + 1e-300
