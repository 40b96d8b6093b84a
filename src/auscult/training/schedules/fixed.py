"""Schedules that depend on the update only."""

from __future__ import annotations

import math
from typing import Annotated

from pydantic import Field

from auscult.registry import register
from auscult.training.schedule import Schedule


@register("schedule", "constant")
class Constant(Schedule):
    """The optimiser's own rate, after an optional linear warm-up over `warm_up` updates."""

    def __init__(self, warm_up: Annotated[int, Field(ge=0)] = 0) -> None:
        self.warm_up = warm_up

    def factor(self, update: int, total: int) -> float:
        """Return the factor for an update."""
        return min(1.0, (update + 1) / (self.warm_up + 1))


@register("schedule", "cosine")
class Cosine(Schedule):
    """Linear warm-up over `warm_up` updates, then half a cosine down to `floor` at the end of the budget."""

    def __init__(self, warm_up: Annotated[int, Field(ge=0)] = 0, floor: Annotated[float, Field(ge=0, le=1)] = 0.0) -> None:
        self.warm_up, self.floor = warm_up, floor

    def factor(self, update: int, total: int) -> float:
        """Return the factor for an update."""
        if update < self.warm_up:
            return (update + 1) / (self.warm_up + 1)
        progress = (update - self.warm_up) / max(total - self.warm_up, 1)
        return self.floor + (1 - self.floor) * 0.5 * (1 + math.cos(math.pi * min(progress, 1.0)))


@register("schedule", "step")
class Step(Schedule):
    """Multiply by `gamma` every `every` updates (DS2 in SeanNaren's form anneals by 0.99 an epoch)."""

    def __init__(self, every: Annotated[int, Field(gt=0)], gamma: Annotated[float, Field(gt=0, le=1)] = 0.5) -> None:
        self.every, self.gamma = every, gamma

    def factor(self, update: int, total: int) -> float:
        """Return the factor for an update."""
        return float(self.gamma ** (update // self.every))
