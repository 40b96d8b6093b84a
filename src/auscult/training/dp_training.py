"""Everything that a private run has besides an ordinary one, in one object that the trainer holds.

Problem: privacy touches sampling, updates, checkpoints and reports, and a trainer with an `if` in each would be right by luck. Choice: the
trainer asks this object for lots and stepper, saves it like any other part, and lets it state what was spent; every rule lives in the
modules `dp_*`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from auscult.data.poisson_sampling import Lots, sample_rate
from auscult.recipe import Recipe
from auscult.runs.directory import RunDirectory
from auscult.runs.files import read_json, write_json
from auscult.streams import Streams
from auscult.tasks.base import Task
from auscult.training.distributed import World
from auscult.training.dp_accountant import PrivacyAccount, PrivacyStatement, noise_for, sentence
from auscult.training.dp_noise import Chance, SecretChance, SeededChance
from auscult.training.dp_rules import require_private_training
from auscult.training.dp_step import PrivateStepper
from auscult.training.precision import Arithmetic
from auscult.training.sentinel import Sentinel

if TYPE_CHECKING:
    from lhotse.cut import Cut

    from auscult.recipe.differential_privacy import DifferentialPrivacy

RECORD = "privacy.json"
"""File of a run directory: what may be said of its weights."""


class PrivateTraining:
    """The private side of one run.

    Args:
        recipe: with a section `differential_privacy`.
        settings: that section.
        task: of the run.
        model: freshly built.
        cuts: of the training split.
        streams: of the run.
        world: the processes of the run.

    Attributes:
        account: counts updates.

    Raises:
        UserError: an epsilon would be untrue; the message says why.
    """

    def __init__(
        self,
        recipe: Recipe,
        settings: DifferentialPrivacy,
        task: Task,
        model: nn.Module,
        cuts: Sequence[Cut],
        streams: Streams,
        world: World,
    ) -> None:
        require_private_training(task, model, cuts, settings.delta, world)
        assert recipe.data.batch.poisson is not None  # the recipe was validated
        self.expected, self.at_once, self.budget = recipe.data.batch.poisson, settings.at_once, recipe.budget.updates
        self.streams = streams
        rate = sample_rate(len(cuts), self.expected)
        noise = settings.noise_multiplier
        if settings.epsilon is not None:
            noise = noise_for(settings.epsilon, rate, self.budget, settings.delta, settings.accountant)
        assert noise is not None
        self.account = PrivacyAccount(noise, rate, settings.clip, settings.delta, settings.accountant)
        self.chance: Chance = SecretChance() if settings.secret else SeededChance(streams)
        self.known = not settings.secret

    @property
    def lots(self) -> Lots:
        """Return what draws the batches."""
        return lambda epoch, batch, count: self.chance.lots(epoch, batch, count)

    def stepper(
        self, task: Task, model: nn.Module, optimizer: torch.optim.Optimizer, arithmetic: Arithmetic, sentinel: Sentinel
    ) -> PrivateStepper:
        """Return what takes the updates."""
        return PrivateStepper(
            task, model, optimizer, arithmetic, sentinel, streams=self.streams, account=self.account, chance=self.chance,
            expected=self.expected, at_once=self.at_once,
        )  # fmt: skip

    def plan(self) -> str:
        """Return what the whole budget will have spent, in a sentence."""
        return f"differential privacy: {sentence(self._with_source(self.account.statement(self.budget)))}"

    def spent(self) -> dict[str, Any]:
        """Return what may be said now, as a record."""
        return self._with_source(self.account.statement())

    def _with_source(self, statement: PrivacyStatement) -> dict[str, Any]:
        return {**statement.to_dict(), "noise_from": "the seed in the recipe" if self.known else "a secret key"}

    def write_record(self, run: RunDirectory) -> dict[str, Any]:
        """Write what may be said of the finished run's weights, those of earlier checkpoints included."""
        record = self.spent()
        write_json(run.path / RECORD, record)
        return record

    def state_dict(self) -> dict[str, Any]:
        """Return account and chance."""
        return {"account": self.account.state_dict(), "chance": self.chance.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from `state_dict`."""
        self.account.load_state_dict(state["account"])
        self.chance.load_state_dict(state["chance"])


def read_record(run: RunDirectory) -> dict[str, Any] | None:
    """Return what may be said of a run's weights; None for a run without differential privacy."""
    path = run.path / RECORD
    return read_json(path) if path.exists() else None
