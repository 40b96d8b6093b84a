"""Extreme logits: no wrong value at any scale, and a count of what the certificate did not trust."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from auscult.ops import ctc_frames, ctc_rescaled
from auscult.ops.ctc import available_backends, ctc_loss
from auscult.ops.ctc_certified import tally
from auscult.ops.ctc_log_domain import LogDomain
from auscult.ops.ctc_problem import read_problem

FAST = [name for name in available_backends("cpu") if name != "reference"]
CLASSES = 20
SCALES = (1, 5, 10, 20, 40, 80)
KINDS = ("random", "drifting", "confident")


class Batch(NamedTuple):
    x: Tensor
    targets: Tensor
    frames: Tensor
    symbols: Tensor


def batch(kind: str, scale: float, frames: int, items: int, seed: int) -> Batch:
    """Random scores; scores that stay what they are for a while; scores of a trained model, sure of nearly the right alignment."""
    random = torch.Generator().manual_seed(seed)
    symbols = torch.randint(frames // 20, frames // 5, (items,), generator=random)
    targets = torch.randint(1, CLASSES, (items, int(symbols.max())), generator=random)
    logits = torch.randn(frames, items, CLASSES, generator=random, dtype=torch.float64)
    if kind == "drifting":
        logits = logits[torch.arange(frames) // 10 * 10]
    if kind == "confident":
        logits = 0.1 * logits
        for i in range(items):
            starts = torch.randperm(frames, generator=random)[: int(symbols[i])].sort().values
            spoken = torch.zeros(frames, dtype=torch.int64)
            spoken[starts] = targets[i, : int(symbols[i])]
            wrong = torch.rand(frames, generator=random) < 0.02
            spoken[wrong] = torch.randint(0, CLASSES, (int(wrong.sum()),), generator=random)
            logits[torch.arange(frames), i, spoken] += 1
    return Batch((scale * logits).log_softmax(2), targets, torch.full((items,), frames), symbols)


def right(one: Batch, backend: str) -> Tensor:
    """Compare all orders with the native function and the log domain; return the losses."""
    x = one.x.clone().requires_grad_()
    losses = ctc_loss(x.log_softmax(2), *one[1:], reduction="none", backend=backend)
    (gradient,) = torch.autograd.grad(losses.sum(), x, create_graph=True)
    native = functional.ctc_loss(x.log_softmax(2), *one[1:], reduction="none")
    (expected,) = torch.autograd.grad(native.sum(), x)
    assert float(((losses - native).detach().abs() / native.detach().abs().clamp(min=1.0)).max()) < 1e-10
    assert float((gradient - expected).detach().abs().max()) < 1e-8, "in the native function logarithms of thousands lose four digits"
    v = torch.randn(x.shape, generator=torch.Generator().manual_seed(9), dtype=torch.float64)
    problem = read_problem(x.shape, one.targets, one.frames, one.symbols, 0)
    exact = LogDomain(one.x, problem, np.ones(len(one.symbols)))
    raw = one.x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(ctc_loss(raw, *one[1:], reduction="sum", backend=backend), raw, create_graph=True)
    (second,) = torch.autograd.grad(gradient, raw, v)
    assert float((second - exact.curvature(v)[1]).abs().max()) < 1e-8 * max(1.0, float(second.abs().max()))
    return losses.detach()


def sweep(backend: str, frames: tuple[int, ...], items: int) -> dict[int, int]:
    """Return how many utterances were refused at each scale."""
    refused = {}
    for scale in SCALES:
        before = tally.refused
        for number, kind in enumerate(KINDS):
            for length in frames:
                for part in range(items // 4):
                    right(batch(kind, scale, length, 4, seed=10000 * number + 10 * length + part), backend)
        refused[scale] = (tally.refused - before) // 2  # every batch is aligned twice
    return refused


@pytest.mark.parametrize("backend", FAST)
def test_no_wrong_value_at_any_scale(backend: str) -> None:
    refused = sweep(backend, (100, 200), 4)
    assert refused[1] == refused[5] == 0
    assert sum(refused.values()) > 0, "nothing extreme happened: the sweep tests nothing"
    assert sum(refused.values()) < 0.5 * 2 * 4 * len(KINDS) * len(SCALES)


@pytest.mark.slow
def test_no_wrong_value_among_1728_utterances(capsys: pytest.CaptureFixture[str]) -> None:
    refused = sweep(FAST[0], (100, 200, 400, 1000), 24)
    with capsys.disabled():
        print(f"\nrefused of 288 at each scale: {refused}")
    assert refused[1] == 0
    assert sum(refused.values()) > 0


def test_without_the_certificate_values_would_be_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    """The plant: a kernel that trusts itself whatever happens."""
    one = batch("drifting", 80, 400, 8, seed=3)
    right(one, "frames")
    monkeypatch.setattr(ctc_rescaled, "RAISED", torch.inf)
    monkeypatch.setattr(ctc_rescaled, "AGREEMENT", torch.inf)
    with pytest.raises(AssertionError):
        right(one, "frames")


def lost_both_ways() -> Batch:
    """Two families of alignments of [1, 3, 4, 3, 2] that weigh the same: long in 1, or long in 2.

    For three frames 2 costs 1200 nats, for eight it wins 2400, for three it costs 1200: seen from either end it vanishes beside 1 before it
    wins, and changing from 1 to 2 in between costs more than it brings.
    """
    x = torch.zeros(24, 1, 5, dtype=torch.float64)
    x[5:8], x[8:16], x[16:19] = -400.0, -300.0, -400.0
    x[5:19, 0, 1] = 0.0
    x[8:16, 0, 2] = 300.0
    return Batch(x, torch.tensor([[1, 3, 4, 3, 2]]), torch.tensor([24]), torch.tensor([5]))


@pytest.mark.parametrize("backend", FAST)
def test_an_alignment_that_vanishes_in_both_directions_is_found(backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Comparing the likelihoods of the two directions cannot see it; the share of raised states does."""
    one = lost_both_ways()
    exact = float(ctc_loss(*one, reduction="sum", backend="reference"))
    before = tally.refused
    assert float(ctc_loss(*one, reduction="sum", backend=backend)) == pytest.approx(exact, abs=1e-11)
    assert tally.refused == before + 1
    monkeypatch.setattr(ctc_rescaled, "RAISED", torch.inf)
    monkeypatch.setattr(ctc_rescaled, "FLOOR", 0.0)
    lossy = ctc_frames.align(one.x, read_problem(one.x.shape, *one[1:], 0), np.ones(1), True)
    assert lossy.trusted is None, "both directions agree"
    assert abs(float(lossy.losses) - exact) > 0.1


@pytest.mark.parametrize("scale", [60, 200, 1000])
@pytest.mark.parametrize("backend", FAST)
def test_far_beyond_the_range_of_floats(backend: str, scale: float) -> None:
    right(batch("random", scale, 150, 3, seed=5), backend)


def test_the_log_domain_is_right_where_autograd_is() -> None:
    one = batch("drifting", 40, 40, 4, seed=2)
    x = one.x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(ctc_loss(x, *one[1:], reduction="sum", backend="reference"), x, create_graph=True)
    v = torch.randn(x.shape, generator=torch.Generator().manual_seed(9), dtype=torch.float64)
    (second,) = torch.autograd.grad(gradient, x, v)
    exact = LogDomain(one.x, read_problem(x.shape, *one[1:], 0), np.ones(4))
    assert torch.allclose(exact.gradient, gradient.detach(), atol=1e-11)
    assert torch.allclose(exact.curvature(v)[1], second, atol=1e-10)


@pytest.mark.parametrize("backend", FAST)
def test_trusted_and_refused_utterances_share_a_batch(backend: str) -> None:
    calm, wild = batch("random", 1, 100, 2, seed=1), batch("random", 200, 100, 2, seed=1)
    x = torch.stack([calm.x[:, 0], wild.x[:, 1]], 1)
    before = tally.refused
    together = right(Batch(x, *calm[1:]), backend)
    assert tally.refused - before == 2, "one utterance, aligned twice"
    for i, part in enumerate((calm, wild)):
        alone = Batch(*(field[:, i : i + 1] if field.dim() == 3 else field[i : i + 1] for field in part))
        assert float(right(alone, backend)) == pytest.approx(float(together[i]), rel=1e-12)
