"""Reduce the rate when validation stops improving."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from auscult.registry import register
from auscult.training.schedule import Schedule


@register("schedule", "plateau")
class Plateau(Schedule):
    """Multiply by `gamma` when more than `patience` evaluations in a row bring no improvement of more than `threshold`.

    Args:
        gamma: multiplier at each reduction.
        patience: evaluations without improvement that are waited for; the next one reduces the rate.
        threshold: smallest improvement that counts, in units of the primary metric.
        floor: the factor never goes below it.
        warm_up: linear warm-up, in updates.
        start: evaluations before this update are not looked at (a curriculum that grows harder would look like no improvement).
    """

    def __init__(
        self,
        gamma: Annotated[float, Field(gt=0, lt=1)] = 0.5,
        patience: Annotated[int, Field(ge=0)] = 2,
        threshold: Annotated[float, Field(ge=0)] = 0.0,
        floor: Annotated[float, Field(ge=0, le=1)] = 0.0,
        warm_up: Annotated[int, Field(ge=0)] = 0,
        start: Annotated[int, Field(ge=0)] = 0,
    ) -> None:
        self.gamma, self.patience, self.threshold, self.floor, self.warm_up = gamma, patience, threshold, floor, warm_up
        self.start, self.update = start, 0
        self.best = float("inf")
        self.waited = 0
        self.reduction = 1.0

    def factor(self, update: int, total: int) -> float:
        """Return the factor for an update, and remember how far the run is."""
        self.update = update + 1
        return min(1.0, (update + 1) / (self.warm_up + 1)) * self.reduction

    def observe(self, score: float) -> None:
        """Count an evaluation."""
        if self.update < self.start:
            return
        if score < self.best - self.threshold:
            self.best, self.waited = score, 0
            return
        self.waited += 1
        if self.waited > self.patience:
            self.reduction, self.waited = max(self.floor, self.reduction * self.gamma), 0

    def state_dict(self) -> dict[str, float]:
        """Return best score, wait counter, current reduction and update (losing them at resume silently changes the run)."""
        return {"best": self.best, "waited": self.waited, "reduction": self.reduction, "update": self.update}
