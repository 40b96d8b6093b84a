"""Whether the update that `auscult train` takes keeps what its epsilon says, asked of the very class that takes it.

Problem: an audit of a model of the update (`dp_mechanism.private_mean`) proves nothing about the update. Choice: a task whose utterances
bring their gradient along, so that canaries of `dp_audit` go through everything that a recording goes through: per-utterance gradients in
both of their forms, parts of a batch, clipping, noise, division and the optimiser. Whatever changes there is tried here.

The batch is given, as in `dp_audit`: how batches are drawn is not audited (`tests/data/test_poisson_sampling.py` measures the rates), and
the claim is that of the noise alone, which an update at any rate must keep.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from auscult.ops.item_gradients import ItemGradients, item_copies
from auscult.privacy.dp_audit import SHAPES, Mechanism, MechanismAudit, audit_mechanism
from auscult.privacy.dp_mechanism import gaussian_claim
from auscult.recipe.fields import Guard, Precision
from auscult.streams import Streams
from auscult.tasks.base import Loss
from auscult.training.dp_accountant import PrivacyAccount
from auscult.training.dp_noise import Chance, SeededChance
from auscult.training.dp_step import PrivateStepper
from auscult.training.precision import Arithmetic
from auscult.training.sentinel import Sentinel


def audit_training(
    noise_multiplier: float = 1.0,
    *,
    clip: float = 1.0,
    canaries: int = 1000,
    samples: int = 16,
    at_once: int = 8,
    delta: float = 1e-5,
    seed: int = 0,
    stepper: Callable[..., PrivateStepper] = PrivateStepper,
) -> MechanismAudit:
    """Send canaries through the update of differentially private training.

    Args:
        noise_multiplier: of the update; its claim for one round is tested.
        clip: of the update.
        canaries: trials with, and as many without, at each of three places; 1000 take some seconds.
        samples: utterances of a batch.
        at_once: utterances that go through the model together.
        delta: of the epsilons.
        seed: of canaries and noise.
        stepper: the class under test.

    >>> audit_training(canaries=100, samples=2, at_once=2).verdict
    'consistent'
    """
    mechanism = training_mechanism(
        noise_multiplier, clip=clip, samples=samples, at_once=at_once, chance=SeededChance(Streams(seed)), stepper=stepper
    )
    return audit_mechanism(
        mechanism, gaussian_claim(noise_multiplier, delta=delta), clip=clip, random=Streams(seed).generator("canaries"), canaries=canaries,
        samples=samples,
    )  # fmt: skip


def training_mechanism(
    noise_multiplier: float,
    *,
    clip: float,
    samples: int,
    at_once: int,
    chance: Chance,
    stepper: Callable[..., PrivateStepper] = PrivateStepper,
    shapes: Mapping[str, tuple[int, ...]] = SHAPES,
) -> Mechanism:
    """Return the update of private training as a function of per-sample gradients, for `dp_audit.audit_mechanism`.

    Every call is the next update of one run; weights are put back to zero before it, so that what they are afterwards is the update.
    """
    model = GivenGradients(shapes)
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    arithmetic = Arithmetic(Precision(device="cpu"))
    account = PrivacyAccount(noise_multiplier, 1.0, clip, 1e-5, "rdp")
    steps = stepper(
        _GivenTask(), model, optimizer, arithmetic, Sentinel(Guard(enabled=False), model, optimizer, arithmetic), streams=Streams(0),
        account=account, chance=chance, expected=samples, at_once=at_once,
    )  # fmt: skip

    def mechanism(gradients: dict[str, Tensor], random: np.random.Generator) -> dict[str, Tensor]:
        """The generator is not used: the update has its own source of noise, which is part of what is tested."""
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.zero_()
        flat = {name: value.reshape(len(value), -1).float() for name, value in gradients.items()}
        steps.step([_GivenBatch(flat, tuple(map(str, range(samples))))], account.updates)
        return {name: -parameter.detach().reshape(shapes[name]) for name, parameter in model.by_name().items()}

    return mechanism


@dataclass(frozen=True)
class _GivenBatch:
    """Gradients (items, values) of each parameter."""

    gradients: Mapping[str, Tensor]
    ids: tuple[str, ...]

    def to(self, device: Any) -> _GivenBatch:
        return self

    def select(self, indices: Sequence[int]) -> _GivenBatch:
        rows = list(indices)
        return _GivenBatch({name: value[rows] for name, value in self.gradients.items()}, tuple(self.ids[row] for row in rows))


class GivenGradients(nn.Module):
    """A linear function of what it is given, so that the gradient of its output by each parameter is what it was given.

    Every other parameter is a matrix of one row, whose gradients are kept as factors; the rest keep them whole.
    """

    def __init__(self, shapes: Mapping[str, tuple[int, ...]]) -> None:
        super().__init__()
        sizes = {name: math.prod(shape) for name, shape in shapes.items()}
        self.parts = nn.ModuleDict(
            {name: nn.Linear(size, 1, bias=False) if place % 2 == 0 else _Whole(size) for place, (name, size) in enumerate(sizes.items())}
        )

    def by_name(self) -> dict[str, Tensor]:
        """Return the parameter of each name."""
        return {name: part.weight for name, part in self.parts.items()}  # type: ignore[misc]

    def forward(self, gradients: Mapping[str, Tensor]) -> Tensor:
        """(items, values) of each parameter -> (items,)."""
        return torch.stack([part(gradients[name]).flatten() for name, part in self.parts.items()]).sum(0)


class _Whole(nn.Module):
    item_gradients: ItemGradients | None = None

    def __init__(self, size: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(size))

    def forward(self, values: Tensor) -> Tensor:
        weights = self.weight if self.item_gradients is None else item_copies(self.weight, len(values), self.item_gradients)
        return (weights * values).sum(1)


class _GivenTask:
    """Only what a stepper asks of a task."""

    def loss(self, model: nn.Module, batch: _GivenBatch) -> Loss:
        return Loss(model(batch.gradients).mean(), len(batch.ids))
