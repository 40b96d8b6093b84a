"""The Mamba block against its recurrence, step by step, and the two directions against one another."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from auscult.models.mamba import BidirectionalMamba, Mamba, shifted_convolution

SIZES = {"size": 32, "states": 5, "convolution": 3, "expansion": 2}


def block(seed: int = 0, **changes: int) -> Mamba:
    torch.manual_seed(seed)
    return Mamba(**{**SIZES, **changes})


def pair(seed: int = 0) -> BidirectionalMamba:
    torch.manual_seed(seed)
    both = BidirectionalMamba(**SIZES)
    for norm in both.norms:
        torch.nn.init.uniform_(norm.weight, 0.5, 1.5)
    return both


@torch.no_grad()
def step_by_step(mamba: Mamba, values: Tensor) -> Tensor:
    """The recurrent form: a state and the last inputs of the convolution, one step of one row at a time, in float64."""
    mamba = mamba.double()
    taps, bias = mamba.conv1d.weight[:, 0], mamba.conv1d.bias
    A = -mamba.A_log.exp()  # noqa: N806
    outputs = []
    for row in values.double():
        state, past = torch.zeros_like(A), [torch.zeros(len(A), dtype=torch.float64)] * taps.shape[1]
        found = []
        for value in row:
            inner, gate = (mamba.in_proj.weight @ value).chunk(2)
            past = [*past[1:], inner]
            seen = F.silu(sum(taps[:, i] * one for i, one in enumerate(past)) + bias)
            low, into, out = (mamba.x_proj.weight @ seen).split([mamba.rank, mamba.states, mamba.states])
            step = torch.log1p(torch.exp(mamba.dt_proj.weight @ low + mamba.dt_proj.bias))
            state = torch.exp(step[:, None] * A) * state + (step * seen)[:, None] * into
            found.append(mamba.out_proj.weight @ ((state @ out + mamba.D * seen) * F.silu(gate)))
        outputs.append(torch.stack(found))
    return torch.stack(outputs)


@pytest.mark.parametrize(("size", "parameters"), [(128, 232_960), (64, 65_280)])
def test_count_of_one_block(size: int, parameters: int) -> None:
    assert sum(one.numel() for one in Mamba(size, 16, 4, 4).parameters()) == parameters


def test_parameters_have_the_names_of_the_published_package() -> None:
    shapes = {name: tuple(one.shape) for name, one in Mamba(64, 16, 4, 4).state_dict().items()}
    assert shapes == {
        "A_log": (256, 16),
        "D": (256,),
        "in_proj.weight": (512, 64),
        "conv1d.weight": (256, 1, 4),
        "conv1d.bias": (256,),
        "x_proj.weight": (36, 256),
        "dt_proj.weight": (256, 4),
        "dt_proj.bias": (256,),
        "out_proj.weight": (64, 256),
    }


@pytest.mark.parametrize("length", [1, 2, 11])
def test_is_its_recurrence(length: int) -> None:
    values = torch.randn(3, length, 32)
    mamba = block()
    outputs = mamba(values)
    assert (outputs - step_by_step(mamba, values)).abs().max() < 1e-5


@pytest.mark.parametrize("memory_rows", [0, 2])
def test_directions_are_a_block_and_a_block_on_reversed_steps(memory_rows: int) -> None:
    both, values = pair(), torch.randn(5, 7, 32)
    outputs = both(values, memory_rows)
    ahead = values + both.blocks[0](both.norms[0](values))
    turned = values.flip(1)
    back = (turned + both.blocks[1](both.norms[1](turned))).flip(1)
    assert torch.allclose(outputs, torch.cat([ahead, back], 2), atol=1e-5)


def test_a_direction_sees_only_its_side() -> None:
    mamba, values = block(), torch.randn(1, 9, 32)
    changed = values.clone()
    changed[0, 4] += 1
    for reverse, still, moved in ((False, slice(0, 4), slice(4, 9)), (True, slice(5, 9), slice(0, 5))):
        difference = (mamba(changed, reverse) - mamba(values, reverse)).abs().amax((0, 2))
        assert difference[still].max() == 0
        assert difference[moved].min() > 0


@pytest.mark.parametrize("reverse", [False, True])
def test_shifted_convolution_is_the_padded_one(reverse: bool) -> None:
    values, weight, bias = torch.randn(2, 6, 3), torch.randn(3, 4), torch.randn(3)
    turned = values.flip(1) if reverse else values
    expected = F.conv1d(F.pad(turned.transpose(1, 2), (3, 0)), weight[:, None], bias, groups=3).transpose(1, 2)
    assert torch.allclose(shifted_convolution(values, weight, bias, reverse), expected.flip(1) if reverse else expected, atol=1e-5)


def test_initial_values_are_those_of_the_paper() -> None:
    mamba = block(size=64, states=16)
    assert torch.allclose(-mamba.A_log.exp(), -torch.arange(1.0, 17.0).expand(128, 16))
    assert (mamba.D == 1).all()
    steps = F.softplus(mamba.dt_proj.bias)
    assert steps.min() > 0.00099
    assert steps.max() < 0.101
    assert abs(steps.log().mean().item() - (math.log(0.001) + math.log(0.1)) / 2) < 0.5
    assert mamba.dt_proj.weight.abs().max() <= mamba.rank**-0.5


def test_the_scan_is_float32_under_autocast(monkeypatch: pytest.MonkeyPatch) -> None:
    from auscult.models import mamba as module

    seen: list[torch.dtype] = []
    original = module.selective_scan

    def record(*tensors: Tensor, reverse: bool) -> Tensor:
        seen.extend(tensor.dtype for tensor in tensors)
        return original(*tensors, reverse=reverse)

    monkeypatch.setattr(module, "selective_scan", record)
    mamba, values = block(), torch.randn(2, 6, 32)
    formats: list[torch.dtype] = []
    mamba.in_proj.register_forward_hook(lambda layer, given, result: formats.append(result.dtype))
    mamba.dt_proj.register_forward_hook(lambda layer, given, result: formats.append(result.dtype))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        outputs = mamba(values)
    assert formats == [torch.bfloat16, torch.float32]
    assert seen == [torch.float32] * 6
    assert torch.allclose(outputs.float(), mamba(values), atol=0.05)
