"""Clipping: no message is longer than a norm.

Problem: the length of a gradient tells how surprised the network was, and noise protects only what is bounded. Choice: the norm over all
tensors together, because the guarantee of noise that follows is about the message, not about a layer; rejected: a norm for each layer,
under which a message of 20 layers is 4.5 times as long as the setting says. By itself clipping hides a length and no direction: an
attack that matches by cosine does not notice it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

import numpy as np
from pydantic import Field
from torch import Tensor

from auscult.privacy.declared import Change, Shortened
from auscult.privacy.defence import Defence
from auscult.privacy.message_vector import check_finite, positive, scaled_to
from auscult.registry import register


@register("defence", "clipping")
class Clipping(Defence):
    """Shorten a message to a norm over all its tensors.

    Args:
        norm: greatest Euclidean norm; shorter messages stay as they are.
    """

    def __init__(self, norm: Annotated[float, Field(gt=0)] = 1.0) -> None:
        self.norm = positive(norm, "clipping.norm")

    def transform(self, tensors: Mapping[str, Tensor], random: np.random.Generator) -> dict[str, Tensor]:
        """Return the shortened message; nothing is drawn."""
        check_finite(tensors, "clipping")
        return scaled_to(tensors, self.norm)

    def describe(self) -> str:
        """Return the name and the norm."""
        return f"clipping (norm {self.norm:g})"

    def declare(self) -> tuple[Change, ...]:
        """Return that lengths are hidden."""
        return (Shortened(),)
