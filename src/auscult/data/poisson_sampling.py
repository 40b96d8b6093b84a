"""Batches drawn by lot: every utterance joins every batch by itself, with one probability.

Problem: the proof that sampling strengthens privacy is about such batches. Shuffled epochs, in which each utterance comes exactly once,
are what trainers do and what epsilon is then printed for, and the two are not the same: shuffling may leak several times more (Chua et al.
2024, arXiv:2403.17673). Choice: a plan like any other, a pure function of the number of the epoch, so that position, workers and resuming
need nothing new. Batches differ in size and some are empty. An epoch is as many batches as it takes for an utterance to come once on
average.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from auscult.errors import UserError

Lots = Callable[[int, int, int], NDArray[np.float64]]
"""Epoch, batch and number of utterances -> (utterances,) uniform in [0, 1), independent of those of any other batch."""


def sample_rate(count: int, expected: int) -> float:
    """Return the probability with which each of `count` utterances joins a batch of so many expected utterances.

    Raises:
        UserError: more are expected than there are.

    >>> sample_rate(320, 16)
    0.05
    """
    if not 0 < expected <= count:
        raise UserError(f"data.batch.poisson: {expected} expected utterances per batch of {count} in training; give 1 to {count}")
    return expected / count


def plan_poisson(count: int, expected: int, lots: Lots, *, epoch: int) -> list[NDArray[np.int64]]:
    """Return the batches of one epoch, some of them possibly empty.

    Args:
        count: number of utterances.
        expected: utterances in a batch on average.
        lots: where chance comes from.
        epoch: from 0.

    Returns:
        Arrays of rising int64 indices.

    >>> draws = lambda epoch, batch, count: np.random.default_rng([epoch, batch]).random(count)
    >>> [batch.tolist() for batch in plan_poisson(6, 2, draws, epoch=0)]
    [[1, 2, 3], [4, 5], [0, 3, 4, 5]]
    """
    rate = sample_rate(count, expected)
    return [np.flatnonzero(lots(epoch, batch, count) < rate).astype(np.int64) for batch in range(max(1, round(count / expected)))]
