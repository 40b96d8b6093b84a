"""The update of private training against its claim, and against the ways in which such updates have been wrong."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from auscult.privacy.dp_training_audit import audit_training
from auscult.streams import Streams
from auscult.tasks.base import Batch
from auscult.training.dp_gradients import recording
from auscult.training.dp_noise import SecretChance, SeededChance
from auscult.training.dp_step import PrivateStepper, clipping_factors

SETTINGS = [
    (1.0, 1.0, 4, 4, 400),
    pytest.param(0.5, 3.0, 16, 16, 600, marks=pytest.mark.slow),
    pytest.param(0.7, 0.1, 8, 3, 600, marks=pytest.mark.slow),
]


@pytest.mark.parametrize(("noise", "clip", "samples", "at_once", "canaries"), SETTINGS)
def test_the_update_shows_at_least_half_of_what_it_claims_and_not_more(
    noise: float, clip: float, samples: int, at_once: int, canaries: int
) -> None:
    audit = audit_training(noise, clip=clip, samples=samples, at_once=at_once, canaries=canaries)
    assert audit.verdict == "consistent", audit.text()
    assert 0.5 <= audit.shown <= 1.0, audit.text()


class ClipsTheBatch(PrivateStepper):
    def _add(self, part: Batch, sums: list[Tensor], seen: object) -> None:
        with recording(self.model) as gradients:
            loss = self.task.loss(self.model, part)
        (loss.value * loss.items).backward()
        one = torch.ones(loss.items)
        totals = [gradients.weighted_sum(parameter, one) for parameter in self.parameters]
        norm = torch.cat([total.flatten() for total in totals]).norm()
        for total, found in zip(sums, totals, strict=True):
            total.add_(found * min(1.0, self.account.clip * loss.items / float(norm)))


class ClipsEachTensor(PrivateStepper):
    def _add(self, part: Batch, sums: list[Tensor], seen: object) -> None:
        with recording(self.model) as gradients:
            loss = self.task.loss(self.model, part)
        (loss.value * loss.items).backward()
        for parameter, total in zip(self.parameters, sums, strict=True):
            norms = gradients.of(parameter).flatten(1).norm(dim=1)  # type: ignore[union-attr]
            total.add_(gradients.weighted_sum(parameter, clipping_factors(norms, self.account.clip)))


class NoNoise(PrivateStepper):
    def _add_noise(self, sums: list[Tensor], update: int) -> None:
        return


class NoNoiseOnTheLastTensor(PrivateStepper):
    def _add_noise(self, sums: list[Tensor], update: int) -> None:
        super()._add_noise(sums[:-1], update)


class NoiseOnTheMean(PrivateStepper):
    """The noise meant for the sum divided twice."""

    def _add_noise(self, sums: list[Tensor], update: int) -> None:
        before = [total.clone() for total in sums]
        super()._add_noise(sums, update)
        for total, clean in zip(sums, before, strict=True):
            total.sub_(clean).div_(self.expected).add_(clean)


class NoiseForgetsTheClip(PrivateStepper):
    def _add_noise(self, sums: list[Tensor], update: int) -> None:
        before = [total.clone() for total in sums]
        super()._add_noise(sums, update)
        for total, clean in zip(sums, before, strict=True):
            total.sub_(clean).div_(self.account.clip).add_(clean)


class SameNoiseAlways(PrivateStepper):
    def _add_noise(self, sums: list[Tensor], update: int) -> None:
        super()._add_noise(sums, 0)


FAULTS = [
    (ClipsTheBatch, 1.0, 300),
    (NoNoise, 1.0, 100),
    (NoNoiseOnTheLastTensor, 1.0, 100),
    (NoiseOnTheMean, 1.0, 150),
    (NoiseForgetsTheClip, 4.0, 150),
    (SameNoiseAlways, 1.0, 100),
    pytest.param(ClipsEachTensor, 1.0, 2000, marks=pytest.mark.slow),
]


@pytest.mark.parametrize(("faulty", "clip", "canaries"), FAULTS)
def test_planted_faults_are_found(faulty: type[PrivateStepper], clip: float, canaries: int) -> None:
    audit = audit_training(1.0, clip=clip, canaries=canaries, samples=4, at_once=4, stepper=faulty)
    assert audit.verdict == "violated", audit.text()
    assert audit.shown > 1.0


class NoiseForEveryPart(PrivateStepper):
    def _add(self, part: Batch, sums: list[Tensor], seen: object) -> None:
        super()._add(part, sums, seen)  # type: ignore[arg-type]
        self._add_noise(sums, len(part.ids) + 1000 * self.account.updates + int(part.ids[0]))


@pytest.mark.slow
def test_noise_for_every_part_is_more_than_claimed_and_shows() -> None:
    audit = audit_training(1.0, samples=8, at_once=1, canaries=150, stepper=NoiseForEveryPart)
    assert audit.verdict == "consistent"
    assert audit.shown < 0.3
    assert "little is shown" in audit.text()


@pytest.mark.parametrize("chance", [SeededChance(Streams(0)), SecretChance()])
def test_noise_is_standard_normal_and_new_in_every_update(chance: SeededChance | SecretChance) -> None:
    first, second = chance.normal(0, 20_000), chance.normal(1, 20_000)
    assert abs(first.mean()) < 4 / math.sqrt(20_000)
    assert abs(first.var() - 1) < 4 * math.sqrt(2 / 20_000)
    assert abs((first**4).mean() - 3) < 0.3
    assert abs((first * second).mean()) < 4 / math.sqrt(20_000)
    assert (chance.normal(0, 20_000) == first).all(), "a function of the update alone, or resuming would change it"
    lots = chance.lots(0, 0, 20_000)
    assert 0 <= lots.min() < lots.max() < 1
    assert abs(lots.mean() - 0.5) < 4 / math.sqrt(12 * 20_000)
    assert not (chance.lots(0, 1, 100) == lots[:100]).any()


def test_secret_chance_is_nobody_elses() -> None:
    one, other = SecretChance(), SecretChance()
    assert not (one.normal(0, 10) == other.normal(0, 10)).any()
    other.load_state_dict(one.state_dict())
    assert (one.normal(0, 10) == other.normal(0, 10)).all()
    assert len(one.key) == 32
