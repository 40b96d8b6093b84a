"""One update of DP-SGD: every utterance's gradient is clipped by itself, their sum gets noise, and the sum is divided by a constant.

Problem: each word of that sentence has been got wrong in public code, and wrong code trains better. Choice: one short class with the face
of `Stepper`, in which nothing that depends on one utterance reaches the weights but through its clipped gradient:

- an utterance whose gradient is not finite counts as zero, and nobody is quarantined for it;
- an empty batch is an update of noise alone;
- the sum is divided by the expected number of utterances, not by the number that came, which would tell how many came;
- large batches go through the model in parts, and noise is added once, to the sum of all parts.

`privacy/dp_training_audit.py` sends canaries through this very class. Source: Abadi et al. 2016 (arXiv:1607.00133).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from auscult.streams import Streams
from auscult.tasks.base import Batch, Task
from auscult.training.dp_accountant import PrivacyAccount
from auscult.training.dp_gradients import recording
from auscult.training.dp_noise import Chance
from auscult.training.precision import Arithmetic
from auscult.training.sentinel import Diverged, Fault, Sentinel
from auscult.training.stepper import Step


class PrivateStepper:
    """Takes differentially private updates on one model, in one process.

    Args:
        task: its loss is a mean over items that ignore one another.
        model: of layers whose gradients can be told apart by item.
        optimizer: over the model's parameters; sees noisy gradients alone.
        arithmetic: device; float32.
        sentinel: refuses an update after the noise, which is no further look at the data.
        streams: for dropout and the like.
        account: is charged for every update.
        chance: of the noise.
        expected: utterances in a batch on average.
        at_once: most utterances that go through the model together.
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
        account: PrivacyAccount,
        chance: Chance,
        expected: int,
        at_once: int,
    ) -> None:
        self.task, self.model, self.optimizer = task, model, optimizer
        self.arithmetic, self.sentinel, self.streams = arithmetic, sentinel, streams
        self.account, self.chance, self.expected, self.at_once = account, chance, expected, at_once
        self.parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]

    def step(self, batches: Sequence[Batch], update: int) -> Step:
        """Take one update on one batch, or on none if nobody was drawn.

        Args:
            batches: one or none, on the device.
            update: number of updates taken before this one.

        Raises:
            Diverged: noisy gradients were refused too often.
        """
        self.account.spend()
        self.model.train()
        sums, seen = [torch.zeros_like(parameter) for parameter in self.parameters], _Seen()
        for batch in batches:
            for part in range(0, len(batch.ids), self.at_once):
                torch.manual_seed(self.streams.integer("update", update, part))
                self._add(batch.select(range(part, min(part + self.at_once, len(batch.ids)))), sums, seen)
        self._add_noise(sums, update)
        for parameter, total in zip(self.parameters, sums, strict=True):
            parameter.grad = total.div_(self.expected)
        norm = float(torch.nn.utils.get_total_norm(sums))
        faults = self._refused(batches, update, norm)
        if not faults:
            self.optimizer.step()
            self.sentinel.succeeded(update, norm)
        self.optimizer.zero_grad(set_to_none=True)
        return Step(seen.mean_loss, norm if not faults else math.nan, seen.items, not faults, faults, seen.terms())

    def _refused(self, batches: Sequence[Batch], update: int, norm: float) -> tuple[tuple[Fault, str], ...]:
        """Return what is wrong with the noisy gradient, with the remedy taken."""
        if not self.sentinel.spikes(update, norm):
            return ()
        fault = Fault("spike", tuple(one for batch in batches for one in batch.ids))
        try:
            return ((fault, self.sentinel.remedy(update, fault)),)
        except Diverged as error:
            error.refused = ((fault, "stop"),)
            raise

    def _add(self, part: Batch, sums: list[Tensor], seen: _Seen) -> None:
        """Add the clipped gradient of every utterance."""
        with recording(self.model) as gradients:
            loss = self.task.loss(self.model, part)
        (loss.value * loss.items).backward()  # type: ignore[no-untyped-call]
        norms = gradients.norms()
        factors = clipping_factors(norms, self.account.clip).to(sums[0])
        for parameter, total in zip(self.parameters, sums, strict=True):
            total.add_(gradients.weighted_sum(parameter, factors))
        seen.add(float(loss.value.detach()), norms, self.account.clip)

    def _add_noise(self, sums: list[Tensor], update: int) -> None:
        """Add one draw to the sums, over all parameters in their order."""
        deviation = self.account.noise_multiplier * self.account.clip
        drawn = torch.from_numpy(self.chance.normal(update, sum(total.numel() for total in sums)) * deviation)
        for total, noise in zip(sums, torch.split(drawn, [total.numel() for total in sums]), strict=True):
            total.add_(noise.to(total).view_as(total))


def clipping_factors(norms: Tensor, clip: float) -> Tensor:
    """Return what each gradient is multiplied with: 1 up to a norm of `clip`, less above, 0 where the norm is not finite.

    >>> clipping_factors(torch.tensor([0.5, 4.0, torch.nan]), 2.0).tolist()
    [1.0, 0.5, 0.0]
    """
    factors = (clip / norms.clamp_min(1e-300)).clamp_max(1.0)
    return torch.where(torch.isfinite(norms), factors, 0.0)


@dataclass
class _Seen:
    """What an update saw of its utterances; for the log, which epsilon does not cover."""

    items: int = 0
    loss_sum: float = 0.0
    norm_sum: float = 0.0
    clipped: int = 0
    not_finite: int = 0

    def add(self, loss: float, norms: Tensor, clip: float) -> None:
        finite = norms[torch.isfinite(norms)]
        self.items += len(norms)
        self.loss_sum += loss * len(norms)
        self.norm_sum += float(finite.sum())
        self.clipped += int((finite > clip).sum())
        self.not_finite += len(norms) - len(finite)

    @property
    def mean_loss(self) -> float:
        return self.loss_sum / self.items if self.items else math.nan

    def terms(self) -> dict[str, float]:
        if not self.items:
            return {}
        finite = max(self.items - self.not_finite, 1)
        return {
            "utterance_gradient_norm": self.norm_sum / finite,
            "clipped_utterances": self.clipped / self.items,
            "not_finite_utterances": self.not_finite / self.items,
        }
