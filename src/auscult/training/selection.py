"""Which checkpoints are kept and when a run stops early: two stated rules over the history of one metric.

Both are plain values with a state dict; a resumed run decides exactly as an uninterrupted one (losing the best score or the
patience counter at resume is a classic silent bug).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any


@dataclass
class BestScores:
    """The best few evaluations.

    Args:
        keep: how many.
        lower_is_better: direction of the metric.

    Attributes:
        entries: (update, score), best first.
    """

    keep: int
    lower_is_better: bool = True
    entries: list[tuple[int, float]] = field(default_factory=list)

    def offer(self, update: int, score: float) -> list[int] | None:
        """Enter an evaluation.

        Returns:
            None if it is not among the best; otherwise the updates that dropped out.

        >>> best = BestScores(keep=1)
        >>> best.offer(10, 0.5), best.offer(20, 0.6), best.offer(30, 0.4)
        ([], None, [10])
        """
        if not math.isfinite(score):
            return None
        ranked = sorted([*self.entries, (update, score)], key=lambda entry: (self._cost(entry[1]), entry[0]))
        kept, dropped = ranked[: self.keep], ranked[self.keep :]
        if (update, score) in dropped:
            return None
        self.entries = kept
        return [when for when, _ in dropped]

    def _cost(self, score: float) -> float:
        return score if self.lower_is_better else -score

    def state_dict(self) -> list[list[float]]:
        """Return the entries."""
        return [[update, score] for update, score in self.entries]

    def load_state_dict(self, state: list[list[float]]) -> None:
        """Continue from `state_dict`."""
        self.entries = [(int(update), float(score)) for update, score in state]


@dataclass
class EarlyStop:
    """Stop after `patience` evaluations in a row without an improvement of at least `minimum_improvement`.

    >>> rule = EarlyStop(patience=2, minimum_improvement=0.1)
    >>> [rule.observe(score) for score in (1.0, 0.95, 0.89, 0.85, 0.8)]
    [False, False, False, False, True]
    """

    patience: int
    minimum_improvement: float = 0.0
    lower_is_better: bool = True
    best: float | None = None
    waited: int = 0

    def observe(self, score: float) -> bool:
        """Count an evaluation; return whether the rule now holds."""
        cost = score if self.lower_is_better else -score
        improved = self.best is None or (cost <= self.best - self.minimum_improvement and cost < self.best)
        if improved and math.isfinite(cost):
            self.best, self.waited = cost, 0
        else:
            self.waited += 1
        return self.waited >= self.patience

    def state_dict(self) -> dict[str, Any]:
        """Return best score and counter."""
        return {"best": self.best, "waited": self.waited}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from `state_dict`."""
        self.best, self.waited = state["best"], int(state["waited"])
