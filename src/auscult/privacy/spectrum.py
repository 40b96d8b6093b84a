"""How many directions a gradient really has, and which: both attacks on spans begin with that.

A gradient of a weight is a sum of as many outer products as there were frames, stored in float32, so its singular values fall steeply where
the frames end and rounding begins.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
SPARE = 20
"""Directions in a sketch beyond those that are wanted (Halko, Martinsson, Tropp 2011)."""


def rank(values: Array) -> int:
    """Return the number of frames by singular values (count,), largest first: where they fall most, below which lies rounding.

    >>> rank(np.array([3.0, 1.0, 0.2, 1e-8, 9e-9]))
    3
    """
    falls = values[1:] / np.maximum(values[:-1], values[0] * 1e-300)
    return int(np.argmin(np.where(values[1:] > values[0] * 1e-12, falls, falls + 1e-3))) + 1


def leading(matrix: Array, count: int) -> tuple[Array, Array]:
    """Return leading singular values and right vectors, a few more than `count`, by a random sketch; exact up to rounding at low rank.

    Args:
        matrix: (rows, columns).
        count: directions wanted.
    """
    wide = min(count + SPARE, *matrix.shape)
    sketch = np.random.default_rng(0).normal(size=(wide, len(matrix))) @ matrix
    basis = np.linalg.qr(matrix.T @ (matrix @ np.linalg.qr(sketch.T)[0]))[0]
    _, values, directions = np.linalg.svd(matrix @ basis, full_matrices=False)
    return values, directions @ basis.T
