"""SepFormer: the count of two sources, the layer of torch with the same weights, and the contract of separators."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import nn

from auscult.errors import UserError
from auscult.models.separator import Separator
from auscult.models.sepformer import AttentionLayer, AttentionPath, sinusoids
from auscult.registry import build
from auscult.specification import Specification
from auscult.testing.separator_training import improvement_by_heart
from auscult.testing.separators import check_options, check_separator

TINY = {"filters": 16, "kernel": 8, "stride": 4, "bottleneck": 12, "blocks": 2, "layers": 1, "heads": 3, "feed_forward": 20, "chunk": 20}


def separator(sources: int = 2, seed: int = 0, **arguments: Any) -> Separator:
    torch.manual_seed(seed)
    model: Separator = build("model", {"name": "sepformer", **arguments}, specification=Specification("separation", 8000, sources=sources))
    return model


def count(sources: int = 2, **arguments: Any) -> int:
    with torch.device("meta"):
        return sum(parameter.numel() for parameter in separator(sources, **arguments).parameters())


def test_counts_are_those_published() -> None:
    assert count() == 25_679_361
    assert count(positions=False) == 25_679_361


@pytest.mark.parametrize("arguments", [TINY, {**TINY, "bottleneck": 9, "positions": False, "mask": "sigmoid", "dropout": 0.1}])
def test_keeps_the_contract(arguments: dict[str, Any]) -> None:
    check_separator("sepformer", arguments)


def test_no_option_is_dead() -> None:
    changes = {
        "filters": 17,
        "kernel": 12,
        "stride": 2,
        "bottleneck": 6,
        "blocks": 1,
        "layers": 2,
        "heads": 2,
        "feed_forward": 21,
        "chunk": 30,
        "positions": False,
        "mask": "sigmoid",
        "start": "transform",
        "dropout": 0.5,
    }
    check_options("sepformer", TINY, changes)


def test_layer_is_that_of_torch() -> None:
    torch.manual_seed(0)
    ours = AttentionLayer(12, heads=3, feed_forward=20, dropout=0.0)
    theirs = nn.TransformerEncoderLayer(12, 3, 20, dropout=0.0, batch_first=True, norm_first=True, layer_norm_eps=1e-6)
    names = {
        "attend": "self_attn.in_proj_",
        "gather": "self_attn.out_proj.",
        "widen": "linear1.",
        "narrow": "linear2.",
        "attention_norm": "norm1.",
        "feed_forward_norm": "norm2.",
    }
    state = {key: nn.init.normal_(torch.empty_like(value)) for key, value in ours.state_dict().items()}
    ours.load_state_dict(state)
    theirs.load_state_dict({names[key.split(".")[0]] + key.split(".")[1]: value for key, value in state.items()})
    values = torch.randn(4, 9, 12)
    assert torch.allclose(ours(values), theirs(values), atol=1e-4)


def test_positions_are_those_of_the_transformer() -> None:
    found = sinusoids(7, 6, torch.zeros(1))
    for position in range(7):
        for pair in range(3):
            angle = position / 10000 ** (2 * pair / 6)
            assert float(found[position, 2 * pair]) == pytest.approx(math.sin(angle), abs=1e-6)
            assert float(found[position, 2 * pair + 1]) == pytest.approx(math.cos(angle), abs=1e-6)


@pytest.mark.parametrize("positions", [False, True])
def test_only_positions_tell_the_order(positions: bool) -> None:
    torch.manual_seed(0)
    path, values = AttentionPath(12, 2, 3, 20, 0.0, positions), torch.randn(1, 9, 12)
    shuffled = torch.randperm(9)
    same = torch.allclose(path(values)[:, shuffled], path(values[:, shuffled]), atol=1e-4)
    assert same is not positions


def test_no_start_is_silent() -> None:
    for seed in range(25):
        model = separator(seed=seed, **{**TINY, "filters": 8, "bottleneck": 6})
        with torch.no_grad():
            signals = model(torch.randn(1, 400))
        assert bool((signals.std(2) > 1e-4).all()), seed


def test_learns_four_mixtures_by_heart() -> None:
    arguments = {"filters": 64, "bottleneck": 32, "blocks": 1, "layers": 1, "heads": 4, "feed_forward": 64, "chunk": 20}
    assert improvement_by_heart(separator(**arguments), steps=40, rate=6e-3) > 10


def test_bad_settings_are_named() -> None:
    with pytest.raises(UserError, match="bottleneck 12 is no multiple of heads 5; use 15"):
        separator(**{**TINY, "heads": 5})
    with pytest.raises(UserError, match="positions need an even bottleneck, not 9; use 10"):
        separator(**{**TINY, "bottleneck": 9})
    with pytest.raises(UserError, match="chunk is 21 frames and must be even"):
        separator(**{**TINY, "chunk": 21})
