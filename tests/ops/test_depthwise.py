from __future__ import annotations

import pytest
import torch
from torch import nn

from auscult.errors import UserError
from auscult.ops import frame_kernels
from auscult.ops.depthwise import DepthwiseConv, depthwise


@pytest.mark.parametrize("taps", [1, 3, 5])
@pytest.mark.parametrize("dilation", [1, 4, 20, 64])
@pytest.mark.parametrize("bias", [False, True])
def test_agrees_with_torch_forward_and_backward(taps: int, dilation: int, bias: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where taps reach beyond the signal, and where the channels take several rounds."""
    torch.manual_seed(0)
    monkeypatch.setattr(frame_kernels, "CACHED", 3 * 40)
    layer = DepthwiseConv(7, taps, dilation, bias)
    results = []
    for forward in (layer.forward, super(DepthwiseConv, layer).forward):
        values = torch.randn(2, 7, 40, generator=torch.Generator().manual_seed(1)).requires_grad_()
        layer.zero_grad()
        outputs = forward(values)
        (outputs * torch.linspace(-1, 1, outputs.numel()).view_as(outputs)).sum().backward()
        results.append([outputs, values.grad, *(parameter.grad for parameter in layer.parameters())])
    for one, other in zip(*results, strict=True):
        assert torch.allclose(one, other, atol=1e-5)


def test_gradcheck() -> None:
    values, taps, bias = (torch.randn(shape, dtype=torch.float64, requires_grad=True) for shape in ((2, 3, 9), (3, 3), (3,)))
    assert torch.autograd.gradcheck(lambda *given: depthwise(*given, 2), (values, taps, bias))
    assert torch.autograd.gradcheck(lambda *given: depthwise(*given, None, 4), (values, taps))


def test_input_is_not_changed_and_strides_do_not_matter() -> None:
    layer, values = DepthwiseConv(4, 3, 2), torch.randn(2, 9, 4)
    kept = values.clone()
    assert torch.equal(layer(values.transpose(1, 2)), layer(values.transpose(1, 2).contiguous()))
    assert torch.equal(values, kept)


def test_state_dict_is_that_of_torch() -> None:
    layer = DepthwiseConv(4, 3, 2)
    reference = nn.Conv1d(4, 4, 3, padding=2, dilation=2, groups=4)
    assert {key: value.shape for key, value in layer.state_dict().items()} == {
        key: value.shape for key, value in reference.state_dict().items()
    }


def test_kernel_runs_only_where_it_applies(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []
    original = depthwise
    monkeypatch.setattr("auscult.ops.depthwise.depthwise", lambda *arguments: calls.append(1) or original(*arguments))
    layer, values = DepthwiseConv(4, 3), torch.randn(1, 4, 9)
    expected = layer(values)
    assert len(calls) == 1
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert layer(values).dtype == torch.bfloat16
    assert torch.allclose(torch.vmap(layer)(values.unsqueeze(0))[0], expected, atol=1e-6)
    exported = torch.export.export(layer, (values,))
    assert torch.allclose(exported.module()(values), expected, atol=1e-6)
    assert len(calls) == 1


def test_even_taps_are_refused() -> None:
    with pytest.raises(UserError, match="4 taps has no middle; use 5"):
        DepthwiseConv(4, 4)
