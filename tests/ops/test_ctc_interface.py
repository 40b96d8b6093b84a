"""What `ctc_loss` accepts, refuses and promises as a drop-in: layouts, lengths, infinite losses, third order, messages."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from auscult.errors import UserError
from auscult.ops import ctc
from auscult.ops.ctc import available_backends, ctc_loss

FAST = [name for name in available_backends("cpu") if name != "reference"]
ALL = [*FAST, "reference"]
TARGETS, FRAMES, SYMBOLS = torch.tensor([[1, 1, 2], [2, 0, 0]]), torch.tensor([9, 6]), torch.tensor([3, 1])


def scores(frames: int = 9, batch: int = 2, classes: int = 4) -> Tensor:
    return torch.randn(frames, batch, classes, generator=torch.Generator().manual_seed(0), dtype=torch.float64).log_softmax(2)


def both_orders(loss: Tensor, x: Tensor) -> list[Tensor]:
    (gradient,) = torch.autograd.grad(loss.sum(), x, create_graph=True)
    return [loss.detach(), gradient.detach(), *torch.autograd.grad((gradient * torch.arange(x.shape[-1])).square().sum(), x)]


@pytest.mark.parametrize("backend", ALL)
@pytest.mark.parametrize("dtype", [torch.int32, torch.int64, torch.uint8])
def test_every_way_to_give_targets_and_lengths(backend: str, dtype: torch.dtype) -> None:
    x = scores()
    expected = functional.ctc_loss(x, TARGETS, FRAMES, SYMBOLS)
    for targets in (TARGETS.to(dtype), torch.tensor([1, 1, 2, 2], dtype=dtype)):
        for frames, symbols in ((FRAMES.to(dtype), SYMBOLS.to(dtype)), ([9, 6], [3, 1]), ((9, 6), (3, 1)), (FRAMES, [3, 1])):
            assert float(ctc_loss(x, targets, frames, symbols, backend=backend)) == pytest.approx(float(expected), abs=1e-12)


@pytest.mark.parametrize("backend", ALL)
@pytest.mark.parametrize("blank", [0, 2, 3])
def test_any_blank_and_any_memory_layout(backend: str, blank: int) -> None:
    wide = torch.randn(2, 9, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64).log_softmax(2)
    x = wide[:, :, ::2].transpose(0, 1)
    targets = torch.tensor([[1, 1, 1], [1, 5, 5]])
    expected = functional.ctc_loss(x.contiguous(), targets, FRAMES, SYMBOLS, blank=blank)
    assert float(ctc_loss(x, targets, FRAMES, SYMBOLS, blank, backend=backend)) == pytest.approx(float(expected), abs=1e-12)


@pytest.mark.parametrize("backend", ALL)
@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
def test_one_utterance_without_a_batch(backend: str, reduction: str) -> None:
    x = scores()[:, 0].requires_grad_()
    for frames, symbols in ((torch.tensor(9), torch.tensor(3)), ([9], [3]), (torch.tensor([9]), torch.tensor([3]))):
        found = ctc_loss(x, TARGETS[0], frames, symbols, reduction=reduction, backend=backend)  # type: ignore[arg-type]
        expected = functional.ctc_loss(x, TARGETS[0], torch.tensor(9), torch.tensor(3), reduction=reduction)
        assert found.shape == expected.shape == ()
        assert float(found.detach()) == pytest.approx(float(expected.detach()))
        assert both_orders(found, x)[2].shape == x.shape


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32_at_least(dtype: torch.dtype) -> None:
    x = scores().to(dtype).requires_grad_()
    loss = ctc_loss(x, TARGETS, FRAMES, SYMBOLS)
    assert loss.dtype == torch.float32
    assert float(loss) == pytest.approx(float(ctc_loss(x.detach().double(), TARGETS, FRAMES, SYMBOLS)), rel=1e-6)
    assert torch.autograd.grad(loss, x)[0].dtype == dtype


@pytest.mark.parametrize("backend", FAST)
@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
def test_without_a_path_the_others_are_the_same_to_the_bit(backend: str, reduction: str) -> None:
    """Row 0 has too few frames for its repeats, row 3 none at all for its symbol, row 2 no frames and no symbols (loss 0)."""
    targets, symbols = torch.tensor([[1, 1, 2], [2, 3, 0], [0, 0, 0], [1, 0, 0]]), torch.tensor([3, 2, 0, 1])
    x = scores(batch=4)
    results = {}
    for name, frames in {"possible": [4, 8, 0, 3], "impossible": [3, 8, 0, 0]}.items():
        for zero in (False, True):
            leaf = x.clone().requires_grad_()
            loss = ctc_loss(leaf, targets, frames, symbols, reduction=reduction, zero_infinity=zero, backend=backend)  # type: ignore[arg-type]
            results[name, zero] = both_orders(loss, leaf)
    alike, infinite, zero = results["possible", True], results["impossible", False], results["impossible", True]
    assert all(torch.equal(one, other) for one, other in zip(alike, results["possible", False], strict=True))
    for order in (1, 2):
        for found in (infinite[order], zero[order]):
            assert torch.equal(found[:, 1], alike[order][:, 1])
            assert not found[:, 2:].any()
            assert not found[3:, 0].any()
        assert infinite[order][:3, 0].isnan().all()
        assert not zero[order][:, 0].any()
    native = functional.ctc_loss(x, targets, torch.tensor([3, 8, 0, 0]), symbols, reduction=reduction, zero_infinity=True)
    assert zero[0].tolist() == pytest.approx(native.tolist(), abs=1e-12)
    assert bool(infinite[0].isinf().any())


@pytest.mark.parametrize("backend", ALL)
def test_scores_of_minus_infinity_forbid_paths_and_nothing_else(backend: str) -> None:
    x = scores(batch=3).clone()
    x[2, 0, 3], x[:, 1, 2], x[4, 2, 0] = -torch.inf, -torch.inf, -torch.inf
    targets, symbols, frames = torch.tensor([[1, 1, 2], [2, 0, 0], [1, 3, 0]]), torch.tensor([3, 1, 2]), [9, 6, 7]
    expected = functional.ctc_loss(x, targets, torch.tensor(frames), symbols, reduction="none", zero_infinity=True)
    leaf = x.clone().requires_grad_()
    losses = ctc_loss(leaf, targets, frames, symbols, reduction="none", zero_infinity=True, backend=backend)
    assert losses.tolist() == pytest.approx(expected.tolist(), abs=1e-12)
    if backend != "reference":
        _, gradient, second = both_orders(losses, leaf)
        assert gradient.isfinite().all()
        assert second.isfinite().all()
        assert gradient[4, 2].sum() == pytest.approx(-1)
        assert not gradient[:, 1].any()


@pytest.mark.parametrize("backend", FAST)
def test_a_score_that_is_not_a_number_is_not_hidden(backend: str) -> None:
    x = scores().clone()
    x[3, 1, 2] = torch.nan
    losses = ctc_loss(x.requires_grad_(), TARGETS, FRAMES, SYMBOLS, reduction="none", zero_infinity=True, backend=backend)
    gradient, second = both_orders(losses, x)[1:]
    assert losses.isnan().tolist() == [False, True]
    assert gradient[3, 1].isnan().any()
    assert gradient[:, 0].isfinite().all()
    assert second[:, 0].isfinite().all()


@pytest.mark.parametrize("backend", FAST)
def test_third_order_is_refused_and_the_reference_has_it(backend: str) -> None:
    x = scores().clone().requires_grad_()

    def second(backend: str) -> Tensor:
        loss = ctc_loss(x, TARGETS, FRAMES, SYMBOLS, backend=backend)
        (gradient,) = torch.autograd.grad(loss, x, create_graph=True)
        return torch.autograd.grad(gradient.square().sum(), x, create_graph=True)[0]

    with pytest.raises(RuntimeError, match='a third call it with backend="reference"'):
        torch.autograd.grad(second(backend).square().sum(), x)
    assert torch.equal(second(backend).detach(), second(backend).detach())
    assert float(torch.autograd.grad(second("reference").square().sum(), x)[0].abs().sum()) > 0


@pytest.mark.parametrize("backend", FAST)
def test_arguments_changed_afterwards_do_not_reach_the_derivatives(backend: str) -> None:
    x = scores().clone().requires_grad_()
    targets, frames, symbols = TARGETS.clone(), FRAMES.clone(), SYMBOLS.clone()
    expected = both_orders(ctc_loss(x, targets, frames, symbols, backend=backend), x)
    loss = ctc_loss(x, targets, frames, symbols, backend=backend)
    targets.fill_(3), frames.fill_(1), symbols.fill_(1)
    assert all(torch.equal(one, other) for one, other in zip(both_orders(loss, x), expected, strict=True))
    loss = ctc_loss(x * 1.0, TARGETS, FRAMES, SYMBOLS, backend=backend)
    (gradient,) = torch.autograd.grad(loss, x, create_graph=True)
    gradient.detach().zero_()
    assert torch.equal(torch.autograd.grad(ctc_loss(x, TARGETS, FRAMES, SYMBOLS, backend=backend), x)[0], expected[1])


def test_function_transforms_take_the_plain_operations() -> None:
    x = scores()
    found = torch.func.grad(lambda x: ctc_loss(x, TARGETS, FRAMES, SYMBOLS))(x)
    leaf = x.clone().requires_grad_()
    assert torch.allclose(found, torch.autograd.grad(ctc_loss(leaf, TARGETS, FRAMES, SYMBOLS), leaf)[0], atol=1e-12)


@pytest.mark.parametrize("backend", [None, "frames"])
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"input_lengths": torch.tensor([9, 10])}, r"input_lengths\[1\] of the CTC loss is 10; expected 0 to 9, the frames of log_probs"),
        ({"input_lengths": [-1, 9]}, r"input_lengths\[0\] of the CTC loss is -1"),
        ({"input_lengths": [9]}, "input_lengths of the CTC loss are 1; expected one for each of 2"),
        ({"input_lengths": torch.tensor([9.0, 6.0])}, r"input_lengths of the CTC loss are \[9.0, 6.0\]; expected integers"),
        ({"target_lengths": torch.tensor([3, 4])}, r"target_lengths\[1\] of the CTC loss is 4; expected 0 to 3, the columns of targets"),
        ({"target_lengths": torch.tensor([3, -1])}, r"target_lengths\[1\] of the CTC loss is -1"),
        ({"targets": torch.tensor([[1, 0, 2], [2, 0, 0]])}, "symbol 1 of target 0 of the CTC loss is 0, the blank"),
        ({"targets": torch.tensor([[1, 1, 2], [4, 0, 0]])}, "symbol 0 of target 1 of the CTC loss is 4, outside the classes 0 to 3"),
        ({"targets": torch.tensor([[1, -3, 2], [1, 0, 0]])}, "symbol 1 of target 0 of the CTC loss is -3, outside"),
        ({"targets": torch.tensor([[1, 1, 2]])}, "have 1 rows; log_probs have a batch of 2"),
        ({"targets": torch.tensor([1, 1, 2])}, "3 symbols end to end, but target_lengths add up to 4"),
        ({"targets": torch.tensor([[1.0]])}, "expected integers"),
        ({"blank": 4}, "blank of the CTC loss is 4; expected a class, 0 to 3"),
        ({"blank": -1}, "blank of the CTC loss is -1"),
        ({"reduction": "batch"}, "expected none, mean or sum"),
        ({"log_probs": torch.zeros(9, 0, 4)}, "not empty"),
        ({"log_probs": torch.zeros(9, 2, 4, dtype=torch.int64)}, "expected floats"),
    ],
)
def test_bad_input_is_named(change: dict[str, object], message: str, backend: str | None) -> None:
    given = {"log_probs": scores(), "targets": TARGETS, "input_lengths": FRAMES, "target_lengths": SYMBOLS} | change
    with pytest.raises(UserError, match=message):
        ctc_loss(**given, backend=backend)  # type: ignore[arg-type]


def test_backends_are_named_and_a_missing_one_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    given = (scores(), TARGETS, FRAMES, SYMBOLS)
    with pytest.raises(UserError, match='did you mean "numba"'):
        ctc_loss(*given, backend="nunba")
    with pytest.raises(UserError, match='"triton" of the CTC loss does not run on "cpu"'):
        ctc_loss(*given, backend="triton")
    monkeypatch.setattr(ctc, "_importable", lambda name: False)
    ctc._fast.cache_clear()
    available_backends.cache_clear()
    try:
        with pytest.raises(UserError, match=r"auscult\[speed\]"):
            ctc_loss(*given, backend="numba")
        assert available_backends("cpu") == ("frames", "reference")
        assert float(ctc_loss(*given)) == pytest.approx(float(functional.ctc_loss(*given)))
    finally:
        ctc._fast.cache_clear()
        available_backends.cache_clear()


def test_numba_is_imported_when_it_is_used() -> None:
    code = "import sys, auscult.ops.ctc; assert 'numba' not in sys.modules and 'torch._dynamo' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
