"""Gaussian noise on every value of a message, with the guarantee that it gives, or the words that it gives none.

Problem: published sweeps of a noise sigma from 1e-4 to 1 say nothing about privacy, because a message without a bound can be arbitrarily
much longer than its noise; and noise given as a multiple of a norm that somebody else is supposed to enforce is worth what that
somebody remembers. Choice: without `norm`, sigma is absolute and `describe` says that there is no epsilon; with `norm` the message is
clipped here to it and sigma is a multiple of it. Two messages then differ by at most twice the norm, so one message is
2 / sigma-GDP (Dong, Roth and Su 2022) for a server that sees it alone. A secure sum over clients protects more; that is not counted here.
The generator is a simulation's: noise for real clients has to come from a cryptographic source.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from auscult.privacy.declared import Change, Noised, Shortened
from auscult.privacy.defence import Defence
from auscult.privacy.message_vector import check_finite, positive, scaled_to
from auscult.registry import register


@register("defence", "gaussian_noise")
class GaussianNoise(Defence):
    """Add independent normal noise to every value.

    Args:
        sigma: standard deviation of the noise on each value; with `norm`, as a multiple of it.
        norm: to which the message is clipped first, over all tensors; None does not clip, and proves nothing.
    """

    def __init__(self, sigma: Annotated[float, Field(gt=0)] = 0.01, norm: Annotated[float, Field(gt=0)] | None = None) -> None:
        self.sigma = positive(sigma, "gaussian_noise.sigma")
        self.norm = None if norm is None else positive(norm, "gaussian_noise.norm")

    def transform(self, tensors: Mapping[str, Tensor], random: np.random.Generator) -> dict[str, Tensor]:
        """Return the noisy message; values are drawn in the order of the mapping."""
        check_finite(tensors, "gaussian_noise")
        clipped = dict(tensors) if self.norm is None else scaled_to(tensors, self.norm)
        deviation = self.sigma * (self.norm or 1.0)
        return {
            name: value + torch.from_numpy(deviation * random.standard_normal(tuple(value.shape))).to(value)
            for name, value in clipped.items()
        }

    def describe(self) -> str:
        """Return the name, the strength, and what it proves."""
        if self.norm is None:
            return f"gaussian_noise (sigma {self.sigma:g}, no epsilon)"
        return f"gaussian_noise (norm {self.norm:g}, sigma {self.sigma:g} of it, mu {2 / self.sigma:g} a message)"

    def declare(self) -> tuple[Change, ...]:
        """Return the deviation of the noise, and with `norm` that lengths are hidden before."""
        if self.norm is None:
            return (Noised(self.sigma),)
        return Shortened(), Noised(self.sigma * self.norm)
