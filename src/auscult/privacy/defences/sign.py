"""Signs instead of values: one bit and a magnitude.

Problem: a sign has length 1 whatever the gradient's, so a message of bare signs is no update that a server could apply with its usual
rate. Choice: each tensor's signs times its mean magnitude, which of all multiples of the signs is nearest to the tensor (Karimireddy et
al. 2019); one float for each tensor is sent beside the bits, and tells its share of the gradient. With `magnitude` given every value of
the message is as large, and that is not told (signSGD, Bernstein et al. 2018). A zero stays a zero, so that what a batch never touched
stays untouched.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from auscult.privacy.declared import Change, Signed
from auscult.privacy.defence import Defence
from auscult.privacy.message_vector import check_finite, positive
from auscult.registry import register


@register("defence", "sign")
class Sign(Defence):
    """Replace every value by its sign times one magnitude.

    Args:
        magnitude: of all sent values; None is the mean magnitude of each tensor.
    """

    def __init__(self, magnitude: Annotated[float, Field(gt=0)] | None = None) -> None:
        self.magnitude = None if magnitude is None else positive(magnitude, "sign.magnitude")

    def transform(self, tensors: Mapping[str, Tensor], random: np.random.Generator) -> dict[str, Tensor]:
        """Return the signs; nothing is drawn."""
        check_finite(tensors, "sign")
        return {
            name: torch.sign(value) * (value.abs().double().mean().to(value) if self.magnitude is None else self.magnitude)
            for name, value in tensors.items()
        }

    def describe(self) -> str:
        """Return the name and the magnitude."""
        return "sign (mean magnitude of each tensor)" if self.magnitude is None else f"sign (magnitude {self.magnitude:g})"

    def declare(self) -> tuple[Change, ...]:
        """Return that signs are exact."""
        return (Signed(),)
