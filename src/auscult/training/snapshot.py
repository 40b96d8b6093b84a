"""The last few good states of a run, kept in memory so that a poisoned one can be undone.

Parameters alone are not enough: batch normalisation writes its running statistics during the forward pass, so a run that
only skips the bad step keeps poisoned buffers and fails at evaluation. A snapshot holds parameters, buffers, optimiser state
and loss scale, and whatever else is attached (the moving average).
"""

from __future__ import annotations

from collections import deque
from typing import Any, Protocol

import torch
from torch import Tensor, nn


class HasState(Protocol):
    """Anything with a state dict of plain values and tensors."""

    def state_dict(self) -> Any:
        """Return the state."""

    def load_state_dict(self, state: Any, /) -> Any:
        """Take a state."""


class PersistentBuffers:
    """The buffers that belong to a model's state (fixed windows and filters do not); their places are looked up once.

    Places, not tensors, because a module may replace a buffer by a new tensor.

    Args:
        model: its modules must not change afterwards.
    """

    def __init__(self, model: nn.Module) -> None:
        self.places = [
            (module, name)
            for module in model.modules()
            for name, buffer in module._buffers.items()
            if buffer is not None and name not in module._non_persistent_buffers_set
        ]

    def now(self) -> list[Tensor]:
        """Return the tensors themselves, always in the same order."""
        return [module._buffers[name] for module, name in self.places]  # type: ignore[misc]

    def floating(self) -> list[Tensor]:
        """Return those that can be non-finite."""
        return [buffer for buffer in self.now() if buffer.is_floating_point()]

    def copies(self) -> list[Tensor]:
        """Return copies, to be handed to `restore`."""
        return [buffer.detach().clone() for buffer in self.now()]

    def restore(self, copies: list[Tensor]) -> None:
        """Write copies back."""
        with torch.no_grad():
            for buffer, copied in zip(self.now(), copies, strict=True):
                buffer.copy_(copied)


class SnapshotRing:
    """A bounded history of good states on the CPU.

    Args:
        parts: what a state consists of, by name.
        size: how many states to keep; 0 keeps none.
        every: updates between two states.
    """

    def __init__(self, parts: dict[str, HasState], size: int, every: int) -> None:
        self.parts, self.every = parts, every
        self.states: deque[dict[str, Any]] = deque(maxlen=size)

    def due(self, update: int) -> bool:
        """Return whether a state is to be stored at this update."""
        return bool(self.states.maxlen) and update % self.every == 0

    def push(self, update: int) -> None:
        """Store the present state; the oldest one makes room."""
        if self.states.maxlen:
            state = {name: copied_to_cpu(part.state_dict()) for name, part in self.parts.items()}
            self.states.append({"update": update, "parts": state})

    def reset(self, update: int) -> None:
        """Start over with the present state.

        Called at every checkpoint on the grid, so that the ring of a resumed run is that of an uninterrupted one without
        several copies of the model in every checkpoint.
        """
        self.states.clear()
        self.push(update)

    def restore(self) -> int:
        """Go back to the newest state and drop it, so that a second call goes further back.

        Returns:
            The update it was taken at.

        Raises:
            IndexError: the ring is empty.
        """
        state = self.states.pop()
        for name, part in self.parts.items():
            part.load_state_dict(state["parts"][name])
        return int(state["update"])

    def state_dict(self) -> list[dict[str, Any]]:
        """Return the states themselves, oldest first."""
        return list(self.states)

    def load_state_dict(self, states: list[dict[str, Any]]) -> None:
        """Continue from `state_dict`."""
        self.states.clear()
        self.states.extend(states)


def copied_to_cpu(value: Any) -> Any:
    """Return a copy of nested dicts and lists whose tensors are copies on the CPU."""
    if isinstance(value, Tensor):
        return value.detach().to("cpu", copy=True)
    if isinstance(value, dict):
        return {key: copied_to_cpu(child) for key, child in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(copied_to_cpu(child) for child in value)
    return value
