"""Random pruning: a random part of the values is sent.

Problem: the largest values are where the information is, so `top_k` keeps what an attack wants most; pruning at random is its control at
equal size. Choice: an exact count, drawn for every message; kept values are not enlarged by 1 / share: that would keep the mean
and multiply the variance, and an aggregation can do it. The places are visible (zeros), so an attack can match the kept ones alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from auscult.privacy.declared import Change, Pruned
from auscult.privacy.defence import Defence
from auscult.privacy.message_vector import check_finite, flatten, kept_values, share, unflatten
from auscult.registry import register


@register("defence", "random_pruning")
class RandomPruning(Defence):
    """Keep values at random places and send 0 for the rest.

    Args:
        kept: share of all values, rounded, at least one value.
    """

    def __init__(self, kept: Annotated[float, Field(gt=0, le=1)] = 0.1) -> None:
        self.kept = share(kept, "random_pruning.kept")

    def transform(self, tensors: Mapping[str, Tensor], random: np.random.Generator) -> dict[str, Tensor]:
        """Return the pruned message, kept values unchanged."""
        check_finite(tensors, "random_pruning")
        values = flatten(tensors)
        drawn = random.choice(len(values), kept_values(len(values), self.kept), replace=False, shuffle=False)
        places = torch.from_numpy(drawn).to(values.device)
        return unflatten(torch.zeros_like(values).index_copy(0, places, values[places]), tensors)

    def describe(self) -> str:
        """Return the name and the share."""
        return f"random_pruning ({100 * self.kept:g} % kept)"

    def declare(self) -> tuple[Change, ...]:
        """Return that zeros were not sent."""
        return (Pruned(largest=False),)
