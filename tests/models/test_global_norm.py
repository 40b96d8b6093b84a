"""gLN by its definition, in every layout and number format."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from auscult.models.global_norm import EPSILON, GlobalNorm, written_out


def definition(values: Tensor, norm: GlobalNorm) -> Tensor:
    """Equations 8 and 9, an item at a time, in float64."""
    shape = (1,) * (values.dim() - 2) + (-1,) if norm.last else (-1,) + (1,) * (values.dim() - 2)
    rows = []
    for item in values.double():
        mean = item.sum() / item.numel()
        variance = ((item - mean) ** 2).sum() / item.numel()
        rows.append(norm.weight.double().view(shape) * (item - mean) / (variance + norm.epsilon).sqrt() + norm.bias.double().view(shape))
    return torch.stack(rows)


def norm_of(channels: int, last: bool) -> GlobalNorm:
    norm = GlobalNorm(channels, last)
    with torch.no_grad():
        norm.weight.uniform_(0.5, 2.0)
        norm.bias.uniform_(-1.0, 1.0)
    return norm


CASES = [((3, 5, 7), False), ((3, 7, 5), True), ((2, 4, 6, 5), True), ((2, 5, 4, 6), False)]


@pytest.mark.parametrize(("shape", "last"), CASES)
def test_agrees_with_the_definition_and_with_what_a_gpu_runs(shape: tuple[int, ...], last: bool) -> None:
    torch.manual_seed(0)
    norm, values = norm_of(5, last), 3.0 + 2.0 * torch.randn(shape)
    expected = definition(values, norm)
    assert torch.allclose(norm(values).double(), expected, atol=1e-5)
    assert torch.allclose(written_out(values, norm.weight, norm.bias, EPSILON, last).double(), expected, atol=1e-5)
    turned = values.transpose(2, -1).contiguous().transpose(2, -1)
    assert torch.allclose(norm(turned).double(), expected, atol=1e-5)


@pytest.mark.parametrize(("shape", "last"), CASES)
def test_gradients(shape: tuple[int, ...], last: bool) -> None:
    norm = norm_of(5, last).double()
    values = torch.randn(shape, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(norm, (values,))


def test_epsilon_is_not_zero_in_half_precision() -> None:
    assert float(torch.tensor(EPSILON, dtype=torch.float16)) > 0
    assert float(torch.tensor(1e-8, dtype=torch.float16)) == 0


@pytest.mark.parametrize("last", [False, True])
def test_statistics_are_float32_under_autocast(last: bool) -> None:
    """Squares of 400 are beyond float16, and 2,000 ones are beyond the whole numbers of bfloat16."""
    torch.manual_seed(0)
    norm = norm_of(8, last)
    values = 400.0 + 100.0 * torch.randn((2, 30, 8, 8) if last else (2, 8, 8, 30))
    for dtype in (torch.float16, torch.bfloat16):
        half = values.to(dtype)
        with torch.autocast("cpu", dtype=dtype):
            found = norm(half)
        assert found.dtype == dtype
        wanted = norm(half.float())
        assert float((found.float() - wanted).abs().max().detach()) < 0.05


def test_constant_input_gives_the_offsets() -> None:
    norm = norm_of(4, False)
    assert torch.allclose(norm(torch.full((1, 4, 6), 0.3)), norm.bias.view(1, 4, 1).expand(1, 4, 6), atol=1e-3)
