"""Eight bits for each value, as federated compression sends them.

Problem: quantised messages are said to leak less. Choice: symmetric steps of each tensor's largest magnitude / 127, so that zero stays zero
and the largest value is met; sent are integers and one float, and what an attack receives are their products. Rounding to the nearest is
off by half a step at most; stochastic rounding by less than a whole one, and by none on average (Alistarh et al. 2017). Rejected: a
zero point, which gradients, being centred, do not need.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from auscult.privacy.declared import Change, Rounded
from auscult.privacy.defence import Defence
from auscult.privacy.message_vector import check_finite
from auscult.registry import register

LEVELS = 127
"""Steps on each side of zero."""


@register("defence", "int8")
class Int8(Defence):
    """Round every value to one of 255 levels of its tensor.

    Args:
        stochastic: round up with the probability of the remainder instead of to the nearest.
    """

    def __init__(self, stochastic: bool = False) -> None:
        self.stochastic = stochastic

    def transform(self, tensors: Mapping[str, Tensor], random: np.random.Generator) -> dict[str, Tensor]:
        """Return the rounded message; stochastic rounding draws in the order of the mapping."""
        check_finite(tensors, "int8")
        return {name: self._rounded(value, random) for name, value in tensors.items()}

    def _rounded(self, value: Tensor, random: np.random.Generator) -> Tensor:
        step = float(value.abs().max()) / LEVELS if value.numel() else 0.0
        if step == 0:
            return value.clone()
        steps = value.double() / step
        if self.stochastic:
            whole = torch.floor(steps + torch.from_numpy(random.random(tuple(value.shape))).to(steps))
        else:
            whole = torch.round(steps)
        return (whole.clamp(-LEVELS, LEVELS) * step).to(value.dtype)

    def describe(self) -> str:
        """Return the name and the rounding."""
        return "int8 (stochastic rounding)" if self.stochastic else "int8 (nearest)"

    def declare(self) -> tuple[Change, ...]:
        """Return the number of steps, and how far a value can be off."""
        return (Rounded(LEVELS, reach=1.0 if self.stochastic else 0.5),)
