"""One private update: what an utterance can do to it, and what it cannot."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from auscult.recipe import Guard, Precision
from auscult.streams import Streams
from auscult.testing.toy_task import ToyBatch, ToyTask
from auscult.training.dp_accountant import PrivacyAccount
from auscult.training.dp_noise import SeededChance
from auscult.training.dp_step import PrivateStepper
from auscult.training.precision import Arithmetic
from auscult.training.sentinel import Sentinel

CLIP, NOISE, EXPECTED = 2.0, 1.5, 4


class Silence(SeededChance):
    def normal(self, update: int, count: int) -> np.ndarray:
        return np.zeros(count)


def make(chance: SeededChance | None = None, at_once: int = 8, guard: Guard | None = None) -> PrivateStepper:
    task = ToyTask(batch_norm=False)
    torch.manual_seed(0)
    model = task.build_model()
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    arithmetic = Arithmetic(Precision(device="cpu"))
    account = PrivacyAccount(NOISE, 0.1, CLIP, 1e-5, "rdp")
    return PrivateStepper(
        task, model, optimizer, arithmetic, Sentinel(guard or Guard(), model, optimizer, arithmetic), streams=Streams(0), account=account,
        chance=chance or Silence(Streams(0)), expected=EXPECTED, at_once=at_once,
    )  # fmt: skip


def update(batches: list[ToyBatch], **settings: Any) -> Tensor:
    """What one update takes away from the weights."""
    stepper = make(**settings)
    before = weights(stepper)
    stepper.step(batches, 0)
    return before - weights(stepper)


def weights(stepper: PrivateStepper) -> Tensor:
    return torch.cat([parameter.detach().flatten().clone() for parameter in stepper.parameters])


def toy(items: int = 6) -> ToyBatch:
    return ToyTask(batch_norm=False).batch(3, items)


def test_an_update_is_the_sum_of_clipped_gradients_over_the_expected_number() -> None:
    batch, total = toy(), torch.zeros(())
    norms = []
    for item in range(6):
        stepper = make()
        stepper.task.loss(stepper.model, batch.select([item])).value.backward()
        gradient = torch.cat([parameter.grad.flatten() for parameter in stepper.parameters])  # type: ignore[union-attr]
        norms.append(float(gradient.norm()))
        total = total + gradient * min(1.0, CLIP / norms[-1])
    assert min(norms) < CLIP < max(norms)
    assert torch.allclose(update([batch]), total / EXPECTED, atol=1e-6)
    for at_once in (1, 2, 4):
        assert torch.allclose(update([batch], at_once=at_once), total / EXPECTED, atol=1e-6), "parts change nothing"


def test_no_utterance_moves_an_update_by_more_than_the_clip_over_the_expected_number() -> None:
    batch = toy()
    loud = dataclasses.replace(batch, targets=batch.targets * 1e6)
    whole, without = update([loud]), update([loud.select(range(5))])
    assert float((whole - without).norm()) == pytest.approx(CLIP / EXPECTED, rel=1e-4)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_an_utterance_that_is_not_finite_counts_as_zero_and_nobody_is_quarantined(value: float) -> None:
    batch = toy()
    features = batch.features.clone()
    features[2, 0] = value
    assert torch.allclose(update([dataclasses.replace(batch, features=features)]), update([batch.select([0, 1, 3, 4, 5])]), atol=1e-6)
    stepper = make()
    step = stepper.step([dataclasses.replace(batch, features=features)], 0)
    assert step.applied
    assert not step.faults
    assert not stepper.sentinel.quarantine
    assert step.terms["not_finite_utterances"] == pytest.approx(1 / 6)


def test_an_empty_batch_is_an_update_of_noise_alone_and_is_paid_for() -> None:
    stepper = make(SeededChance(Streams(7)))
    before = weights(stepper)
    step = stepper.step([], 4)
    noise = torch.from_numpy(SeededChance(Streams(7)).normal(4, len(before)) * NOISE * CLIP / EXPECTED).float()
    assert torch.allclose(before - weights(stepper), noise, atol=1e-6)
    assert (step.items, step.applied, step.terms) == (0, True, {})
    assert math.isnan(step.loss)
    assert stepper.account.updates == 1


def test_noise_is_added_once_however_many_parts_a_batch_has() -> None:
    batch = toy()
    noise = [update([batch], chance=SeededChance(Streams(7)), at_once=at_once) - update([batch]) for at_once in (8, 2)]
    assert torch.allclose(noise[0], noise[1], atol=1e-6)
    assert float(noise[0].std()) == pytest.approx(NOISE * CLIP / EXPECTED, rel=0.2)


def test_a_refused_update_is_paid_for() -> None:
    stepper = make(SeededChance(Streams(7)), guard=Guard(window=2, spike=1.5))
    for number in range(3):
        stepper.step([toy()], number)
    stepper.account.clip *= 1e6  # the noise grows with it
    step = stepper.step([toy()], 3)
    assert not step.applied
    assert step.faults[0][0].cause == "spike"
    assert stepper.account.updates == 4
