"""One bad batch, in every way the field knows: parameters and buffers stay finite, the culprit is named, the group keeps its mean."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest
import torch
from torch import nn

from auscult.recipe import Guard, Precision
from auscult.streams import Streams
from auscult.tasks.base import Loss
from auscult.testing.toy_task import ToyBatch, ToyTask
from auscult.training.precision import Arithmetic
from auscult.training.sentinel import Diverged, Sentinel
from auscult.training.stepper import Step, Stepper


def make(
    task: ToyTask | None = None, guard: Guard | None = None, compute: str = "float32", lr: float = 0.01, clip: float | None = None
) -> Stepper:
    task = task or ToyTask()
    torch.manual_seed(0)
    model = task.build_model()
    optimizer = torch.optim.SGD(model.parameters(), lr=lr)
    arithmetic = Arithmetic(Precision(compute=compute, device="cpu"))  # type: ignore[arg-type]
    sentinel = Sentinel(guard or Guard(), model, optimizer, arithmetic)
    return Stepper(task, model, optimizer, arithmetic, sentinel, streams=Streams(0), clip=clip)


def finite(model: nn.Module) -> bool:
    return all(bool(value.isfinite().all()) for value in model.state_dict().values() if value.is_floating_point())


def poisoned(batch: ToyBatch, value: float, item: int = 0) -> ToyBatch:
    features = batch.features.clone()
    features[item, 0] = value
    return dataclasses.replace(batch, features=features)


def run(stepper: Stepper, updates: int, change: Any = lambda index, batch: batch) -> list[Step]:
    task = stepper.task
    assert isinstance(task, ToyTask)
    return [stepper.step([change(index, task.batch(index))], index) for index in range(updates)]


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_r4_nan_batch_keeps_buffers_and_window(value: float) -> None:
    stepper = make()
    steps = run(stepper, 10, lambda index, batch: poisoned(batch, value) if index == 5 else batch)
    assert finite(stepper.model)
    assert [step.applied for step in steps] == [True] * 5 + [False] + [True] * 4
    [(fault, remedy)] = steps[5].faults
    assert fault.culprits == ("batch5-item0",)
    assert fault.ids == tuple(f"batch5-item{item}" for item in range(4))
    assert remedy == "skip"
    assert "batch5-item0" in stepper.sentinel.quarantine
    assert math.isfinite(stepper.task.loss(stepper.model.eval(), stepper.task.batch(99)).value.item())  # type: ignore[attr-defined]


def test_skipping_the_step_alone_leaves_poisoned_buffers() -> None:
    """The planted bug of every other trainer: shows that the test above can fail."""
    task = ToyTask()
    model = task.build_model().train()
    loss = task.loss(model, poisoned(task.batch(5), float("nan")))
    assert not math.isfinite(float(loss.value))  # "if not finite: continue"
    assert not finite(model)


def test_exploding_but_finite_gradient_is_a_spike() -> None:
    stepper = make(guard=Guard(window=16))
    run(stepper, 16)
    before = [parameter.clone() for parameter in stepper.parameters]
    batch = stepper.task.batch(16)  # type: ignore[attr-defined]
    step = stepper.step([dataclasses.replace(batch, targets=batch.targets * 1e6)], 16)
    assert not step.applied
    assert step.faults[0][0].cause == "spike"
    assert step.faults[0][0].ids == batch.ids
    assert all(torch.equal(a, b) for a, b in zip(before, stepper.parameters, strict=True))


def test_nan_inside_the_forward_pass_names_the_batch() -> None:
    stepper = make()
    calls = {"count": 0}

    def hook(module: nn.Module, inputs: Any, output: torch.Tensor) -> torch.Tensor:
        calls["count"] += 1
        return output * float("nan") if calls["count"] == 4 else output

    stepper.model[2].register_forward_hook(hook)  # type: ignore[index]
    steps = run(stepper, 8)
    assert finite(stepper.model)
    [(fault, _)] = steps[3].faults
    assert fault.culprits == ()  # did not come back when the items were tried alone
    assert fault.ids[0] == "batch3-item0"


def test_nan_in_a_buffer_is_restored_from_the_ring() -> None:
    stepper = make(guard=Guard(snapshot_every=1))
    run(stepper, 5)
    stepper.model[1].running_mean[0] = float("nan")  # type: ignore[index,union-attr,operator]
    step = stepper.step([stepper.task.batch(5)], 5)  # type: ignore[attr-defined]
    assert step.faults[0][0].cause == "state"
    assert step.faults[0][1] == "restore"
    assert finite(stepper.model)


def test_nan_in_a_weight_is_restored_from_the_ring() -> None:
    stepper = make(guard=Guard(snapshot_every=1))
    run(stepper, 5)
    with torch.no_grad():
        stepper.model[0].weight[0, 0] = float("nan")  # type: ignore[index,operator]
    step = stepper.step([stepper.task.batch(5)], 5)  # type: ignore[attr-defined]
    assert step.faults[0][1] == "restore"
    assert finite(stepper.model)


class _Overflowing(ToyTask):
    """Loss too large for float16 gradients at the first scales."""

    def loss(self, model: nn.Module, batch: ToyBatch) -> Loss:
        inner = super().loss(model, batch)
        return Loss(inner.value * 50.0, inner.items)


def test_float16_overflow_lowers_the_scale_and_is_no_trip() -> None:
    stepper = make(_Overflowing(), compute="float16", lr=1e-5)
    stepper.arithmetic.scale.value = 2.0**20
    steps = run(stepper, 30)
    rescaled = [step for step in steps if step.faults]
    assert rescaled
    assert all(fault.cause == "scale" and remedy == "rescale" for step in rescaled for fault, remedy in step.faults)
    assert steps[-1].applied
    assert finite(stepper.model)
    assert not stepper.sentinel.quarantine


def test_ladder_ends_in_diverged() -> None:
    stepper = make(guard=Guard(trips=1, snapshots=1))
    batch = stepper.task.batch(0)  # type: ignore[attr-defined]
    bad = dataclasses.replace(batch, targets=batch.targets * float("nan"))
    remedies = [remedy for index in range(2) for _, remedy in stepper.step([bad], index).faults]
    assert remedies == ["skip", "lower_lr"]
    with pytest.raises(Diverged, match=r"loss is not finite .* lower optimizer\.lr"):
        stepper.step([bad], 2)
    assert finite(stepper.model)


def test_bad_micro_batch_leaves_the_mean_of_the_others() -> None:
    """A trainer that zeroes the accumulation window, or divides by all micro-batches, gets this wrong."""
    task = ToyTask(batch_norm=False)
    with_bad, without = make(task), make(task)
    good = [task.batch(1, 3), task.batch(2, 5)]
    with_bad.step([good[0], poisoned(task.batch(3), float("nan")), good[1]], 0)
    without.step(good, 0)
    assert all(torch.equal(a, b) for a, b in zip(with_bad.parameters, without.parameters, strict=True))


def test_accumulation_equals_one_large_batch() -> None:
    task = ToyTask(batch_norm=False)
    parts, whole = make(task), make(task)
    first, second = task.batch(1, 3), task.batch(2, 5)
    joined = ToyBatch(torch.cat([first.features, second.features]), torch.cat([first.targets, second.targets]), first.ids + second.ids)
    a, b = parts.step([first, second], 0), whole.step([joined], 0)
    assert a.loss == pytest.approx(b.loss, rel=1e-6)
    assert a.gradient_norm == pytest.approx(b.gradient_norm, rel=1e-5)
    assert all(torch.allclose(x, y, atol=1e-7) for x, y in zip(parts.parameters, whole.parameters, strict=True))


def test_clipping_scales_to_the_stated_norm() -> None:
    stepper = make(lr=1.0, clip=0.5)
    before = [parameter.clone() for parameter in stepper.parameters]
    step = run(stepper, 1)[0]
    assert step.gradient_norm > 0.5
    moved = torch.cat([(b - a).flatten() for a, b in zip(before, stepper.parameters, strict=True)])
    assert float(moved.norm()) == pytest.approx(0.5, rel=1e-4)


def test_metric_after_a_bad_batch_is_that_of_a_clean_run() -> None:
    clean, hit = make(lr=0.05), make(lr=0.05)
    run(clean, 300)
    run(hit, 300, lambda index, batch: poisoned(batch, float("nan")) if index in (20, 150) else batch)
    losses = []
    for stepper in (clean, hit):
        stepper.model.eval()
        items = [item for index in range(1000, 1050) for item in stepper.task.judge(stepper.model, stepper.task.batch(index))]  # type: ignore[attr-defined]
        losses.append(stepper.task.summarise(items)["error"])
    assert losses[1] == pytest.approx(losses[0], rel=0.2)


class _Steep(ToyTask):
    """Gradients that are finite one batch at a time, and whose sum has no finite norm."""

    def loss(self, model: nn.Module, batch: ToyBatch) -> Loss:
        return Loss(sum(parameter.sum() for parameter in model.parameters()) * 2e17, len(batch.ids))


def test_a_sum_of_finite_gradients_that_overflows_is_refused() -> None:
    """Clipping by an infinite norm multiplies infinity by zero: every weight would be NaN."""
    task = _Steep(batch_norm=False)
    stepper = make(task, clip=1.0)
    assert stepper.step([task.batch(0)], 0).applied
    step = stepper.step([task.batch(index) for index in range(4)], 1)
    assert not step.applied
    assert [(fault.cause, len(fault.ids), remedy) for fault, remedy in step.faults] == [("gradient", 16, "skip")]
    assert finite(stepper.model)


def test_what_only_overflows_float16_is_not_blamed_on_the_data() -> None:
    task = ToyTask(batch_norm=False)
    stepper = make(task, guard=Guard(trips=1, snapshots=1), compute="float16", lr=1e-6)
    batch = task.batch(0)
    features = batch.features.clone()
    features[1] = 7e4  # beyond the largest float16
    large = dataclasses.replace(batch, features=features)
    remedies = []
    for update in range(2):
        [(fault, remedy)] = stepper.step([large], update).faults
        remedies.append(remedy)
        assert fault.culprits == ()
        assert fault.ids == batch.ids
    assert remedies == ["skip", "float32"]
    assert not stepper.sentinel.quarantine
    assert stepper.step([large], 2).applied
    assert finite(stepper.model)
