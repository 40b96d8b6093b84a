"""Conformance of a sampler: run it on your own before you train with it.

The bugs it finds are the ones that leave no trace in a loss curve: a tail that is dropped, an item that comes twice, the same order
in every epoch, an order that depends on anything but the epoch.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

import numpy as np


def check_sampler(
    plan: Callable[[int], Sequence[np.ndarray]],
    durations: np.ndarray,
    *,
    seconds: float | None = None,
    items: int | None = None,
    epochs: int = 3,
    shuffled: bool = True,
) -> None:
    """Assert that a plan of batches is complete, deterministic, within its limits, and different from epoch to epoch.

    Args:
        plan: epoch -> batches of item indices.
        durations: (items,) seconds.
        seconds: limit of padded seconds; a batch of one item may exceed it.
        items: limit of items in a batch.
        epochs: number of epochs looked at, at least 2.
        shuffled: the order must change from epoch to epoch.

    Raises:
        AssertionError: with what does not hold, and for which epoch and batch.

    >>> check_sampler(lambda epoch: [np.array([epoch % 2, 1 - epoch % 2])], np.ones(2), items=2)
    """
    orders = []
    for epoch in range(epochs):
        batches = [np.asarray(batch) for batch in plan(epoch)]
        again = [np.asarray(batch) for batch in plan(epoch)]
        if len(batches) != len(again) or not all(map(np.array_equal, batches, again)):
            raise AssertionError(f"epoch {epoch}: planned twice, two different results; only seed and epoch may decide")
        _check_epoch(epoch, batches, durations, seconds, items)
        orders.append(np.concatenate(batches))
    for epoch, (one, other) in enumerate(itertools.pairwise(orders)):
        if shuffled and np.array_equal(one, other):
            raise AssertionError(f"epochs {epoch} and {epoch + 1} have the same order")


def _check_epoch(epoch: int, batches: Sequence[np.ndarray], durations: np.ndarray, seconds: float | None, items: int | None) -> None:
    counts = np.bincount(np.concatenate(batches), minlength=len(durations))
    if len(counts) > len(durations):
        raise AssertionError(f"epoch {epoch}: index {len(counts) - 1} for {len(durations)} items")
    if (counts != 1).any():
        raise AssertionError(f"epoch {epoch}: {int((counts == 0).sum())} items missing, {int((counts > 1).sum())} more than once")
    for position, batch in enumerate(batches):
        if not len(batch):
            raise AssertionError(f"epoch {epoch}: batch {position} is empty")
        if items is not None and len(batch) > items:
            raise AssertionError(f"epoch {epoch}: batch {position} has {len(batch)} items, limit {items}")
        padded = float(durations[batch].max()) * len(batch)
        if seconds is not None and len(batch) > 1 and padded > seconds * (1 + 1e-6):
            raise AssertionError(f"epoch {epoch}: batch {position} has {padded:.3f} padded seconds, limit {seconds}")
