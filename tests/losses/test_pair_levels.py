"""Levels and gradients against the obvious way to compute them, in float64 with autograd."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import permutations

import pytest
import torch
from torch import Tensor

from auscult.losses import exact_products
from auscult.losses.pit import PitSiSdr, PitSnr
from auscult.testing.known_mixtures import estimates_at

LOSSES = (PitSiSdr, PitSnr)


def pair(decibels: float, samples: int = 32_000, batch: int = 4, sources: int = 2, seed: int = 0) -> tuple[Tensor, Tensor]:
    there, said = (torch.from_numpy(one) for one in estimates_at(decibels, batch, sources, samples, seed))
    return there, said.flip(1)


def centred(signals: Tensor) -> Tensor:
    return signals - signals.mean(-1, keepdim=True)


def obvious(estimates: Tensor, sources: Tensor, scaled: bool = True, threshold: float = 0.0) -> Tensor:
    """The loss of each item: every order, every pair as a signal."""
    there, said = centred(sources), centred(estimates)
    values = []
    for order in permutations(range(sources.shape[1])):
        chosen = said[:, list(order)]
        gains = (chosen * there).sum(-1, keepdim=True) / there.square().sum(-1, keepdim=True) if scaled else 1.0
        power = (gains * there).square().sum(-1)
        values.append((-10 * torch.log10(power / ((chosen - gains * there).square().sum(-1) + threshold * power))).mean(1))
    return torch.stack(values).amin(0)


@pytest.fixture(params=["highest", "medium"])
def precision(request: pytest.FixtureRequest) -> Iterator[str]:
    """What the program allows matrix products to lose."""
    torch.set_float32_matmul_precision(request.param)
    yield request.param
    torch.set_float32_matmul_precision("highest")


@pytest.mark.parametrize("loss", LOSSES)
def test_values_at_every_level(loss: type[PitSiSdr], precision: str) -> None:
    assert exact_products.keeps_float32() is (precision == "highest")
    for decibels, most in ((-10, 1e-5), (0, 1e-5), (10, 2e-5), (20, 2e-4), (24.9, 6e-4), (25.1, 1e-5), (40, 1e-5), (60, 2e-5), (90, 1e-3)):
        sources, estimates = (one.float() for one in pair(decibels))
        exact = obvious(estimates.double(), sources.double(), loss.scaled)
        assert (loss()(estimates, sources).values - exact).abs().max() < most, decibels


def test_never_less_exact_than_torchmetrics_where_it_is_close() -> None:
    audio = pytest.importorskip("torchmetrics.functional.audio")
    for decibels in (26, 40, 60, 80, 90):
        sources, estimates = (one.float() for one in pair(decibels))
        exact = -obvious(estimates.double(), sources.double())
        theirs, _ = audio.permutation_invariant_training(
            estimates, sources, audio.scale_invariant_signal_distortion_ratio, mode="speaker-wise", eval_func="max", zero_mean=True
        )
        ours = -PitSiSdr()(estimates, sources).values
        assert (ours - exact).abs().max() <= max((theirs - exact).abs().max().item(), 1e-5), decibels


def test_inner_products_alone_are_lost_at_70_decibels() -> None:
    """What the error signal is formed for: the difference of two large sums, as a plain float32 matrix has it."""
    sources, estimates = (one.float() for one in pair(70))
    rows = torch.cat([sources, estimates.flip(1)], dim=1)
    products = rows @ rows.mT
    powers = products[:, 0, 2] ** 2 / products[:, 0, 0]
    planted = 10 * torch.log10(powers / (products[:, 2, 2] - powers).clamp_min(1e-14))
    assert (planted - 70).abs().max() > 5
    assert (PitSiSdr()(estimates, sources).values + 70).abs().max() < 1e-3


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("threshold", [0.0, 1e-3])
def test_gradients_in_float32(loss: type[PitSiSdr], threshold: float, precision: str) -> None:
    for decibels, most in ((0, 1e-5), (20, 1e-5), (24.9, 1e-4), (40, 1e-5), (60, 1e-4)):
        sources, estimates = (one.float() for one in pair(decibels, samples=8_100))
        estimates += 0.01
        exact = estimates.double().requires_grad_()
        (expected,) = torch.autograd.grad(obvious(exact, sources.double(), loss.scaled, threshold).sum(), exact)
        estimates.requires_grad_()
        (gradient,) = torch.autograd.grad(loss(threshold=threshold)(estimates, sources).values.sum(), estimates)
        assert (gradient - expected).norm() / expected.norm() < most, (decibels, precision)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize(("sources", "threshold"), [(1, 0.0), (2, 0.0), (2, 1e-3), (4, 1e-3)])
def test_gradients_in_float64(loss: type[PitSiSdr], sources: int, threshold: float) -> None:
    there, near = pair(32, samples=11, batch=1, sources=sources)
    _, far = pair(3, samples=11, batch=1, sources=sources)
    estimates = torch.cat([near, far, far * 3 + 2])
    targets = there.repeat(3, 1, 1)
    targets[2, 1:] = 0

    def values(signals: Tensor) -> Tensor:
        result: Tensor = loss(threshold=threshold)(signals, targets).values
        return result

    assert torch.autograd.gradcheck(values, estimates.requires_grad_(), atol=1e-6)
    assert values(estimates).dtype == torch.float64


def test_without_gradients_values_are_the_same() -> None:
    sources, estimates = (one.float() for one in pair(27, samples=4_000))
    with torch.inference_mode():
        quiet = PitSiSdr()(estimates, sources).values
    assert torch.equal(quiet, PitSiSdr()(estimates.requires_grad_(), sources).values)


def test_settings_of_both_kinds_do_not_stop_the_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> str:
        raise RuntimeError("mix of the legacy and new APIs")

    monkeypatch.setattr(torch, "get_float32_matmul_precision", refuse)
    assert not exact_products.keeps_float32()
    sources, estimates = (one.float() for one in pair(10, samples=4_000))
    assert PitSiSdr()(estimates, sources).values.tolist() == pytest.approx([-10.0] * 4, abs=1e-3)
