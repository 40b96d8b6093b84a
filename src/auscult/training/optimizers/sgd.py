"""Stochastic gradient descent with momentum."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated

import torch
from pydantic import Field

from auscult.registry import register


@register("optimizer", "sgd")
class Sgd:
    """SGD with optional (Nesterov) momentum and L2 weight decay."""

    def __init__(
        self,
        lr: Annotated[float, Field(gt=0)] = 1e-2,
        momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9,
        nesterov: bool = False,
        weight_decay: Annotated[float, Field(ge=0)] = 0.0,
    ) -> None:
        self.lr, self.momentum, self.nesterov, self.weight_decay = lr, momentum, nesterov, weight_decay

    def build(self, parameters: Iterable[torch.nn.Parameter]) -> torch.optim.Optimizer:
        """Return the optimiser over some parameters."""
        return torch.optim.SGD(parameters, self.lr, self.momentum, weight_decay=self.weight_decay, nesterov=self.nesterov, fused=True)
