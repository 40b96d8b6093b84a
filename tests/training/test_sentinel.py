"""The sentinel's rules: spikes, the ladder and its budgets, snapshots."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from auscult.recipe import Guard, Precision
from auscult.training.averaging import MovingAverage
from auscult.training.precision import Arithmetic
from auscult.training.sentinel import TRIP_WINDOW, Diverged, Fault, Sentinel, is_spike
from auscult.training.snapshot import PersistentBuffers


class Windowed(nn.Module):
    """Batch norm and a fixed window, which is no part of the state."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(2)
        self.register_buffer("window", torch.ones(3), persistent=False)


def make(guard: Guard | None = None, compute: str = "float32") -> Sentinel:
    model = Windowed()
    arithmetic = Arithmetic(Precision(compute=compute, device="cpu"))  # type: ignore[arg-type]
    return Sentinel(guard or Guard(window=8), model, torch.optim.SGD(model.parameters(), lr=0.1), arithmetic)


def fill(sentinel: Sentinel, norms: list[float]) -> None:
    for update, norm in enumerate(norms):
        sentinel.succeeded(update, norm)


def test_spike_of_values_with_unit_deviation() -> None:
    window = [99.0, 101.0] * 8
    assert is_spike(window, 100 + 9 * 1.4826, 8)
    assert not is_spike(window, 100 + 7 * 1.4826, 8)
    assert not is_spike(window, 100 - 9 * 1.4826, 8)  # a fall is no harm


def test_a_constant_window_neither_divides_by_zero_nor_trips_on_trifles() -> None:
    sentinel = make()
    fill(sentinel, [2.0] * 8)
    assert not sentinel.spikes(8, 19.9)
    assert sentinel.spikes(8, 20.1)


def test_a_noisy_window_asks_for_more() -> None:
    sentinel = make()
    fill(sentinel, [1.0, 2.0, 4.0, 8.0] * 2)  # deviation of the logarithm about 1
    middle = math.sqrt(8)
    assert not sentinel.spikes(8, middle * 100)
    assert sentinel.spikes(8, middle * math.exp(8 * 1.4826 * 1.04 + 0.1))


def test_no_spike_before_the_window_is_full_or_when_switched_off() -> None:
    early = make()
    fill(early, [1.0] * 7)
    assert not early.spikes(7, 1e9)
    for guard in (Guard(window=8, spike=None), Guard(window=8, enabled=False)):
        switched_off = make(guard)
        fill(switched_off, [1.0] * 8)
        assert not switched_off.spikes(8, 1e9)


def test_spikes_are_refused_a_bounded_number_of_times() -> None:
    sentinel = make(Guard(window=8, trips=2))
    fill(sentinel, [1.0] * 8)
    for update in (8, 9):
        assert sentinel.spikes(update, 100.0)
        assert sentinel.remedy(update, Fault("spike", ("a",))) == "skip"
    assert not sentinel.spikes(10, 100.0)
    assert sentinel.spikes(8 + TRIP_WINDOW, 100.0)  # the first refusal is forgotten


def test_the_ladder_in_float16_and_its_budgets() -> None:
    sentinel = make(Guard(trips=1, snapshots=1), compute="float16")
    sentinel.ring.reset(0)
    remedies = [sentinel.remedy(update, Fault("loss", ("a", "b"), ("b",))) for update in range(4)]
    assert remedies == ["skip", "restore", "float32", "lower_lr"]
    assert not sentinel.arithmetic.reduced
    assert sentinel.rate_factor == 0.5
    assert sentinel.quarantine == {"b": 3}
    with pytest.raises(Diverged, match=r"update 4: the loss is not finite .*last batch: a, b.*audit the data"):
        sentinel.remedy(4, Fault("loss", ("a", "b")))


def test_trips_are_forgotten_after_a_while() -> None:
    sentinel = make(Guard(trips=1, snapshots=1))
    assert [sentinel.remedy(update, Fault("loss")) for update in (0, 1, TRIP_WINDOW, TRIP_WINDOW + 1)] == ["skip", "lower_lr"] * 2


def test_a_poisoned_state_can_only_be_restored() -> None:
    sentinel = make(Guard(snapshots=1))
    sentinel.ring.reset(0)
    assert sentinel.remedy(1, Fault("state")) == "restore"
    with pytest.raises(Diverged, match="the weights or buffers are not finite"):
        sentinel.remedy(2, Fault("state"))


def test_every_remaining_decision_survives_a_restart() -> None:
    first = make(Guard(window=8, trips=2))
    fill(first, [1.0] * 8)
    first.remedy(9, Fault("loss", ("a",), ("a",)))
    first.rate_factor = 0.25
    second = make(Guard(window=8, trips=2))
    fill(second, [5.0] * 3)
    second.load_state_dict(first.state_dict())
    assert second.state_dict() == first.state_dict()
    assert list(second.log_norms) == list(first.log_norms)


def test_buffers_of_the_state_are_copied_and_fixed_ones_are_not() -> None:
    model = Windowed()
    buffers = PersistentBuffers(model)
    assert len(buffers.now()) == 3
    copies = buffers.copies()
    model.norm.running_mean = torch.full((2,), math.nan)  # replaced, not written into
    model.norm.num_batches_tracked += 1  # type: ignore[operator]
    buffers.restore(copies)
    assert model.norm.running_mean.tolist() == [0.0, 0.0]
    assert model.norm.num_batches_tracked.item() == 0  # type: ignore[union-attr]


def test_a_huge_buffer_is_finite_and_a_nan_is_not() -> None:
    sentinel = make()
    mean = sentinel.model.norm.running_mean  # type: ignore[union-attr]
    mean.fill_(1e30)  # type: ignore[operator,union-attr]
    assert sentinel.measure(torch.tensor(1.0), [])[2]
    for bad in (math.nan, math.inf, -math.inf):
        mean[0] = bad  # type: ignore[index]
        assert not sentinel.measure(torch.tensor(1.0), [])[2]


def test_a_poisoned_state_is_not_stored() -> None:
    sentinel = make(Guard(snapshot_every=1, snapshots=3))
    sentinel.succeeded(0, 1.0)
    sentinel.model.norm.weight.data[0] = math.nan  # type: ignore[union-attr,index]
    sentinel.succeeded(1, 1.0)
    assert [state["update"] for state in sentinel.ring.states] == [0]


def test_a_snapshot_is_a_copy_and_brings_everything_back() -> None:
    sentinel = make(Guard(snapshots=2))
    model = sentinel.model
    average = MovingAverage(model, 0.9)
    sentinel.ring.parts["average"] = average
    model.norm.weight.grad = torch.ones(2)  # type: ignore[union-attr]
    sentinel.optimizer.step()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    sentinel.ring.reset(5)
    with torch.no_grad():
        for value in [*model.state_dict().values(), *average.shadow.values()]:
            value.add_(7)
    assert sentinel.ring.restore() == 5
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert average.shadow["norm.bias"].tolist() == [0.0, 0.0]
    assert not sentinel.ring.states


def test_a_guard_that_is_off_keeps_nothing() -> None:
    sentinel = make(Guard(enabled=False))
    sentinel.ring.reset(0)
    assert not sentinel.ring.states
    assert sentinel.copy_buffers() == []
    assert sentinel.cause_of(math.nan, math.nan, False) is None
