"""The last few good states of a run, kept in memory so that a poisoned one can be undone.

Parameters alone are not enough: batch normalisation writes its running statistics during the forward pass, so a run that
only skips the bad step keeps poisoned buffers and fails at evaluation. A snapshot holds parameters, buffers, optimiser state
and loss scale.
"""

from __future__ import annotations

import copy
from collections import deque
from typing import Any

import torch
from torch import Tensor, nn

from auscult.training.precision import Arithmetic


def persistent_buffers(model: nn.Module) -> dict[str, Tensor]:
    """Return the buffers that are part of the model's state, by name (fixed windows and filters are not)."""
    names = model.state_dict(keep_vars=True).keys()
    return {name: buffer for name, buffer in model.named_buffers() if name in names}


class SnapshotRing:
    """A bounded history of good states on the CPU.

    Args:
        size: how many states to keep; 0 keeps none.
        every: updates between two states.
    """

    def __init__(self, model: nn.Module, optimizer: torch.optim.Optimizer, arithmetic: Arithmetic, size: int, every: int) -> None:
        self.model, self.optimizer, self.arithmetic = model, optimizer, arithmetic
        self.every = every
        self.states: deque[dict[str, Any]] = deque(maxlen=size) if size else deque(maxlen=0)

    def push(self, update: int) -> None:
        """Store the present state if `update` is on the grid."""
        if self.states.maxlen and update % self.every == 0:
            self.states.append(self.capture(update))

    def reset(self, update: int) -> None:
        """Start over with the present state.

        Called at every checkpoint and after loading one, so that a resumed run has the same ring as an uninterrupted one
        without the ring being saved.
        """
        self.states.clear()
        if self.states.maxlen:
            self.states.append(self.capture(update))

    def capture(self, update: int) -> dict[str, Any]:
        """Return a copy of the present state."""
        return {
            "update": update,
            "model": {name: value.detach().to("cpu", copy=True) for name, value in self.model.state_dict().items()},
            "optimizer": copy.deepcopy(self.optimizer.state_dict()),
            "scale": self.arithmetic.scale.state_dict(),
        }

    def restore(self) -> int:
        """Go back to the newest state and drop it, so that a second call goes further back.

        Returns:
            The update it was taken at.

        Raises:
            IndexError: the ring is empty.
        """
        state = self.states.pop()
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.arithmetic.scale.load_state_dict(state["scale"])
        return int(state["update"])
