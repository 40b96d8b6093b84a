"""The kernel of one direction against plain operations under autograd; `tests/models/test_mamba.py` holds those to the recurrence."""

from __future__ import annotations

import pytest
import torch

from auscult.models.mamba import BidirectionalMamba
from auscult.ops import mamba_direction, selective_scan_torch


def pair() -> BidirectionalMamba:
    torch.manual_seed(0)
    both = BidirectionalMamba(32, states=5, convolution=3, expansion=2)
    for norm in both.norms:
        torch.nn.init.uniform_(norm.weight, 0.5, 1.5)
    return both


@pytest.mark.parametrize("length", [1, 2, 3, 9])
def test_the_kernel_has_the_outputs_and_gradients_of_plain_operations(length: int) -> None:
    both = pair().double()
    values = torch.randn(5, length, 32, dtype=torch.float64)
    results = []
    for memory_rows in (0, 1, 2, 5, 100):
        both.zero_grad()
        inputs = values.clone().requires_grad_()
        outputs = both(inputs, memory_rows)
        (outputs * torch.linspace(-1, 1, outputs.numel(), dtype=torch.float64).view_as(outputs)).sum().backward()
        results.append([outputs.detach(), inputs.grad, *(one.grad.clone() for one in both.parameters())])
    for other in results[1:]:
        for expected, found in zip(results[0], other, strict=True):
            assert torch.allclose(expected, found, rtol=1e-9, atol=1e-11)


def test_the_kernel_runs_without_numba(monkeypatch: pytest.MonkeyPatch) -> None:
    both, values = pair(), torch.randn(5, 7, 32)
    expected = both(values, 2)
    monkeypatch.setattr(mamba_direction, "scan_kernel", lambda: selective_scan_torch.KERNEL)
    assert torch.allclose(both(values, 2), expected, atol=1e-5)


def test_the_kernel_keeps_nothing_without_gradients_and_refuses_second_order() -> None:
    both, values = pair(), torch.randn(3, 4, 32, requires_grad=True)
    with torch.no_grad():
        assert both(values, 2).grad_fn is None
    with pytest.raises(RuntimeError, match="no second-order gradient"):
        torch.autograd.grad(both(values, 2).sum(), values, create_graph=True)


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("taps", [1, 2, 4])
def test_short_convolution_is_the_padded_one(reverse: bool, taps: int) -> None:
    values, weight, bias = torch.randn(2, 6, 3), torch.randn(3, taps), torch.randn(3)
    turned = values.flip(1) if reverse else values
    padded = torch.nn.functional.pad(turned.transpose(1, 2), (taps - 1, 0))
    expected = torch.nn.functional.conv1d(padded, weight[:, None], bias, groups=3).transpose(1, 2)
    found = mamba_direction.short_convolution(values, weight, bias, reverse)
    assert torch.allclose(found, expected.flip(1) if reverse else expected, atol=1e-5)
