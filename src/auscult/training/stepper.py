"""One optimiser update on one group of batches: forward, backward, inspect, reduce, clip, step or refuse.

Trainer, overfit check, federated client and benchmark call this and nothing else, so there is one inner loop to get right.
Item-weighted sums of gradients are accumulated and divided once by the number of items really used: a refused micro-batch
leaves the rest of its group in place with the right mean.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from auscult.streams import Streams
from auscult.tasks.base import Batch, Loss, Task
from auscult.training.distributed import World
from auscult.training.number_formats import first_not_finite
from auscult.training.precision import Arithmetic
from auscult.training.sentinel import Cause, Diverged, Fault, Sentinel


@dataclass(frozen=True)
class Step:
    """What one update did.

    Attributes:
        loss: mean over the items used; NaN when none was.
        gradient_norm: L2 norm before clipping; NaN when nothing was applied.
        items: items used, over all processes.
        applied: whether the optimiser moved.
        faults: what was refused, each with the remedy taken.
        terms: the loss's named parts and diagnostics, means over the items of this process.
    """

    loss: float
    gradient_norm: float
    items: int
    applied: bool
    faults: tuple[tuple[Fault, str], ...] = ()
    terms: dict[str, float] = field(default_factory=dict)


class Stepper:
    """Takes updates on one model.

    Args:
        task: supplies the loss.
        model: in training mode while a step runs.
        optimizer: over the model's parameters.
        arithmetic: device, autocast and loss scale.
        sentinel: inspects and remedies.
        world: the processes that share the update.
        clip: largest L2 gradient norm; None leaves gradients alone.
        streams: random streams; every micro-batch of every update gets its own seed for dropout and the like, so nothing
            random has to be saved, and two processes draw what one process with accumulation draws.
    """

    def __init__(
        self,
        task: Task,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        arithmetic: Arithmetic,
        sentinel: Sentinel,
        *,
        streams: Streams,
        world: World | None = None,
        clip: float | None = None,
    ) -> None:
        self.task, self.model, self.optimizer = task, model, optimizer
        self.arithmetic, self.sentinel, self.streams = arithmetic, sentinel, streams
        self.world = world if world is not None else World()
        self.clip = clip
        self.parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]

    def step(self, batches: Sequence[Batch], update: int) -> Step:
        """Take one update on this process's batches of a group.

        Args:
            batches: micro-batches, already on the device.
            update: number of updates taken before this one.

        Raises:
            Diverged: a fault came and no remedy is left.
        """
        self.model.train()
        window = _Window(buffers=self.sentinel.copy_buffers(), shared=len(batches) > 1 or self.world.size > 1)
        for index, batch in enumerate(batches):
            self._micro_batch(batch, update, index, window)
        loss, norm, divisor = self._reduce(window)
        faults = self._all_faults(window)
        applied = window.items > 0 and not any(fault.cause in ("scale", "state") for fault in faults)
        if applied and (cause := self._fault_of_sum(update, norm)) is not None:
            faults.append(Fault(cause, tuple(self.world.gather([one for batch in batches for one in batch.ids]))))
            applied = False
        if applied:
            self._apply(norm, divisor)
        else:
            self.sentinel.restore_buffers(window.buffers)
        if applied and not faults:
            self.sentinel.succeeded(update, norm)
        remedied = self._remedy(update, faults)
        self.optimizer.zero_grad(set_to_none=True)
        return Step(loss, norm if applied else float("nan"), window.items, applied, remedied, window.means())

    def _micro_batch(self, batch: Batch, update: int, index: int, window: _Window) -> None:
        """Forward and backward on one micro-batch; a bad one is undone and noted, a good one joins the window."""
        buffers = window.buffers if index == 0 else self.sentinel.copy_buffers()
        self.optimizer.zero_grad(set_to_none=True)
        torch.manual_seed(self.streams.integer("update", update, index * self.world.size + self.world.rank))
        loss = self._backward(batch, window.shared)
        value, norm, buffers_finite = self.sentinel.measure(loss.value, self._gradients())
        cause = self.sentinel.cause_of(value, norm, buffers_finite)
        if cause is None:
            window.add(value, loss, norm, self._all_gradients() if window.shared else [])
            return
        self.optimizer.zero_grad(set_to_none=True)
        self.sentinel.restore_buffers(buffers)
        window.faults.append(self._diagnose(cause, batch, buffers))

    def _diagnose(self, cause: Cause, batch: Batch, buffers: list[Tensor]) -> Fault:
        if cause == "gradient" and self.arithmetic.scale.can_fall:
            return Fault("scale", batch.ids)
        if not self.sentinel.state_is_finite():
            return Fault("state", batch.ids)
        place = first_not_finite(self.model, lambda: self._forward(batch)) if cause in ("loss", "buffer") else ""
        self.sentinel.restore_buffers(buffers)
        return Fault(cause, batch.ids, self._culprits(batch, buffers), place)

    def _culprits(self, batch: Batch, buffers: list[Tensor]) -> tuple[str, ...]:
        """Return the ids of items that are bad on their own even in float32; empty when every item of several is, or none.

        An item that only overflows a narrower format is no fault of the data. Batch statistics of one item may not exist, so
        normalisation uses its running statistics meanwhile.
        """
        bad = []
        for module in self.model.modules():
            if getattr(module, "running_mean", None) is not None:
                module.eval()
        for index, utterance_id in enumerate(batch.ids):
            self.optimizer.zero_grad(set_to_none=True)
            loss = self._backward(batch.select([index]), shared=False, narrow=False)
            if self.sentinel.cause_of(*self.sentinel.measure(loss.value, self._gradients())) is not None:
                bad.append(utterance_id)
            self.sentinel.restore_buffers(buffers)
        self.optimizer.zero_grad(set_to_none=True)
        self.model.train()
        return tuple(bad) if len(bad) < len(batch.ids) or len(bad) == 1 else ()

    def _backward(self, batch: Batch, shared: bool, narrow: bool = True) -> Loss:
        """Return the loss, with gradients of loss x scale (x items where several batches are summed)."""
        loss = self._forward(batch, narrow)
        weight = self.arithmetic.scale.value * (loss.items if shared else 1)
        (loss.value * weight if weight != 1 else loss.value).backward()  # type: ignore[no-untyped-call]
        return loss

    def _forward(self, batch: Batch, narrow: bool = True) -> Loss:
        with self.arithmetic.autocast() if narrow else nullcontext():
            return self.task.loss(self.model, batch)

    def _gradients(self) -> list[Tensor]:
        return [parameter.grad for parameter in self.parameters if parameter.grad is not None]

    def _all_gradients(self) -> list[Tensor]:
        return [torch.zeros_like(p) if p.grad is None else p.grad for p in self.parameters]

    def _reduce(self, window: _Window) -> tuple[float, float, float]:
        """Return mean loss, gradient norm of the mean, and what the gradients in `.grad` must still be divided by."""
        scale = self.arithmetic.scale.value
        if not window.shared:
            return (window.loss_sum / window.items if window.items else float("nan")), window.norm / scale, scale
        gradients = window.gradients or self._all_gradients()
        totals = torch.tensor([window.loss_sum, float(window.items)], dtype=torch.float64, device=self.arithmetic.device)
        self.world.sum([totals])
        self.world.sum(gradients)
        window.loss_sum, window.items = float(totals[0]), int(totals[1])
        for parameter, gradient in zip(self.parameters, gradients, strict=True):
            parameter.grad = gradient
        divisor = scale * max(window.items, 1)
        norm = float(torch.nn.utils.get_total_norm(gradients)) / divisor
        return (window.loss_sum / window.items if window.items else float("nan")), norm, divisor

    def _all_faults(self, window: _Window) -> list[Fault]:
        """Return the faults of every process, the same list in each."""
        if self.world.any(bool(window.faults), self.arithmetic.device):
            return self.world.gather(window.faults)
        return []

    def _fault_of_sum(self, update: int, norm: float) -> Cause | None:
        """Return what is wrong with the whole update though every part of it was fine."""
        if self.sentinel.guard.enabled and not math.isfinite(norm):
            return "gradient"
        return "spike" if self.sentinel.spikes(update, norm) else None

    def _remedy(self, update: int, faults: Sequence[Fault]) -> tuple[tuple[Fault, str], ...]:
        """Remedy faults one after the other; the loss scale falls once, in every process."""
        if any(fault.cause == "scale" for fault in faults):
            self.arithmetic.scale.fall()
        remedied: list[tuple[Fault, str]] = []
        for fault in faults:
            try:
                remedied.append((fault, "rescale" if fault.cause == "scale" else self.sentinel.remedy(update, fault)))
            except Diverged as error:
                error.refused = (*remedied, (fault, "stop"))
                raise
        return tuple(remedied)

    def _apply(self, norm: float, divisor: float) -> None:
        factor = 1.0 / divisor
        if self.clip is not None and norm > self.clip:
            factor *= self.clip / (norm + 1e-6)
        if factor != 1.0:
            torch._foreach_mul_(self._gradients(), factor)
        self.optimizer.step()
        if self.world.size > 1:
            self.world.average(self.sentinel.buffers.floating())
        self.arithmetic.scale.succeeded()


@dataclass
class _Window:
    """What one update has gathered so far."""

    buffers: list[Tensor]
    shared: bool
    loss_sum: float = 0.0
    items: int = 0
    own_items: int = 0
    terms: dict[str, float] = field(default_factory=dict)
    norm: float = 0.0
    gradients: list[Tensor] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)

    def add(self, value: float, loss: Loss, norm: float, gradients: list[Tensor]) -> None:
        self.loss_sum += value * loss.items
        self.items += loss.items
        self.own_items += loss.items
        self.norm = norm
        for name, term in loss.terms.items():
            self.terms[name] = self.terms.get(name, 0.0) + term * loss.items
        if self.gradients:
            torch._foreach_add_(self.gradients, gradients)
        else:
            self.gradients = gradients

    def means(self) -> dict[str, float]:
        return {name: total / self.own_items for name, total in self.terms.items()}
