"""Which estimate belongs to which source: the assignment of least total cost, for a whole batch.

Problem: a separation model puts its outputs in any order, and a target that is silent in an item belongs to no output in particular.
Choice: up to three sources every order is tried (six at most, vectorised over the batch); above, the Hungarian method, whose cost grows
with the cube instead of the factorial. Rows of silent targets cost nothing, so the outputs they would take are left over by the others.
Rejected: a greedy choice (an upper bound only). Source: Yu, Kolbæk, Tan and Jensen 2017 (arXiv 1607.00325).
"""

from __future__ import annotations

from functools import cache
from itertools import permutations

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

ENUMERATED = 3
"""Most sources whose orders are all tried."""


def best_orders(costs: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the estimate of each source under the assignment of least total cost.

    Args:
        costs: (batch, source, estimate), as many estimates as sources; costs that are not finite do not decide.

    Returns:
        (batch, source). In a tie the order that comes first (the given one before all) wins up to three sources.

    >>> best_orders(np.array([[[1.0, 0.0], [0.0, 5.0]]]))
    array([[1, 0]])
    """
    sources = costs.shape[1]
    known = np.where(np.isfinite(costs), costs, 0.0)
    if sources > ENUMERATED:
        return np.stack([linear_sum_assignment(table)[1] for table in known]).astype(np.int64)
    orders = _every_order(sources)
    totals = known[:, np.arange(sources), orders].sum(axis=2)  # (batch, orders)
    best: NDArray[np.int64] = orders[totals.argmin(axis=1)]
    return best


@cache
def _every_order(sources: int) -> NDArray[np.int64]:
    return np.array(list(permutations(range(sources))), dtype=np.int64)
