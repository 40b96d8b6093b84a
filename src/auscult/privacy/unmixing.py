"""Utterances of one length, taken apart by what their network did not do.

Problem: linear algebra finds the space that utterances of one length span together, not which sequence is whose. Choice: the units of a
clipped layer are off about half of the time, and a unit that is off has no gradient, exactly. Mixed utterances have mixed gradients, which
are zero nowhere; so **the combinations with many exact zeros are the utterances**. A few entries drawn at random fix a combination by being
zero in it; it is right when a large share of all others is zero too. Whether enough utterances were found is known, not hoped.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
TRIES = 400
"""Draws of entries; with three utterances and units off half of the time, one draw in eight is right."""
SHARE = 0.15
"""Entries that must be zero in a combination for it to count; a chance combination has next to none."""
NEAR = 1e-3
"""What counts as zero: size of the combination relative to its parts."""


def sparse_combinations(parts: Array, random: np.random.Generator) -> Array | None:
    """Return combinations of signals that are zero in many places, or None where there are too few.

    Args:
        parts: (count, entries), linearly independent mixtures of `count` signals.
        random: draws entries.

    Returns:
        (count, count), rows of unit length: `result @ parts` are the signals up to factors and order.

    >>> random = np.random.default_rng(0)
    >>> signals = np.maximum(random.normal(size=(2, 500)), 0)
    >>> found = sparse_combinations(np.array([[1.0, 2.0], [-1.0, 1.0]]) @ signals, random)
    >>> np.sort(np.mean(np.abs(found @ (np.array([[1.0, 2.0], [-1.0, 1.0]]) @ signals)) < 1e-9, axis=1)) > 0.4
    array([ True,  True])
    """
    count, sizes = len(parts), np.linalg.norm(parts, axis=0)
    if not np.any(sizes > 0):
        return None
    heard = sizes > 1e-3 * np.median(sizes[sizes > 0])  # where no signal is on, everything is zero and nothing is learned
    directions = parts[:, heard] / sizes[heard]
    if directions.shape[1] < count:
        return None
    candidates: list[tuple[float, Array]] = []
    for _ in range(TRIES):
        drawn = directions[:, random.choice(directions.shape[1], count - 1, replace=False)]
        zero = np.abs(np.linalg.svd(drawn.T)[2][-1] @ directions) < NEAR
        if zero.mean() >= SHARE:
            refined = np.linalg.svd(directions[:, zero] @ directions[:, zero].T)[2][-1]
            candidates.append((float(np.mean(np.abs(refined @ directions) < NEAR)), refined))
    return _best(candidates, count)


def _best(candidates: list[tuple[float, Array]], count: int) -> Array | None:
    """Return the combinations with most zeros that do not repeat one another, or None where there are not enough."""
    chosen: list[Array] = []
    for _, combination in sorted(candidates, key=lambda one: -one[0]):
        if all(abs(float(combination @ other)) < 1 - NEAR for other in chosen):
            chosen.append(combination)
        if len(chosen) == count:
            return np.stack(chosen)
    return None
