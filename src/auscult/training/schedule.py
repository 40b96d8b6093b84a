"""What a learning-rate schedule is: a factor on the optimiser's own rate, as a function of the update.

Counted in updates, never in epochs, so that the same schedule means the same thing on a subset and on the whole corpus.
A schedule that looks at results (plateau) keeps its counters in `state_dict`, so a resumed run continues where it was.
"""

from __future__ import annotations

from abc import ABC, abstractmethod


class Schedule(ABC):
    """A factor between 0 and 1 for every update."""

    @abstractmethod
    def factor(self, update: int, total: int) -> float:
        """Return the factor for an update.

        Args:
            update: number of updates already taken, from 0.
            total: number of updates the budget allows.
        """

    def observe(self, score: float) -> None:  # noqa: B027  (most schedules do not look at results)
        """Take in an evaluation result; lower is better."""

    def state_dict(self) -> dict[str, float]:
        """Return what must survive a restart."""
        return {}

    def load_state_dict(self, state: dict[str, float]) -> None:
        """Continue from `state_dict`."""
        for key, value in state.items():
            setattr(self, key, value)
