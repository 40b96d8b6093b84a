"""Which estimate belongs to which source: the assignment of least total cost, for a whole batch.

Problem: a separation model puts its outputs in any order, and a target that is silent in an item belongs to no output in particular.
Choice: up to three sources every order is tried (six at most, vectorised over the batch); above, the Hungarian method, whose cost grows
with the cube instead of the factorial. Rows of silent targets cost nothing, so the outputs they would take are left over by the others.
Rejected: a greedy choice (an upper bound only); moving every batch to the processor for the Hungarian method (a wait per update for
what three sources do not need). Source: Yu, Kolbæk, Tan and Jensen 2017 (arXiv 1607.00325).
"""

from __future__ import annotations

from functools import cache
from itertools import permutations

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

ENUMERATED = 3
"""Most sources whose orders are all tried."""


def best_orders(costs: Tensor) -> Tensor:
    """Return the estimate of each source under the assignment of least total cost.

    Args:
        costs: (batch, source, estimate), as many estimates as sources; costs that are not finite do not decide.

    Returns:
        (batch, source) int64. In a tie the order that comes first (the given one before all) wins up to three sources.

    >>> best_orders(torch.tensor([[[1.0, 0.0], [0.0, 5.0]]]))
    tensor([[1, 0]])
    """
    sources = costs.shape[1]
    known = torch.nan_to_num(costs.detach(), nan=0.0, posinf=0.0, neginf=0.0)
    if sources > ENUMERATED:
        pairs = [linear_sum_assignment(table)[1] for table in known.double().cpu().numpy()]
        return torch.stack([torch.from_numpy(one) for one in pairs]).to(costs.device, torch.int64)
    orders, rows = _every_order(sources, costs.device)
    return orders[known[:, rows, orders].sum(dim=2).argmin(dim=1)]


@cache
def _every_order(sources: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return all orders, and beside each entry its source, (orders, source)."""
    with torch.inference_mode(False):  # what is kept must serve training too
        orders = torch.tensor(list(permutations(range(sources))), device=device)
        return orders, torch.arange(sources, device=device).expand_as(orders)
