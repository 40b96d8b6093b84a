"""How far two gradients are apart, as an attacker measures it.

Problem: published attacks minimise a cosine distance, a squared distance or their sum, over all tensors at once or tensor by tensor, and
call each of them "the objective"; values of different papers cannot be compared, and a squared distance changes with the loss's reduction.
Choice: three distances without a unit. 0 is equality and 1 is what a gradient of zeros scores in "l2" and an orthogonal one in "cosine".
Inner products of flattened tensors are all that is computed: the difference of two gradients of 40 million values is never stored.
Sums over tensors are taken in float64; the inner products have the precision of the tensors, so that in float32 nothing below about 1e-7
means anything (and a value may be as little as that below 0).

A fourth objective, "declared", is no distance of two gradients: it measures a guess against what the message's defences leave open
(`auscult.privacy.evidence`), which needs the message itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from auscult.errors import UserError

Objective = Literal["cosine", "l2", "both", "declared"]
TINY = 1e-60
"""Squared norms below this count as zero, in float64."""


@dataclass(frozen=True)
class GradientDistance:
    """Distance of a gradient from a target of the same names and shapes.

    Args:
        kind: "cosine": 1 minus the cosine, blind to scale; "l2": squared difference over the target's squared norm; "both": their sum;
            "declared": how far a guess lies outside of what the message's defences leave open, for a `Matching` to compute.
        per_layer: the mean of the distances of single tensors, so that small ones count as much as large ones; those whose target is zero
            (a bias below batch normalisation) have no distance and are left out.

    >>> target, half = {"w": torch.tensor([3.0, 4.0])}, {"w": torch.tensor([1.5, 2.0])}
    >>> [round(float(GradientDistance(kind)(half, target)), 6) for kind in ("cosine", "l2", "both")]
    [0.0, 0.25, 0.25]
    """

    kind: Objective = "cosine"
    per_layer: bool = False

    def __post_init__(self) -> None:
        if self.kind not in get_args(Objective):
            raise UserError(f'objective: expected one of {", ".join(get_args(Objective))}, got "{self.kind}"')
        if self.kind == "declared" and self.per_layer:
            raise UserError('objective: "declared" measures all tensors together, because noise is on all of them; leave per_layer out')

    def __call__(self, found: Mapping[str, Tensor], target: Mapping[str, Tensor]) -> Tensor:
        """Return the distance, (), float64, differentiable in `found`.

        Raises:
            UserError: the target is zero, which nothing can be matched with.
        """
        assert self.kind != "declared", "a Matching measures this by its evidence"
        products = torch.stack([_products(found[name], value) for name, value in target.items()])  # (tensors, 3)
        present = products[:, 2].detach() > TINY
        if not bool(present.any()):
            raise UserError("the message's gradient is zero in every layer that is to be matched; nothing can be matched with it")
        if self.per_layer:
            return self._distance(products[present]).mean()
        return self._distance(products.sum(0, keepdim=True))[0]

    def _distance(self, products: Tensor) -> Tensor:
        """(tensors, 3): found with found, found with target, target with target -> (tensors,)."""
        own, cross, wanted = products.unbind(1)
        cosine = 1 - cross / (own.clamp_min(TINY).sqrt() * wanted.sqrt())
        squared = (own - 2 * cross + wanted) / wanted
        return {"cosine": cosine, "l2": squared, "both": cosine + squared}[self.kind]


def _products(found: Tensor, target: Tensor) -> Tensor:
    own, wanted = found.reshape(-1), target.reshape(-1)
    return torch.stack([torch.dot(own, own), torch.dot(own, wanted), torch.dot(wanted, wanted)]).double()
