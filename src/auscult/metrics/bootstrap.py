"""Confidence intervals of a ratio of sums by resampling speakers, then their utterances.

Problem: utterances of one speaker are alike, so resampling utterances alone gives intervals that are too narrow; and a loop over
replicates takes minutes. Choice: two levels (draw as many speakers as there are, with replacement; for every drawn speaker draw as many
utterances as they have, with replacement, afresh for each draw), computed from per-utterance counts only, in blocks of vectorised draws.
An interval of one run says nothing about other random seeds. Rejected: the normal approximation (skewed at low error rates);
one resample per speaker shared by all replicates (correlates replicates).
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from auscult.errors import UserError

_BLOCK = 1 << 20  # utterances drawn at once; bounds memory at about 30 MB


class Interval(NamedTuple):
    """Lower and upper bound."""

    low: float
    high: float


def bootstrap_ratio(
    numerators: ArrayLike,
    denominators: ArrayLike,
    speakers: Sequence[Hashable] | None = None,
    replicates: int = 10_000,
    seed: int = 0,
    level: float = 0.95,
) -> Interval:
    """Return the percentile interval of sum(numerators) / sum(denominators).

    Args:
        numerators: (utterances,) e.g. errors.
        denominators: (utterances,) e.g. reference words, not negative; replicates in which they add up to 0 are left out.
        speakers: (utterances,) who spoke; None treats every utterance as its own speaker.
            With one speaker only, utterances vary and speakers do not.
        replicates: number of resamples.
        seed: of a NumPy `Generator`; the same seed gives the same interval.
        level: coverage, between 0 and 1.

    Raises:
        UserError: lengths disagree, values are not finite, nothing to divide by, or a parameter is out of range.

    >>> bootstrap_ratio([1, 1, 1], [10, 10, 10])
    Interval(low=0.1, high=0.1)
    """
    values = _checked(numerators, denominators, replicates, level)  # (2, utterances)
    utterances = values.shape[1]
    if speakers is not None and len(speakers) != utterances:
        raise UserError(f"bootstrap: {len(speakers)} speakers for {utterances} utterances")
    numbers: dict[Hashable, int] = {}
    groups = np.asarray(
        [numbers.setdefault(speaker, len(numbers)) for speaker in (speakers if speakers is not None else range(utterances))]
    )
    values = values[:, np.argsort(groups, kind="stable")]
    sums = _replicated_sums(values, np.bincount(groups), replicates, np.random.default_rng(seed))
    sums = sums[:, sums[1] > 0]
    tail = (1.0 - level) / 2.0
    low, high = np.quantile(sums[0] / sums[1], [tail, 1.0 - tail])
    return Interval(float(low), float(high))


def _checked(numerators: ArrayLike, denominators: ArrayLike, replicates: int, level: float) -> NDArray[np.float64]:
    above, below = np.asarray(numerators, dtype=np.float64), np.asarray(denominators, dtype=np.float64)
    if above.ndim != 1 or above.shape != below.shape:
        raise UserError(f"bootstrap: expected two equally long lists, got shapes {above.shape} and {below.shape}")
    if not (np.isfinite(above).all() and np.isfinite(below).all() and (below >= 0).all() and below.sum() > 0):
        raise UserError("bootstrap: expected finite numerators and finite denominators of 0 or more that do not all vanish")
    if replicates < 1 or not 0.0 < level < 1.0:
        raise UserError(f"bootstrap: expected at least 1 replicate and a level between 0 and 1, got {replicates} and {level}")
    return np.stack([above, below])


def _replicated_sums(
    values: NDArray[np.float64], sizes: NDArray[np.int64], replicates: int, random: np.random.Generator
) -> NDArray[np.float64]:
    """Return (2, replicates) sums; `values` (2, utterances) is ordered by speaker, `sizes` holds the utterances of each."""
    block = max(1, _BLOCK // values.shape[1])
    sums = np.empty((2, replicates))
    for first in range(0, replicates, block):
        count = min(block, replicates - first)
        drawn = random.integers(0, len(sizes), size=count * len(sizes), dtype=np.uint32)  # speaker of each slot
        for row, slots in enumerate(_slot_sums(values, sizes, drawn, random)):
            sums[row, first : first + count] = slots.reshape(count, len(sizes)).sum(axis=1)
    return sums


def _slot_sums(
    values: NDArray[np.float64], sizes: NDArray[np.int64], drawn: NDArray[np.uint32], random: np.random.Generator
) -> list[NDArray[np.float64]]:
    """Resample the utterances of each drawn speaker and add them up: two arrays (slots,)."""
    if values.shape[1] == len(sizes):  # one utterance each: nothing to resample within a speaker
        return [row[drawn] for row in values]
    starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    drawn_sizes = sizes[drawn]
    slots = np.empty((2, drawn.size))
    for size in np.unique(sizes).tolist():  # speakers with equally many utterances share one draw
        chosen = np.flatnonzero(drawn_sizes == size)
        picked = starts[drawn[chosen]][:, None] + random.integers(0, size, size=(chosen.size, size), dtype=np.uint32)
        for row in range(2):
            slots[row, chosen] = values[row][picked].sum(axis=1)
    return list(slots)
