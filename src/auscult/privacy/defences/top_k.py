"""Sparse messages: only the largest values are sent.

Problem: compression is offered as protection, since most of a gradient is missing. Choice: the exact count of largest magnitudes over all
tensors together, as gradient compression does it (Aji and Heafield 2017); rejected: a share of each tensor, which sends noise of
layers that hardly matter. The places of the values are sent with them, so an attack can match the kept values alone, and should.
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


@register("defence", "top_k")
class TopK(Defence):
    """Keep the largest magnitudes and send 0 for the rest.

    Args:
        kept: share of all values, rounded, at least one value.
    """

    def __init__(self, kept: Annotated[float, Field(gt=0, le=1)] = 0.1) -> None:
        self.kept = share(kept, "top_k.kept")

    def transform(self, tensors: Mapping[str, Tensor], random: np.random.Generator) -> dict[str, Tensor]:
        """Return the sparse message, kept values unchanged; nothing is drawn."""
        check_finite(tensors, "top_k")
        values = flatten(tensors)
        places = values.abs().topk(kept_values(len(values), self.kept), sorted=False).indices
        return unflatten(torch.zeros_like(values).index_copy(0, places, values[places]), tensors)

    def describe(self) -> str:
        """Return the name and the share."""
        return f"top_k ({100 * self.kept:g} % kept)"

    def declare(self) -> tuple[Change, ...]:
        """Return that zeros are values below the least that was sent."""
        return (Pruned(largest=True),)
