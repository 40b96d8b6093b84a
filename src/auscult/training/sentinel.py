"""Looks at every update before it is taken, and decides what happens to a bad one.

Skipping a step after a non-finite loss is what trainers usually do, and it is not enough: the forward pass has already
written NaN into batch statistics. The sentinel checks loss, gradient norm and buffers before the optimiser moves, undoes the
buffers, names and quarantines the utterances, and climbs a bounded ladder of remedies: skip, restore, float32, half the
rate, stop as DIVERGED. Nothing is skipped silently: every refusal is an event.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor, nn

from auscult.errors import RunFailed
from auscult.training.precision import Arithmetic
from auscult.training.snapshot import HasState, PersistentBuffers, SnapshotRing

if TYPE_CHECKING:
    from auscult.recipe import Guard

Cause = Literal["loss", "gradient", "buffer", "spike", "scale", "state"]
RUNGS = ("skip", "restore", "float32", "lower_lr", "stop")
TRIP_WINDOW = 1000
"""Trips older than this many updates no longer count against a rung's budget."""
LEAST_SPIKE = math.log(10)
"""A gradient norm below ten times its recent median is never a spike."""
MEANING: dict[Cause, str] = {
    "loss": "the loss is not finite", "gradient": "the gradient is not finite", "buffer": "a buffer is not finite",
    "state": "the weights or buffers are not finite", "spike": "the gradient norm is far outside its recent past",
    "scale": "gradients overflow",
}  # fmt: skip


@dataclass(frozen=True)
class Fault:
    """A refused micro-batch or update.

    Attributes:
        cause: what was not finite ("loss", "gradient", "buffer", "state" before the step), or "spike", or "scale" (a float16
            overflow that only lowers the loss scale).
        ids: utterances of the refused batch.
        culprits: those that are bad on their own; empty when none reproduces the fault alone.
        place: first module whose output was not finite, with its number format; "" where it is not known.
    """

    cause: Cause
    ids: tuple[str, ...] = ()
    culprits: tuple[str, ...] = ()
    place: str = ""


class Diverged(RunFailed):
    """The ladder of remedies is used up.

    Attributes:
        refused: the faults of the last update with their remedies; the last one is "stop".
    """

    refused: tuple[tuple[Fault, str], ...] = ()


def is_spike(values: Sequence[float], value: float, threshold: float) -> bool:
    """Return whether a value lies more than `threshold` robust standard deviations above the median of `values`.

    The robust standard deviation is 1.4826 times the median absolute deviation; above a constant window everything is a spike.

    >>> window = [99.0, 101.0] * 8
    >>> is_spike(window, 100 + 9 * 1.4826, 8), is_spike(window, 100 + 7 * 1.4826, 8)
    (True, False)
    """
    middle = median(values)
    deviation = 1.4826 * median(abs(one - middle) for one in values)
    return value - middle > threshold * deviation


@dataclass
class Sentinel:
    """Guards one model during training.

    Attributes:
        quarantine: ids of utterances that were bad on their own; the trainer leaves them out from then on.
        rate_factor: what the ladder has made of the learning rate.
    """

    guard: Guard
    model: nn.Module
    optimizer: torch.optim.Optimizer
    arithmetic: Arithmetic
    quarantine: dict[str, int] = field(default_factory=dict)
    rate_factor: float = 1.0

    def __post_init__(self) -> None:
        self.buffers = PersistentBuffers(self.model)
        parts: dict[str, HasState] = {"model": self.model, "optimizer": self.optimizer, "scale": self.arithmetic.scale}
        self.ring = SnapshotRing(parts, self.guard.snapshots if self.guard.enabled else 0, self.guard.snapshot_every)
        self.log_norms: deque[float] = deque(maxlen=self.guard.window)
        self.trips: list[tuple[int, str]] = []

    def copy_buffers(self) -> list[Tensor]:
        """Return copies of the persistent buffers, taken before a forward pass; none when the guard is off."""
        return self.buffers.copies() if self.guard.enabled else []

    def restore_buffers(self, copies: list[Tensor]) -> None:
        """Write copies back."""
        if self.guard.enabled:
            self.buffers.restore(copies)

    def measure(self, loss: Tensor, gradients: Sequence[Tensor]) -> tuple[float, float, bool]:
        """Return loss, L2 gradient norm and whether every buffer is finite, in one transfer from the device."""
        norm = torch.nn.utils.get_total_norm(gradients) if gradients else torch.zeros((), device=loss.device)
        measured = [loss.detach().float(), norm.float()]
        if self.guard.enabled and (buffers := self.buffers.floating()):
            # largest magnitudes: NaN and infinity come through, and no sum of squares can overflow
            measured += [one.float() for one in torch._foreach_norm(buffers, torch.inf)]
        value, total, *largest = torch.stack(measured).tolist()
        return value, total, all(map(math.isfinite, largest))

    def cause_of(self, loss: float, norm: float, buffers_finite: bool) -> Cause | None:
        """Return what is wrong with a micro-batch, or None."""
        if not self.guard.enabled:
            return None
        if not math.isfinite(loss):
            return "loss"
        if not math.isfinite(norm):
            return "gradient"
        return None if buffers_finite else "buffer"

    def spikes(self, update: int, norm: float) -> bool:
        """Return whether a finite gradient norm is far outside its recent past.

        Compared as logarithms, because gradient norms vary by factors; off until the window is full. Spikes are refused as long
        as the budget of "skip" lasts: more of them are taken for a change of regime, which the window then learns, because a
        finite update that is clipped is no reason to end a run.
        """
        full = len(self.log_norms) == self.log_norms.maxlen
        if not (self.guard.enabled and self.guard.spike and full and norm > 0):
            return False
        if math.log(norm) - median(self.log_norms) <= LEAST_SPIKE:
            return False
        return is_spike(self.log_norms, math.log(norm), self.guard.spike) and self._uses("skip", update) < self.guard.trips

    def state_is_finite(self) -> bool:
        """Return whether every parameter and buffer is finite (looked at only after a trip)."""
        return all(bool(value.isfinite().all()) for value in self.model.state_dict().values() if value.is_floating_point())

    def succeeded(self, update: int, norm: float) -> None:
        """Take a good update into the window and, on its grid, into the ring."""
        if norm > 0:
            self.log_norms.append(math.log(norm))
        if self.ring.due(update) and self.state_is_finite():
            self.ring.push(update)

    def remedy(self, update: int, fault: Fault) -> str:
        """Choose and apply the lowest rung of the ladder whose budget is not used up; culprits are quarantined on every rung.

        Raises:
            Diverged: only "stop" is left.
        """
        rung = next(rung for rung in RUNGS if self._available(rung, update, fault))
        self.trips = [trip for trip in self.trips if update - trip[0] < TRIP_WINDOW] + [(update, rung)]
        self.quarantine.update(dict.fromkeys(fault.culprits, update))
        if rung == "restore":
            self.ring.restore()
        elif rung == "float32":
            self.arithmetic.fall_back()
        elif rung == "lower_lr":
            self.rate_factor /= 2
        elif rung == "stop":
            raise Diverged(
                f"update {update}: {MEANING[fault.cause]} and every remedy was tried {self.guard.trips} times within "
                f"{TRIP_WINDOW} updates (last batch: {', '.join(fault.ids[:5]) or 'none'}); lower optimizer.lr or audit the data"
            )
        return rung

    def _available(self, rung: str, update: int, fault: Fault) -> bool:
        if rung == "stop":
            return True
        if fault.cause == "state" and rung != "restore":
            return False
        if (rung == "restore" and not self.ring.states) or (rung == "float32" and not self.arithmetic.reduced):
            return False
        return self._uses(rung, update) < self.guard.trips

    def _uses(self, rung: str, update: int) -> int:
        return sum(used == rung and update - when < TRIP_WINDOW for when, used in self.trips)

    def state_dict(self) -> dict[str, Any]:
        """Return everything a resumed run needs to decide the same way."""
        return {
            "quarantine": dict(self.quarantine),
            "rate_factor": self.rate_factor,
            "log_norms": list(self.log_norms),
            "trips": [list(trip) for trip in self.trips],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from `state_dict`."""
        self.quarantine = dict(state["quarantine"])
        self.rate_factor = float(state["rate_factor"])
        self.log_norms.clear()
        self.log_norms.extend(state["log_norms"])
        self.trips = [(int(when), str(rung)) for when, rung in state["trips"]]
