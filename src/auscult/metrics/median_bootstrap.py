"""Confidence intervals of a median by resampling speakers, then their utterances.

Problem: reconstructions succeed or fail as a whole, so that scores lie at two ends, and their mean is a score that no utterance has. The
median says what happened to most, but `bootstrap_ratio` knows sums only. Choice: the same two levels of resampling, of which a median
needs nothing but how often each utterance was drawn: counts are multinomial, values are sorted once, and a cumulative sum finds the
middle of every replicate. With few utterances the interval takes few values and is coarse; it is never narrower than the data.
Rejected: a loop over replicates with `numpy.median` (slow for a table of hundreds), the binomial interval of a median (treats utterances of
one speaker as independent).
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from auscult.errors import UserError
from auscult.metrics.bootstrap import Interval

_BLOCK = 1 << 20


def bootstrap_median(
    values: ArrayLike, speakers: Sequence[Hashable] | None = None, replicates: int = 10_000, seed: int = 0, level: float = 0.95
) -> Interval:
    """Return the percentile interval of a median.

    Args:
        values: (utterances,).
        speakers: (utterances,) who spoke; None treats every utterance as its own speaker.
        replicates: number of resamples.
        seed: of a NumPy `Generator`; the same seed gives the same interval.
        level: coverage, between 0 and 1.

    Raises:
        UserError: no values, some that are not finite, or a parameter is out of range.

    >>> bootstrap_median([3.0, 3.0, 3.0])
    Interval(low=3.0, high=3.0)
    """
    numbers = np.asarray(values, dtype=np.float64)
    if numbers.ndim != 1 or not len(numbers) or not np.isfinite(numbers).all():
        raise UserError(f"bootstrap: expected a list of finite values, got shape {numbers.shape}")
    if replicates < 1 or not 0.0 < level < 1.0:
        raise UserError(f"bootstrap: expected at least 1 replicate and a level between 0 and 1, got {replicates} and {level}")
    names: list[Hashable] = list(speakers) if speakers is not None else list(range(len(numbers)))
    if len(names) != len(numbers):
        raise UserError(f"bootstrap: {len(names)} speakers for {len(numbers)} utterances")
    random = np.random.default_rng(seed)
    block = max(1, _BLOCK // len(numbers))
    order = np.argsort(numbers, kind="stable")
    medians = [
        weighted_medians(numbers[order], _draws(names, min(block, replicates - first), random)[:, order])
        for first in range(0, replicates, block)
    ]
    tail = (1.0 - level) / 2.0
    low, high = np.quantile(np.concatenate(medians), [tail, 1.0 - tail])
    return Interval(float(low), float(high))


def weighted_medians(ascending: NDArray[np.float64], counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the median of values that occur several times each.

    Args:
        ascending: (values,).
        counts: (replicates, values), how often each occurs.

    >>> weighted_medians(np.array([1.0, 2.0, 4.0]), np.array([[1, 1, 1], [2, 0, 2]])).tolist()
    [2.0, 2.5]
    """
    below = 2 * np.cumsum(counts, axis=1)
    total = below[:, -1:] // 2
    lower = (below >= total).argmax(axis=1)
    upper = (below > total).argmax(axis=1)
    middle: NDArray[np.float64] = (ascending[lower] + ascending[upper]) / 2.0
    return middle


def _draws(speakers: list[Hashable], replicates: int, random: np.random.Generator) -> NDArray[np.int64]:
    """Return (replicates, utterances): how often each is drawn, speakers first and then afresh for every drawn speaker."""
    places: dict[Hashable, list[int]] = {}
    for place, speaker in enumerate(speakers):
        places.setdefault(speaker, []).append(place)
    drawn = random.multinomial(len(places), np.full(len(places), 1 / len(places)), size=replicates)  # (replicates, speakers)
    counts = np.zeros((replicates, len(speakers)), dtype=np.int64)
    for number, own in enumerate(places.values()):
        counts[:, own] = random.multinomial(drawn[:, number] * len(own), np.full(len(own), 1 / len(own)))
    return counts
