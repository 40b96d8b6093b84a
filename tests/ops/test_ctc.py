"""Values and both orders of the CTC kernels against enumeration, autograd, the native function and closed forms, on every backend."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.autograd import gradcheck, gradgradcheck
from torch.nn import functional

from auscult.ops.ctc import available_backends, ctc_loss
from auscult.ops.ctc_reference import enumerated_loss

FAST = [name for name in available_backends("cpu") if name != "reference"]
TARGETS = ([1, 1, 2], [3, 2, 1], [2])


def random(*shape: int, seed: int = 0, scale: float = 1.0, dtype: torch.dtype = torch.float64) -> Tensor:
    return scale * torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def rows(targets: Sequence[Sequence[int]]) -> Tensor:
    longest = max(len(one) for one in targets)
    return torch.tensor([[*one, *[-7] * (longest - len(one))] for one in targets], dtype=torch.int64).reshape(len(targets), longest)


def orders(
    x: Tensor, targets: Sequence[Sequence[int]], frames: Sequence[int], v: Tensor, backend: str | None, **options: object
) -> list[Tensor]:
    """Losses, gradient, Hessian product, and the derivative of <gradient, v> by each utterance's factor."""
    x = x.detach().clone().requires_grad_()
    factors = torch.ones(len(targets), dtype=x.dtype, requires_grad=True)
    given = (rows(targets), torch.tensor(frames), torch.tensor([len(one) for one in targets]))
    losses = ctc_loss(x, *given, reduction="none", backend=backend)
    (gradient,) = torch.autograd.grad(losses, x, factors, create_graph=True)
    second, by_factor = torch.autograd.grad(gradient, (x, factors), v)
    return [losses.detach(), gradient.detach(), second, by_factor]


def difference(found: Sequence[Tensor], expected: Sequence[Tensor]) -> float:
    return max(float((one - other).detach().abs().max()) for one, other in zip(found, expected, strict=True))


@pytest.mark.parametrize("backend", FAST)
@pytest.mark.parametrize("normalise", [False, True])
def test_gradcheck_of_both_orders(backend: str, normalise: bool) -> None:
    given = (rows(TARGETS), torch.tensor([9, 8, 6]), torch.tensor([3, 3, 1]))

    def loss(x: Tensor) -> Tensor:
        return ctc_loss(x.log_softmax(2) if normalise else x, *given, reduction="none", backend=backend)

    x = random(9, 3, 4, scale=2.2).requires_grad_()
    assert gradcheck(loss, (x,))
    assert gradgradcheck(loss, (x,))


@settings(max_examples=6)
@given(st.data())
def test_gradcheck_of_both_orders_over_random_lengths(data: st.DataObject) -> None:
    frames = data.draw(st.lists(st.integers(4, 6), min_size=1, max_size=2))
    targets = [data.draw(st.lists(st.integers(1, 2), max_size=2)) for _ in frames]
    reduction = data.draw(st.sampled_from(["mean", "sum"]))
    x = random(max(frames), len(frames), 3, seed=data.draw(st.integers(0, 99))).requires_grad_()
    given = (rows(targets), frames, [len(one) for one in targets])
    for backend in FAST:

        def loss(x: Tensor, backend: str = backend) -> Tensor:
            return ctc_loss(x, *given, reduction=reduction, backend=backend)  # type: ignore[arg-type]

        assert gradcheck(loss, (x,))
        assert gradgradcheck(loss, (x,))


@pytest.mark.parametrize("backend", [*FAST, "reference"])
@pytest.mark.parametrize("frames", [1, 2, 3, 4, 5, 6])
def test_all_orders_against_enumeration_of_paths(frames: int, backend: str) -> None:
    for number, target in enumerate(([], [1], [2, 1], [1, 1], [3, 1, 3], [2, 2, 1])):
        if frames < len(target) + sum(one == other for one, other in pairwise(target)):
            continue
        x, v = random(frames + 2, 1, 4, seed=number, scale=1.5), random(frames + 2, 1, 4, seed=99)
        leaf = x.clone().requires_grad_()
        loss = enumerated_loss(leaf[:frames, 0], target, 0)
        (gradient,) = torch.autograd.grad(loss, leaf, create_graph=True)
        second = torch.autograd.grad(gradient, leaf, v)[0] if target else torch.zeros_like(x)
        found = orders(x, [target], [frames], v, backend)
        assert difference(found, [loss.detach()[None], gradient.detach(), second, (gradient.detach() * v).sum()[None]]) < 1e-12


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("backend", FAST)
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_first_order_is_that_of_the_native_function(backend: str, reduction: str, dtype: torch.dtype) -> None:
    x = random(60, 4, 12, scale=3).to(dtype).requires_grad_()
    targets = torch.randint(1, 12, (4, 15), generator=torch.Generator().manual_seed(1))
    given = (targets, torch.tensor([60, 47, 33, 58]), torch.tensor([15, 9, 1, 0]))
    found, expected = (
        [loss, *torch.autograd.grad(loss.sum(), x)]
        for loss in (
            ctc_loss(x.log_softmax(2), *given, reduction=reduction, backend=backend),  # type: ignore[arg-type]
            functional.ctc_loss(x.log_softmax(2), *given, reduction=reduction),
        )
    )
    assert found[0].dtype == dtype
    tolerance = 1e-10 if dtype == torch.float64 else 1e-5
    assert difference(found, expected) < tolerance * max(1.0, float(expected[0].detach().abs().max()))


def test_float32_is_right_to_its_last_digits_at_both_orders() -> None:
    x, v = random(200, 2, 20, scale=2), random(200, 2, 20, seed=1)
    targets = torch.randint(1, 20, (2, 40), generator=torch.Generator().manual_seed(1)).tolist()
    exact = orders(x.float().double(), targets, [200, 170], v.float().double(), "reference")
    for backend in FAST:
        for found, wanted in zip(orders(x.float(), targets, [200, 170], v.float(), backend), exact, strict=True):
            assert found.dtype == torch.float32
            assert float((found - wanted).abs().max() / wanted.abs().max()) < 2e-6


def test_all_backends_agree_and_padding_is_never_read() -> None:
    targets, frames = [[1, 1, 2, 5], [3], [], [4, 2, 4, 4]], [30, 9, 4, 23]
    x, v = random(30, 4, 6, scale=3), random(30, 4, 6, seed=2)
    expected = orders(x, targets, frames, v, "reference")
    for i, length in enumerate(frames):
        x[length:, i] = torch.nan
    for backend in FAST:
        found = orders(x, targets, frames, v, backend)
        assert difference(found, expected) < 1e-12
        for i, length in enumerate(frames):
            assert not found[1][length:, i].any()
            assert not found[2][length:, i].any()


@pytest.mark.parametrize("backend", FAST)
def test_a_batch_is_its_utterances_and_padding_or_order_change_nothing(backend: str) -> None:
    targets, frames = [[1, 2, 3, 3], [3], [5, 4, 5]], [20, 5, 11]
    x, v = random(20, 3, 6, scale=3), random(20, 3, 6, seed=2)
    together = orders(x, targets, frames, v, backend)
    for i, (target, length) in enumerate(zip(targets, frames, strict=True)):
        alone = orders(x[:length, i : i + 1], [target], [length], v[:length, i : i + 1], backend)
        wanted = [together[0][i : i + 1], together[1][:length, i : i + 1], together[2][:length, i : i + 1], together[3][i : i + 1]]
        assert difference(alone, wanted) < 1e-12
    order = [2, 0, 1]
    permuted = orders(x[:, order], [targets[i] for i in order], [frames[i] for i in order], v[:, order], backend)
    wanted = [together[0][order], together[1][:, order], together[2][:, order], together[3][order]]
    assert all(torch.equal(one, other) for one, other in zip(permuted, wanted, strict=True))


@pytest.mark.parametrize(
    ("frames", "classes", "target", "expected"),
    [
        (51, 29, [*range(1, 29)], 126.4004623852),
        (57, 29, [*range(1, 29), 1, 2], 140.4347175942),
        (49, 29, [*range(1, 22)], 120.2200766405),
        (6, 4, [1, 2], 4.0692709247),
        (6, 4, [1, 1, 2], 4.9855616565),
    ],
)
def test_uniform_scores_count_the_paths(frames: int, classes: int, target: list[int], expected: float) -> None:
    repeats = sum(one == other for one, other in pairwise(target))
    paths = math.comb(frames + len(target) - repeats, 2 * len(target))
    assert frames * math.log(classes) - math.log(paths) == pytest.approx(expected, abs=1e-9)
    x = torch.zeros(frames, 1, classes, dtype=torch.float64).log_softmax(2)
    for backend in [*FAST, "reference"]:
        assert float(ctc_loss(x, torch.tensor([target]), [frames], [len(target)], reduction="sum", backend=backend)) == pytest.approx(
            expected, abs=1e-9
        )


@pytest.mark.parametrize("backend", [*FAST, "reference"])
def test_a_case_by_hand(backend: str) -> None:
    v = torch.zeros(2, 1, 3, dtype=torch.float64)
    v[0, 0, 1] = 1
    loss, gradient, second, by_factor = orders(torch.zeros(2, 1, 3, dtype=torch.float64), [[1]], [2], v, backend)
    assert float(loss) == pytest.approx(-math.log(3))
    assert gradient[:, 0].flatten().tolist() == pytest.approx([-1 / 3, -2 / 3, 0, -1 / 3, -2 / 3, 0])
    assert second[:, 0].flatten().tolist() == pytest.approx([2 / 9, -2 / 9, 0, -1 / 9, 1 / 9, 0])
    assert float(by_factor) == pytest.approx(-2 / 3)


@pytest.mark.parametrize("backend", FAST)
def test_invariants_of_an_exponential_family(backend: str) -> None:
    targets, frames = [[1, 2, 2, 4], [3, 1]], [25, 14]
    x, u, v = random(25, 2, 6, scale=4), random(25, 2, 6, seed=1), random(25, 2, 6, seed=2)
    live = torch.arange(25)[:, None] < torch.tensor(frames)
    _, gradient, of_v, _ = orders(x, targets, frames, v, backend)
    of_u = orders(x, targets, frames, u, backend)[2]
    assert float((gradient.sum(2) + live.double()).abs().max()) < 1e-13
    assert float(of_v.sum(2).abs().max()) < 1e-13
    assert float((u * of_v).sum()) == pytest.approx(float((v * of_u).sum()), rel=1e-10)
    assert float((v * of_v).sum()) <= 0, "the Hessian of the log-likelihood is a covariance"
    constant = random(25, 2, 1, seed=3).expand(25, 2, 6)
    assert float(orders(x, targets, frames, constant, backend)[2].abs().max()) < 1e-13
