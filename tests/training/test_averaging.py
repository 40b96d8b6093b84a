"""The moving average and the average of the best, against their definitions."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from auscult.training.averaging import MovingAverage, average_states


def model(value: float = 0.0) -> nn.BatchNorm1d:
    made = nn.BatchNorm1d(1)
    with torch.no_grad():
        made.weight.fill_(value)
    return made


def test_the_average_follows_its_formula_and_warms_up() -> None:
    one = model(0.0)
    average = MovingAverage(one, 0.5)
    expected = 0.0
    for update in range(1, 8):
        with torch.no_grad():
            one.weight.fill_(float(update))
        average.update()
        decay = min(0.5, (1 + update) / (10 + update))
        expected = decay * expected + (1 - decay) * update
        assert average.shadow["weight"].item() == pytest.approx(expected, rel=1e-6)


def test_buffers_are_averaged_and_counters_copied() -> None:
    one = model()
    average = MovingAverage(one, 0.99)
    one.train()
    for _ in range(5):
        one(torch.tensor([[3.0], [5.0]]))
        average.update()
    assert 0 < average.shadow["running_mean"].item() < one.running_mean.item() + 1e-6  # type: ignore[union-attr]
    assert average.shadow["num_batches_tracked"].item() == 5


def test_swapping_puts_the_trained_weights_back_also_after_an_error() -> None:
    one = model(0.0)
    average = MovingAverage(one, 0.9)
    with torch.no_grad():
        one.weight.fill_(1.0)
    seen = []

    def judge() -> None:
        with average.swapped_in():
            seen.append(one.weight.item())
            raise KeyError

    with pytest.raises(KeyError):
        judge()
    assert seen == [0.0]
    assert one.weight.item() == 1.0
    assert average.shadow["weight"].item() == 0.0


def test_a_resumed_average_goes_on_where_it_was() -> None:
    one = model(0.0)
    first = MovingAverage(one, 0.9)
    with torch.no_grad():
        one.weight.fill_(2.0)
    first.update()
    second = MovingAverage(one, 0.9)
    second.load_state_dict({"updates": first.updates, "shadow": {name: value.clone() for name, value in first.shadow.items()}})
    for average in (first, second):
        average.update()
    assert torch.equal(first.shadow["weight"], second.shadow["weight"])


def test_the_mean_of_states_is_exact_and_counters_come_from_the_first() -> None:
    states = [{"w": torch.tensor([1.0, 1e8]), "n": torch.tensor(index)} for index in range(3)]
    states[2]["w"] = torch.tensor([4.0, 1e8])
    mean = average_states(states)
    assert mean["w"].tolist() == [2.0, 1e8]
    assert mean["w"].dtype == torch.float32
    assert mean["n"].item() == 0
