"""Dropout masks as unknowns: what a client's network dropped, guessed along with the features.

Problem: masks are never sent, and a gradient computed without them cannot be matched, which is why dropout counts as a defence. Choice:
every use of a dropout module in the computation of a message (each layer, local step and client has its own) gets a mask of free numbers
in (0, 1), by the logistic function; the network is a copy whose dropout modules multiply by them, divided by 1 - p as dropout does.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from auscult.errors import UserError
from auscult.privacy.matching import Matching


class LearnedMasks(nn.Module):
    """Stands in for all dropout modules of a network; the n-th use multiplies by the n-th mask.

    Args:
        probability: with which values are dropped.

    Attributes:
        shapes: of the masks, in the order of use.
        masks: to multiply by, set before each message; None records shapes and drops nothing.
    """

    def __init__(self, probability: float) -> None:
        super().__init__()
        self.probability = probability
        self.shapes: list[torch.Size] = []
        self.masks: list[Tensor] | None = None
        self._used = 0

    def forward(self, values: Tensor) -> Tensor:
        """Return values of the same shape, masked."""
        if self.masks is None:
            self.shapes.append(values.shape)
            return values
        mask = self.masks[self._used]
        self._used += 1
        return values * mask / (1 - self.probability)

    def split(self, flat: Tensor) -> list[Tensor]:
        """(count,) -> one tensor of each mask's shape."""
        parts = torch.split(flat, [shape.numel() for shape in self.shapes])
        return [part.view(shape) for part, shape in zip(parts, self.shapes, strict=True)]

    def use(self, masks: list[Tensor]) -> None:
        """Set the masks of the next message."""
        self.masks, self._used = masks, 0

    @property
    def count(self) -> int:
        """How many values all masks have."""
        return sum(shape.numel() for shape in self.shapes)

    @property
    def start(self) -> float:
        """Logit of the share of values that are kept: where nothing is known of a mask."""
        return math.log((1 - self.probability) / self.probability)


def install(matching: Matching, probability: float) -> LearnedMasks:
    """Replace the dropout modules of a matching's own copy of the network, and record the masks that a message needs.

    Raises:
        UserError: the network has no dropout module.
    """
    masks = LearnedMasks(probability)
    replaced = 0
    for parent in list(matching.victim.model.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.Dropout):
                setattr(parent, name, masks)
                replaced += 1
    if not replaced:
        raise UserError("dropout_inversion: the network has no dropout; use gradient_matching")
    matching.message(torch.zeros(matching.shape, dtype=matching.dtype))
    return masks
