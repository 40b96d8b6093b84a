"""SPMamba: the published counts, the paths and the attention by their definitions, and the contract of separators."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from auscult.errors import UserError
from auscult.losses.pit import PitSiSdr
from auscult.models.separator import Separator
from auscult.models.spmamba import FrameAttention, GridPath, overlap_add
from auscult.registry import build
from auscult.specification import Specification
from auscult.testing.separator_training import broken_tones
from auscult.testing.separators import check_options, check_separator

TINY = {"transform": 32, "hop": 8, "layers": 1, "channels": 4, "kernel": 3, "key_size": 34, "states": 4, "expansion": 2, "memory_rows": 5}
QUICK = {**TINY, "hop": 16, "memory_rows": 256}
FULL = {"layers": 6, "kernel": 8, "heads": 4, "key_size": 512}


def separator(sources: int = 2, seed: int = 0, **arguments: Any) -> Separator:
    torch.manual_seed(seed)
    model: Separator = build("model", {"name": "spmamba", **arguments}, specification=Specification("separation", 8000, sources=sources))
    return model


def count(**arguments: Any) -> int:
    with torch.device("meta"):
        return sum(parameter.numel() for parameter in separator(**arguments).parameters())


def test_counts_are_those_published() -> None:
    assert count() == 1_156_368
    assert count(**FULL) == 6_094_498


def test_counts_of_the_parts() -> None:
    for kernel, heads, key_size, of_path, of_attention in ((8, 4, 512, 498_992, 17_613), (4, 2, 256, 138_928, 11_007)):
        path = GridPath(16, kernel, 1, 8, 16, 4, 4)
        assert sum(one.numel() for one in path.parameters()) == of_path
        assert sum(one.numel() for one in FrameAttention(16, 129, heads, key_size).parameters()) == of_attention


def test_keeps_the_contract() -> None:
    check_separator("spmamba", {**QUICK, "kernel_hop": 2})


def test_no_option_is_dead() -> None:
    changes = {
        "transform": 64,
        "hop": 8,
        "layers": 2,
        "channels": 6,
        "kernel": 4,
        "kernel_hop": 2,
        "heads": 1,
        "key_size": 35,
        "states": 5,
        "convolution": 3,
        "expansion": 3,
    }
    with pytest.raises(AssertionError, match="memory_rows"):  # changes memory and time only; the tests of slices say that it acts
        check_options("spmamba", QUICK, {**changes, "memory_rows": 128})


@pytest.mark.parametrize("autocast", [False, True])
def test_slices_change_neither_signals_nor_gradients(autocast: bool) -> None:
    mixture = torch.randn(2, 150)
    results = []
    for memory_rows in (0, 1, 7, 1000):
        model = separator(**{**TINY, "memory_rows": memory_rows})
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
            signals = model(mixture)
        signals.square().mean().backward()
        norm = math.sqrt(sum(float(one.grad.double().square().sum()) for one in model.parameters()))  # type: ignore[union-attr]
        with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
            again = model(mixture)
        results.append((signals.detach(), again, norm))
    signals, _, norm = results[0]
    for other, again, other_norm in results:
        assert torch.allclose(other, signals, atol=1e-5 * float(signals.abs().max()))
        assert torch.allclose(again, signals, atol=1e-5 * float(signals.abs().max()))
        # under autocast the gradient of a weight is rounded to eight bits in every slice, and once without slices
        assert abs(other_norm - norm) < (1e-3 if autocast else 1e-5) * norm


def test_slices_keep_less_for_the_backward_pass() -> None:
    rows = torch.randn(40, 50, 4)
    kept: dict[tuple[int, bool], int] = {}
    for memory_rows in (0, 8):
        for autocast in (False, True):
            path, total = GridPath(4, 3, 1, memory_rows, 16, 4, 4), 0

            def count_bytes(tensor: Tensor) -> Tensor:
                nonlocal total
                total += tensor.numel() * tensor.element_size()
                return tensor

            counted = torch.autograd.graph.saved_tensors_hooks(count_bytes, lambda tensor: tensor)
            with counted, torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
                path(rows)
            kept[memory_rows, autocast] = total
    assert kept[8, False] < kept[0, False] / 2
    assert kept[8, True] < kept[0, True] / 4


@pytest.mark.parametrize("samples", [1, 2, 15, 16, 17, 33, 151])
def test_any_length_comes_back_in_float32(samples: int) -> None:
    signals = separator(**TINY)(torch.randn(2, samples, dtype=torch.float64))
    assert signals.shape == (2, 2, samples)
    assert signals.dtype == torch.float32
    assert signals.isfinite().all()


def test_scale_goes_through_and_silence_stays_silent() -> None:
    model, mixture = separator(**TINY), torch.randn(1, 200)
    signals = model(mixture)
    assert torch.allclose(model(7.3 * mixture), 7.3 * signals, rtol=1e-4, atol=1e-5)
    both = model(torch.cat([mixture, torch.zeros(1, 200)]))
    assert torch.allclose(both[0], signals[0], atol=1e-5)
    assert (both[1] == 0).all()
    assert separator(**TINY)(torch.zeros(1, 200)).sum().grad_fn is not None


@pytest.mark.parametrize("hop", [1, 2, 3])
def test_overlap_add_is_the_transposed_convolution(hop: int) -> None:
    layer, windows = nn.ConvTranspose1d(6, 4, 3, stride=hop), torch.randn(5, 7, 6)
    expected = layer(windows.transpose(1, 2)).transpose(1, 2)
    assert torch.allclose(overlap_add(windows, layer.weight, hop) + layer.bias, expected, atol=1e-6)


def test_attention_is_softmax_over_frames_of_whole_bands() -> None:
    torch.manual_seed(0)
    attention, grid = FrameAttention(channels=4, bins=5, heads=2, key_size=10), torch.randn(2, 6, 5, 4)
    for parameter in attention.parameters():
        nn.init.normal_(parameter)
    queries, keys, values = (part(grid) for part in (attention.queries, attention.keys, attention.values))
    scores = torch.einsum("bhtfe,bhsfe->bhts", queries, keys) / math.sqrt(10)
    heads = torch.einsum("bhts,bhsfe->bhtfe", scores.softmax(-1), values)
    joined = torch.cat([heads[:, 0], heads[:, 1]], dim=3)
    expected = grid + attention.output(joined)[:, 0]
    assert torch.allclose(attention(grid), expected, atol=1e-4)
    head = F.prelu(
        F.linear(grid, attention.queries.project.weight[2:], attention.queries.project.bias[2:]), attention.queries.slope[1].view(1)
    )
    normed = (head - head.mean((2, 3), keepdim=True)) / (head.var((2, 3), correction=0, keepdim=True) + 1e-5).sqrt()
    assert torch.allclose(queries[:, 1], normed * attention.queries.gain[1] + attention.queries.shift[1], atol=1e-4)


def test_bfloat16_is_finite_and_complex_numbers_are_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    parts: list[torch.dtype] = []
    original = torch.complex
    monkeypatch.setattr(torch, "complex", lambda real, imaginary: parts.append(real.dtype) or original(real, imaginary))
    model, mixture = separator(**TINY), torch.randn(2, 150)
    formats: dict[str, torch.dtype] = {}
    for name in ("first", "first_norm", "last"):
        model.get_submodule(name).register_forward_hook(lambda layer, given, result, name=name: formats.update({name: result.dtype}))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        signals = model(mixture)
    assert formats == {"first": torch.bfloat16, "first_norm": torch.float32, "last": torch.bfloat16}
    assert parts == [torch.float32]
    assert signals.dtype == torch.float32
    assert signals.isfinite().all()
    assert type(model).number_formats == ("float32", "bfloat16")


def test_learns_two_tones_in_seconds() -> None:
    sources = broken_tones(items=1, samples=800)
    model, loss = separator(**{**QUICK, "channels": 8}), PitSiSdr()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    values = []
    for _ in range(40):
        optimizer.zero_grad()
        value = loss(model(sources.sum(1)), sources).values.mean()
        value.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        optimizer.step()
        values.append(float(value.detach()))
    assert values[-1] < values[0] - 5


def test_full_network_runs() -> None:
    model = separator(**FULL)
    with torch.no_grad():
        assert model(torch.randn(1, 2000)).isfinite().all()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [({"hop": 17}, "hop is 17"), ({"heads": 3}, "3 heads"), ({"kernel_hop": 4}, "kernel_hop is 4")],
)
def test_what_cannot_be_is_refused(arguments: dict[str, int], words: str) -> None:
    with pytest.raises(UserError, match=words):
        separator(**{**TINY, **arguments})
