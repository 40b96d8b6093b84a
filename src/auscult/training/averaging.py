"""Averages of weights: a running one during training, and one over the best checkpoints at the end."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from collections.abc import Iterator


class MovingAverage:
    """Exponential moving average of a model's parameters and buffers.

    Args:
        model: the model being trained.
        decay: weight of the past at every update; warmed up as min(decay, (1 + n) / (10 + n)) so that early evaluations are not
            dominated by the initial weights.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.model, self.decay = model, decay
        self.updates = 0
        self.shadow = {name: value.detach().clone() for name, value in model.state_dict().items()}

    def update(self) -> None:
        """Take in the model's present weights."""
        self.updates += 1
        weight = 1 - min(self.decay, (1 + self.updates) / (10 + self.updates))
        for name, value in self.model.state_dict().items():
            if value.is_floating_point():
                self.shadow[name].lerp_(value, weight)
            else:
                self.shadow[name].copy_(value)

    @contextmanager
    def swapped_in(self) -> Iterator[None]:
        """Use the average inside the block and the trained weights after it."""
        trained = {name: value.detach().clone() for name, value in self.model.state_dict().items()}
        self.model.load_state_dict(self.shadow)
        try:
            yield
        finally:
            self.model.load_state_dict(trained)

    def state_dict(self) -> dict[str, object]:
        """Return average and counter."""
        return {"updates": self.updates, "shadow": self.shadow}

    def load_state_dict(self, state: dict[str, object]) -> None:
        """Continue from `state_dict`."""
        self.updates = int(state["updates"])  # type: ignore[call-overload]
        for name, value in state["shadow"].items():  # type: ignore[attr-defined]
            self.shadow[name].copy_(value)


def average_states(states: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
    """Return the mean of state dicts; integer entries are taken from the first.

    >>> average_states([{"w": torch.tensor([1.0])}, {"w": torch.tensor([3.0])}])["w"]
    tensor([2.])
    """
    first = states[0]
    return {
        name: torch.stack([state[name].double() for state in states]).mean(0).to(value.dtype) if value.is_floating_point() else value
        for name, value in first.items()
    }
