"""Losses of separation: known values, silence, what must not change, and what must be seen."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from auscult.errors import UserError
from auscult.losses.permutations import best_orders
from auscult.losses.pit import PitSiSdr, PitSnr
from auscult.registry import lookup
from auscult.testing.known_mixtures import estimates_at

LOSSES = (PitSiSdr, PitSnr)


def at_level(decibels: float, **options: int) -> tuple[Tensor, Tensor]:
    """Sources and estimates in float32."""
    there, said = estimates_at(decibels, **options)
    return torch.from_numpy(there).float(), torch.from_numpy(said).float()


def test_names() -> None:
    assert lookup("loss", "pit_si_sdr") is PitSiSdr
    assert lookup("loss", "pit_snr") is PitSnr


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize(
    ("decibels", "expected"), [(0, -0.00434), (20, -19.58607), (30, -26.98970), (40, -29.58607), (60, -29.99566), (130, -30.0)]
)
def test_soft_threshold_of_30_decibels(loss: type[PitSiSdr], decibels: float, expected: float) -> None:
    sources, estimates = at_level(decibels)
    # 1e-3 of the target's power is added to the error's; at 0 dB the sign of what that adds is positive
    expected = abs(expected) if decibels == 0 else expected
    assert loss(threshold=1e-3)(estimates, sources).values.tolist() == pytest.approx([expected] * 2, abs=2e-5)
    assert loss()(estimates, sources).values.tolist() == pytest.approx([-min(decibels, 130)] * 2, abs=2e-4 if decibels < 100 else 3)


@pytest.mark.parametrize("samples", [7, 499, 500, 8000, 8123])
def test_level_and_mean_of_the_estimate(samples: int) -> None:
    sources, estimates = at_level(20, samples=samples)
    for moved in (estimates, 7.3 * estimates, estimates + 0.25, 0.5 * estimates - 0.1, -estimates):
        assert PitSiSdr()(moved, sources + 0.1).values.tolist() == pytest.approx([-20.0, -20.0], abs=1e-3)
    assert PitSnr()(estimates + 0.25, sources).values.tolist() == pytest.approx([-20.0, -20.0], abs=1e-3)
    assert PitSnr()(2 * estimates, sources).values.tolist() == pytest.approx([10 * np.log10(1 + 4 * 0.01)] * 2, abs=1e-3)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("sources", [1, 2, 3, 4, 5])
def test_order_of_estimates(loss: type[PitSiSdr], sources: int) -> None:
    there, said = at_level(15, sources=sources, batch=1)
    for order in list(permutations(range(sources)))[-20:]:
        result = loss()(said[:, list(order)], there)
        assert [order[place] for place in result.permutation[0].tolist()] == list(range(sources))
        assert result.values.item() == pytest.approx(-15, abs=1e-3)
        assert result.active.all()


@given(st.lists(st.lists(st.floats(-50, 50), min_size=4, max_size=4), min_size=4, max_size=4))
def test_more_than_three_sources_are_assigned_at_least_cost(costs: list[list[float]]) -> None:
    table = np.array(costs)
    found = best_orders(table[None])[0].tolist()
    assert sorted(found) == [0, 1, 2, 3]
    totals = [sum(costs[row][column] for row, column in enumerate(order)) for order in permutations(range(4))]
    assert sum(costs[row][column] for row, column in enumerate(found)) == pytest.approx(min(totals), abs=1e-9)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("decibels", [10, 40])
def test_nothing_given_is_changed(loss: type[PitSiSdr], decibels: float) -> None:
    """SpeechBrain's `cal_si_snr` multiplies the estimates it is given by a mask, in place."""
    sources, estimates = at_level(decibels)
    estimates = (estimates.flip(1) + 0.2).requires_grad_()
    before = sources.clone(), estimates.detach().clone()
    result = loss(threshold=1e-3)(estimates, sources)
    result.values.sum().backward()
    assert torch.equal(sources, before[0])
    assert torch.equal(estimates.detach(), before[1])
    assert result.permutation.tolist() == [[1, 0]] * 2


@pytest.mark.parametrize("loss", LOSSES)
def test_silent_targets_are_left_out_and_counted(loss: type[PitSiSdr]) -> None:
    """With a small constant in the denominators only (auraloss), a silent target decides the mean of its batch."""
    sources, estimates = at_level(10, batch=4)
    sources[1, 0] = 0
    sources[2] = 3e-5 * torch.randn(2, 8000, generator=torch.Generator().manual_seed(0))  # the last bit of 16
    sources[3, 1] = 0.5  # only a mean
    estimates = estimates.requires_grad_()
    result = loss()(estimates, sources)
    assert result.active.tolist() == [[True, True], [False, True], [False, False], [True, False]]
    assert result.values.tolist() == pytest.approx([-10, -10, 0, -10], abs=1e-3)
    assert result.values[2] == 0
    result.values.sum().backward()
    gradient = estimates.grad
    assert gradient is not None
    assert gradient.isfinite().all()
    silent = [[bool((row == 0).all()) for row in item] for item in gradient]
    assert silent == [[False, False], [True, False], [True, True], [False, True]]

    error = (estimates.detach()[1, 0] - sources[1, 0]).square().sum()
    planted = -10 * torch.log10(1e-8 / (error + 1e-8))
    assert planted > 80


@pytest.mark.parametrize("loss", LOSSES)
def test_the_estimates_of_silent_targets_are_free(loss: type[PitSiSdr]) -> None:
    sources, estimates = at_level(10, sources=3, batch=1)
    silenced = sources.clone()
    silenced[0, 1] = 0
    for order in permutations(range(3)):
        result = loss()(estimates[:, list(order)], silenced)
        chosen = [order[place] for place in result.permutation[0].tolist()]
        assert (chosen[0], chosen[2]) == (0, 2)
        assert sorted(chosen) == [0, 1, 2]


@pytest.mark.parametrize(("loss", "moves"), [(PitSiSdr, False), (PitSnr, True)])
def test_silent_estimates(loss: type[PitSiSdr], moves: bool) -> None:
    sources, _ = at_level(0)
    for level in (0.0, 1e-20):
        estimates = torch.full_like(sources, level, requires_grad=True)
        result = loss()(estimates, sources)
        assert result.values.tolist() == pytest.approx([0, 0], abs=1e-3)
        result.values.sum().backward()
        assert estimates.grad is not None
        assert estimates.grad.isfinite().all()
        assert level > 0 or bool(estimates.grad.any()) is moves


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("sources", [2, 4])
def test_what_is_not_finite_is_seen(loss: type[PitSiSdr], sources: int) -> None:
    for which in (0, 1):
        pair = list(at_level(10, batch=3, sources=sources))
        pair[which][1, 0, 5] = float("nan")
        values = loss()(pair[1], pair[0]).values
        assert values.isnan().tolist() == [False, True, False]


@pytest.mark.parametrize("loss", LOSSES)
def test_items_do_not_depend_on_their_batch(loss: type[PitSiSdr]) -> None:
    """Means of batches weigh the items of a short last batch more; values of items cannot."""
    levels = (5, 24, 30, 60, 12)
    pairs = [at_level(decibels, batch=1, seed=seed) for seed, decibels in enumerate(levels)]
    pairs[4] = (pairs[4][0], pairs[4][1] + 0.5)  # mostly a mean, which is taken out first
    sources, estimates = (torch.cat([one[side] for one in pairs]) for side in (0, 1))
    together, alone = loss()(estimates, sources).values, torch.cat([loss()(one[1], one[0]).values for one in pairs])
    assert torch.equal(together, alone)
    assert together.tolist() == pytest.approx([-one for one in levels], abs=1e-3)
    batches = [loss()(estimates[part], sources[part]).values for part in (slice(0, 4), slice(4, 5))]
    assert torch.cat(batches).mean() == together.mean()
    assert abs(torch.stack([one.mean() for one in batches]).mean() - together.mean()) > 5, "what a mean of batch means would report"


@pytest.mark.parametrize("loss", LOSSES)
def test_half_precision_outside(loss: type[PitSiSdr]) -> None:
    sources, estimates = at_level(20)
    halves = estimates.bfloat16().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        result = loss()(halves, sources)
    assert result.values.dtype == torch.float32
    assert torch.equal(result.values, loss()(halves.detach().float(), sources).values)
    result.values.sum().backward()
    assert halves.grad is not None
    assert halves.grad.dtype == torch.bfloat16


def test_refusals() -> None:
    sources, estimates = at_level(20)
    for wrong in (estimates[:, :1], estimates[..., :-1], estimates[0], estimates[:0]):
        with pytest.raises(UserError, match="one shape"):
            PitSiSdr()(wrong, sources)
    with pytest.raises(UserError, match="detach"):
        PitSiSdr()(estimates, sources.requires_grad_())
