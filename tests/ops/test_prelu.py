from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from auscult.ops import prelu
from auscult.ops.prelu import SingleSlopePRelu


@pytest.mark.parametrize("slope", [0.25, 0.0, 1.0, -0.5, 3.0])
def test_agrees_with_torch_forward_and_backward(slope: float, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    monkeypatch.setattr(prelu, "CACHED", 50)
    fast, reference = SingleSlopePRelu(), nn.PReLU()
    for layer in (fast, reference):
        nn.init.constant_(layer.weight, slope)
    values = torch.randn(2, 5, 37)
    values[0, 0, :5] = 0.0
    results = []
    for layer in (fast, reference):
        given = values.clone().requires_grad_()
        outputs = layer(given)
        (outputs * torch.linspace(-1, 1, outputs.numel()).view_as(outputs)).sum().backward()
        results.append([outputs, given.grad, layer.weight.grad])
    for one, other in zip(*results, strict=True):
        assert torch.allclose(one, other, atol=1e-5)


def test_gradcheck() -> None:
    layer = SingleSlopePRelu().double()
    values = torch.randn(3, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda given, _: layer(given), (values, layer.weight))


def test_state_dict_is_that_of_torch() -> None:
    assert list(SingleSlopePRelu().state_dict()) == list(nn.PReLU().state_dict())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_and_tracing_take_the_operation_of_torch(dtype: torch.dtype) -> None:
    layer, values = SingleSlopePRelu(), torch.randn(1, 4, 9)
    with torch.autocast("cpu", dtype=dtype):
        assert layer(values.to(dtype)).dtype == dtype
    exported = torch.export.export(layer, (values,))
    assert torch.equal(exported.module()(values), F.prelu(values, layer.weight))
    assert torch.equal(torch.vmap(layer)(values), layer(values))
