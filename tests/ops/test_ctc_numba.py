from __future__ import annotations

import numpy as np
import pytest
import torch

pytest.importorskip("numba")

from auscult.ops import ctc_loops
from auscult.ops.ctc import ctc_loss


def test_exponentials_over_their_whole_range() -> None:
    for peak in (0.0, 300.0, -4000.0):
        differences = np.concatenate([-np.linspace(0, 707, 4000), -np.linspace(0, 2, 4000), -np.logspace(-16, 2, 800)])
        scratch = np.zeros((5, len(differences)))
        integers = scratch.view(np.int64)
        scratch[0] = peak + differences
        exact = np.exp((scratch[0] - peak).astype(np.longdouble))
        ctc_loops._exponentials(scratch[0], len(differences), peak, scratch[1], integers[1], scratch[2], integers[2])
        assert np.max(np.abs(scratch[0] - exact) / exact) < 4e-14
        assert np.max((np.abs(scratch[0] - exact) / exact)[differences > -2]) < 5e-16


def test_exponentials_beyond_their_range_stay_below_the_floor() -> None:
    scratch = np.zeros((5, 8))
    integers = scratch.view(np.int64)
    scratch[0] = [0.0, -708.0, -709.0, -745.0, -1e6, -1e300, 0.0, -1.0]
    ctc_loops._exponentials(scratch[0], 8, 0.0, scratch[1], integers[1], scratch[2], integers[2])
    assert scratch[0, [0, 6]].tolist() == [1.0, 1.0]
    assert np.all((scratch[0, 1:6] > 0) & (scratch[0, 1:6] < 1e-300))


@pytest.mark.parametrize("symbols", [0, 1, 7, 8, 9, 15, 16, 17])
def test_rows_are_filled_up_to_whole_vectors_and_what_fills_them_counts_nothing(symbols: int) -> None:
    assert ctc_loops.padded_width(symbols) > symbols + 1
    x = torch.randn(40, 1, 9, generator=torch.Generator().manual_seed(0), dtype=torch.float64).requires_grad_()
    target = (torch.arange(symbols) // 2 % 8 + 1)[None]
    found, expected = (ctc_loss(x, target, [40], [symbols], backend=name) for name in ("numba", "reference"))
    assert float((found - expected).detach().abs()) < 1e-12
    one, other = (torch.autograd.grad(loss, x, create_graph=True)[0] for loss in (found, expected))
    assert float((one - other).detach().abs().max()) < 1e-13
    if symbols:
        second, wanted = (torch.autograd.grad((given * given.detach().flip(0)).sum(), x)[0] for given in (one, other))
        assert float((second - wanted).abs().max()) < 1e-13


def test_two_runs_agree_to_the_bit() -> None:
    x = torch.randn(60, 3, 9, generator=torch.Generator().manual_seed(0)).requires_grad_()
    given = (torch.randint(1, 9, (3, 12), generator=torch.Generator().manual_seed(1)), torch.tensor([60, 50, 41]), torch.tensor([12, 5, 9]))
    runs = []
    for _ in range(2):
        (gradient,) = torch.autograd.grad(ctc_loss(x, *given, backend="numba"), x, create_graph=True)
        runs.append((gradient.detach(), torch.autograd.grad(gradient.square().sum(), x)[0]))
    assert all(torch.equal(one, other) for one, other in zip(*runs, strict=True))
