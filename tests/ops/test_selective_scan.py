# ruff: noqa: N803, N806
from __future__ import annotations

import sys
from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from auscult.errors import MissingExtra, UserError
from auscult.ops import selective_scan as module
from auscult.ops.selective_scan import available_backends, selective_scan

FAST = [name for name in ("numba", "torch") if name in available_backends("cpu")]
SHAPES = [(1, 1, 3, 2), (2, 7, 5, 3), (3, 70, 20, 16), (1, 150, 256, 16)]
"""(rows, length, channels, states): one step; less than one vector of channels; a part of a vector left over; whole vectors"""


def tensors(rows: int, length: int, channels: int, states: int, dtype: torch.dtype = torch.float32) -> list[Tensor]:
    random = torch.Generator().manual_seed(rows + length)
    u, dt, B, C = (torch.randn(rows, length, size, generator=random, dtype=dtype) for size in (channels, channels, states, states))
    A = -torch.arange(1, states + 1, dtype=dtype) * torch.rand(channels, 1, generator=random, dtype=dtype).add(0.5)
    D = torch.randn(channels, generator=random, dtype=dtype)
    return [one.requires_grad_() for one in (u, torch.nn.functional.softplus(dt - 2).detach(), A, B, C, D)]


def results(run: Callable[..., Tensor], inputs: list[Tensor]) -> list[Tensor]:
    y = run(*inputs)
    weights = torch.linspace(-1, 1, y.numel(), dtype=y.dtype, device=y.device).view_as(y)
    return [y, *torch.autograd.grad((y * weights).sum(), inputs)]


def assert_close(found: list[Tensor], expected: list[Tensor], tolerance: float) -> None:
    for one, other in zip(found, expected, strict=True):
        assert one.dtype == other.dtype
        assert (one - other).abs().max() <= tolerance * max(1.0, other.detach().abs().max().item())


def equations(u: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor) -> Tensor:
    """The equations of the docstring, index by index."""
    y = torch.zeros_like(u)
    for r in range(u.shape[0]):
        for d in range(u.shape[2]):
            for n in range(A.shape[1]):
                h = 0.0
                for t in range(u.shape[1]):
                    h = float(torch.exp(dt[r, t, d] * A[d, n])) * h + float(dt[r, t, d] * u[r, t, d] * B[r, t, n])
                    y[r, t, d] += C[r, t, n] * h
    return y + u * D


def test_reference_is_the_equations() -> None:
    inputs = [one.detach() for one in tensors(2, 7, 5, 3, torch.float64)]
    assert (selective_scan(*inputs, backend="reference") - equations(*inputs)).abs().max() < 1e-12


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("backend", FAST)
def test_agrees_with_the_reference(backend: str, shape: tuple[int, int, int, int], reverse: bool) -> None:
    inputs = tensors(*shape)
    expected = results(lambda *given: selective_scan(*given, backend="reference", reverse=reverse), inputs)
    for segment in (None, 3):
        found = results(lambda *given, steps=segment: selective_scan(*given, backend=backend, segment=steps, reverse=reverse), inputs)
        assert_close(found, expected, 1e-5)


@pytest.mark.parametrize("backend", [*FAST, "reference"])
def test_reverse_is_the_scan_of_flipped_time(backend: str) -> None:
    u, dt, A, B, C, D = tensors(2, 11, 5, 3)
    flipped = selective_scan(u.flip(1), dt.flip(1), A, B.flip(1), C.flip(1), D, backend=backend).flip(1)
    found = selective_scan(u, dt, A, B, C, D, backend=backend, reverse=True)
    assert (found - flipped).abs().max() < 1e-6
    assert (found - selective_scan(u, dt, A, B, C, D, backend=backend)).abs().max() > 0.1


@pytest.mark.parametrize("segment", [1, 3, 7, 16])
@pytest.mark.parametrize("backend", FAST)
def test_gradcheck(backend: str, segment: int) -> None:
    inputs = tensors(2, 7, 3, 2, torch.float64)
    for reverse in (False, True):
        assert torch.autograd.gradcheck(lambda *given: selective_scan(*given, backend=backend, segment=segment, reverse=reverse), inputs)  # noqa: B023


@pytest.mark.parametrize("backend", FAST)
def test_second_order_is_refused_and_the_reference_gives_it(backend: str) -> None:
    inputs = tensors(1, 4, 3, 2)
    y = selective_scan(*inputs, backend=backend)
    with pytest.raises(RuntimeError, match='backend="reference"'):
        torch.autograd.grad(y.sum(), inputs[0], create_graph=True)
    y = selective_scan(*inputs, backend="reference")
    (first,) = torch.autograd.grad(y.square().sum(), inputs[0], create_graph=True)
    assert torch.autograd.grad(first.sum(), inputs[0])[0].abs().sum() > 0


@pytest.mark.parametrize("backend", FAST)
def test_only_wanted_gradients_and_no_d(backend: str) -> None:
    u, dt, A, B, C, _ = (one.detach() for one in tensors(2, 9, 5, 3))
    u.requires_grad_()
    given = [torch.autograd.grad(selective_scan(u, dt, A, B, C, backend=name).square().sum(), u)[0] for name in (backend, "reference")]
    assert_close(given[:1], given[1:], 1e-5)
    assert not selective_scan(u.detach(), dt, A, B, C, backend=backend).requires_grad


@pytest.mark.parametrize("backend", FAST)
def test_inputs_need_not_be_contiguous(backend: str) -> None:
    whole = tensors(3, 40, 20, 4)
    strided = [one.detach().transpose(0, -1).contiguous().transpose(0, -1).requires_grad_() for one in whole[:5]]
    assert not any(one.is_contiguous() for one in strided)
    run = lambda *given: selective_scan(*given, backend=backend)  # noqa: E731
    assert_close(results(run, [*strided, whole[5]]), results(run, whole), 1e-6)


@pytest.mark.parametrize("backend", [*FAST, "reference"])
def test_arithmetic_stays_float32_under_autocast(backend: str) -> None:
    inputs = [one.detach().bfloat16() for one in tensors(1, 60, 16, 4)]
    expected = selective_scan(*(one.float() for one in inputs), backend="reference")
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = selective_scan(*inputs, backend=backend)
    assert found.dtype == torch.float32
    assert (found - expected).abs().max() < 1e-5 * expected.abs().max()


def test_large_outputs_do_not_overflow_as_a_half_precision_state_would() -> None:
    inputs = [one.detach() for one in tensors(1, 60, 16, 4)]
    inputs[0] *= 1e5
    expected = selective_scan(*inputs, backend="reference")
    assert expected.abs().max() > 65504  # the largest float16
    for backend in FAST:
        assert (selective_scan(*inputs, backend=backend) - expected).abs().max() < 1e-5 * expected.abs().max()


@pytest.mark.parametrize("position", range(6))
@pytest.mark.parametrize("backend", FAST)
def test_nan_reaches_the_output_from_every_input(backend: str, position: int) -> None:
    inputs = [one.detach().clone() for one in tensors(2, 9, 5, 3)]
    inputs[position].view(-1)[0] = float("nan")
    found, expected = (selective_scan(*inputs, backend=name) for name in (backend, "reference"))
    assert found.isnan().any()
    assert torch.equal(found.isnan(), expected.isnan())


@pytest.mark.parametrize("backend", FAST)
def test_steps_so_long_that_the_decay_vanishes(backend: str) -> None:
    u, dt, A, B, C, D = tensors(1, 12, 16, 4)
    huge = [u, (dt * 1e4).detach().requires_grad_(), A, B, C, D]
    found, expected = (results(lambda *given, name=name: selective_scan(*given, backend=name), huge) for name in (backend, "reference"))
    assert all(one.isfinite().all() for one in found)
    assert_close(found, expected, 1e-5)


@pytest.mark.parametrize("backend", FAST)
def test_checkpointing_and_slices_of_rows_change_nothing(backend: str) -> None:
    inputs = tensors(4, 30, 16, 4)
    run = lambda *given: selective_scan(*given, backend=backend)  # noqa: E731

    def sliced(u: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor) -> Tensor:
        halves = [checkpoint(run, u[i : i + 2], dt[i : i + 2], A, B[i : i + 2], C[i : i + 2], D, use_reentrant=False) for i in (0, 2)]
        return torch.cat(halves)  # type: ignore[arg-type]

    assert_close(results(sliced, inputs), results(run, inputs), 1e-6)


def test_a_compiled_function_gives_the_same_numbers() -> None:
    inputs = tensors(1, 20, 16, 4)
    plain = results(lambda *given: selective_scan(*given).sin(), inputs)
    compiled = torch.compile(lambda *given: selective_scan(*given).sin(), backend="eager")
    assert_close(results(compiled, inputs), plain, 0.0)


def test_exported_function_consists_of_plain_operations() -> None:
    class Scan(torch.nn.Module):
        def forward(self, *given: Tensor) -> Tensor:
            return selective_scan(*given)

    inputs = tuple(one.detach() for one in tensors(1, 5, 4, 2))
    exported = torch.export.export(Scan(), inputs).module()
    assert (exported(*inputs) - selective_scan(*inputs)).abs().max() < 1e-6


WRONG = {"dt": (2, 9, 4), "A": (4, 3), "B": (2, 8, 3), "C": (1, 9, 3), "D": (5, 1)}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_shapes_are_named(name: str) -> None:
    given = dict(zip(("u", "dt", "A", "B", "C", "D"), tensors(2, 9, 5, 3), strict=True))
    given[name] = torch.zeros(WRONG[name])
    with pytest.raises(
        UserError, match=rf"^{name} of the selective scan has shape {tuple(WRONG[name])}".replace("(", r"\(").replace(")", r"\)")
    ):
        selective_scan(**given)


@pytest.mark.parametrize("shape", [(0, 9, 5), (2, 0, 5), (2, 9, 0), (9, 5)])
def test_empty_and_flat_inputs_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(UserError, match="u of the selective scan"):
        selective_scan(torch.zeros(shape), *tensors(2, 9, 5, 3)[1:])


def test_backend_and_segment_are_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    inputs = tensors(1, 4, 3, 2)
    with pytest.raises(UserError, match='did you mean "numba"'):
        selective_scan(*inputs, backend="nunba")
    with pytest.raises(UserError, match=r'"triton" of the selective scan does not run torch\.float32 on "cpu"; use one of'):
        selective_scan(*inputs, backend="triton")
    with pytest.raises(UserError, match="segment of the selective scan is 0"):
        selective_scan(*inputs, segment=0)
    monkeypatch.setattr(module, "_importable", lambda package: False)
    assert available_backends("cpu") == ("torch", "reference")
    assert selective_scan(*inputs).shape == (1, 4, 3)
    with pytest.raises(MissingExtra, match=r"auscult\[speed\]"):
        selective_scan(*inputs, backend="numba")


def test_a_broken_package_counts_as_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    module._importable.cache_clear()
    monkeypatch.setitem(sys.modules, "numba", None)  # importing it raises ImportError
    monkeypatch.setattr("importlib.util.find_spec", lambda name: object())
    assert "numba" not in available_backends("cpu")
    monkeypatch.undo()
    module._importable.cache_clear()


@pytest.mark.cuda
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("backend", ["mamba_ssm", "triton"])
def test_cuda_backends_agree_with_the_reference(backend: str, reverse: bool) -> None:
    if backend not in available_backends("cuda") or not torch.cuda.is_available():
        pytest.skip(f"{backend} or a CUDA device is not there")
    inputs = tensors(3, 70, 40, 16)
    expected = results(lambda *given: selective_scan(*given, backend="reference", reverse=reverse), inputs)
    moved = [one.detach().cuda().requires_grad_() for one in inputs]
    found = results(lambda *given: selective_scan(*given, backend=backend, reverse=reverse), moved)
    assert_close([one.cpu() for one in found], expected, 1e-4)
