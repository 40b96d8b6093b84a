from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from auscult.ops.selective_scan import selective_scan

pytest.importorskip("numba")

from numba import njit

from auscult.ops import selective_scan_lanes, selective_scan_numba
from auscult.ops.selective_scan_lanes import exp2, load, store, total


@pytest.fixture
def three_threads(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(selective_scan_numba, "SMALLEST_SHARE", 1)
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


def given(rows: int, length: int = 20, channels: int = 50, states: int = 4) -> list[Tensor]:
    random = torch.Generator().manual_seed(0)
    u, dt, b, c = (torch.randn(rows, length, size, generator=random) for size in (channels, channels, states, states))
    a = -torch.rand(channels, states, generator=random) * 4
    return [one.requires_grad_() for one in (u, dt.sigmoid(), a, b, c, torch.randn(channels, generator=random))]


def gradients(backend: str, inputs: list[Tensor]) -> list[Tensor]:
    y = selective_scan(*inputs, backend=backend)
    return [y, *torch.autograd.grad((y * y.detach()).sum(), inputs)]


@njit
def _exp2_of(values: Any, results: Any) -> None:
    for i in range(0, len(values), 64 // values.itemsize):
        store(results, i, exp2(load(values, i)))


@njit
def _total_of(values: Any) -> Any:
    return total(load(values, 0))


@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float32, 2e-7), (np.float64, 5e-16)])
def test_exp2_over_its_whole_range(dtype: Any, tolerance: float) -> None:
    smallest, largest = (-126, 127.4) if dtype == np.float32 else (-1022, 1023.4)
    values = np.concatenate([np.linspace(smallest, largest, 4000), np.linspace(-1, 1, 4000), [0.0] * 64]).astype(dtype)[: 8064 // 16 * 16]
    results = np.empty_like(values)
    _exp2_of(values, results)
    exact = np.exp2(values.astype(np.longdouble))
    assert np.max(np.abs(results - exact) / exact) < tolerance
    assert results[values == 0].tolist() == [1.0] * int((values == 0).sum())


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_exp2_beyond_its_range(dtype: Any) -> None:
    values = np.array([-np.inf, -1e30, -5000.0, np.inf, 1e30, 5000.0, np.nan, 0.0] * 2, dtype=dtype)
    results = np.empty_like(values)
    _exp2_of(values, results)
    np.testing.assert_array_equal(results, np.array([0, 0, 0, np.inf, np.inf, np.inf, np.nan, 1] * 2, dtype=dtype))


def test_total_is_the_sum_of_the_lanes() -> None:
    values = np.arange(16, dtype=np.float32)
    assert _total_of(values) == 120


@pytest.mark.parametrize("rows", [1, 2, 7])
def test_threads_share_rows_or_channels_and_agree_with_one(three_threads: None, rows: int) -> None:
    inputs = given(rows)
    several, reference = gradients("numba", inputs), gradients("reference", inputs)
    for one, other in zip(several, reference, strict=True):
        assert (one - other).abs().max() < 1e-5 * max(1.0, other.detach().abs().max().item())


def test_threads_have_equal_shares(three_threads: None) -> None:
    def parts(rows: int) -> list[tuple[int, ...]]:
        inputs = selective_scan_numba.ScanInputs(*given(rows))  # type: ignore[arg-type]
        return [tuple(part)[:4] for part in selective_scan_numba._Flat(inputs).parts()]

    assert parts(7) == [(0, 2, 0, 4), (2, 4, 0, 4), (4, 7, 0, 4)]
    assert parts(1) == [(0, 1, 0, 1), (0, 1, 1, 2), (0, 1, 2, 4)]


def test_calls_from_several_threads_do_not_disturb_one_another(three_threads: None) -> None:
    inputs = [given(rows) for rows in (1, 2, 3, 4, 5, 6)]
    alone = [gradients("numba", one) for one in inputs]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda one: gradients("numba", one), inputs * 5))
    for i, found in enumerate(together):
        assert all(torch.equal(one, other) for one, other in zip(found, alone[i % len(inputs)], strict=True))


def test_two_runs_agree_to_the_bit() -> None:
    inputs = given(5, length=70)
    for one, other in zip(gradients("numba", inputs), gradients("numba", inputs), strict=True):
        assert torch.equal(one, other)


def test_a_folder_that_cannot_hold_the_cache_is_no_obstacle(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[dict[str, Any]] = []

    def refusing(function: Callable[..., None], **options: Any) -> Callable[..., None]:
        asked.append(options)
        if options.get("cache"):
            raise RuntimeError("cannot cache function: no locator available")
        return function

    monkeypatch.setattr(selective_scan_lanes, "njit", refusing)
    assert selective_scan_lanes._compiled(_nothing) is _nothing
    assert len(asked) == 2


def _nothing() -> None:
    pass


def test_numba_is_imported_when_it_is_used() -> None:
    code = "import sys, auscult.ops.selective_scan; assert 'numba' not in sys.modules and 'torch._dynamo' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_decay_of_the_other_sign_grows_as_the_equations_say() -> None:
    one = torch.ones(1, 3, 1)
    found = selective_scan(one, one, torch.tensor([[0.5]]), one, one, backend="numba").flatten().tolist()
    growth = math.exp(0.5)
    assert found == pytest.approx([1, 1 + growth, 1 + growth + growth**2], rel=1e-6)
