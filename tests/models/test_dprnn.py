"""DPRNN: the counts of two sources, and the contract of separators."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from auscult.errors import UserError
from auscult.models.dprnn import RecurrentPath
from auscult.models.separator import Separator
from auscult.registry import build
from auscult.specification import Specification
from auscult.testing.separator_training import improvement_by_heart
from auscult.testing.separators import check_options, check_separator

TINY = {"filters": 16, "kernel": 4, "stride": 2, "bottleneck": 12, "hidden": 8, "blocks": 2, "chunk": 20}


def separator(sources: int = 2, seed: int = 0, **arguments: Any) -> Separator:
    torch.manual_seed(seed)
    model: Separator = build("model", {"name": "dprnn", **arguments}, specification=Specification("separation", 8000, sources=sources))
    return model


def count(sources: int = 2, **arguments: Any) -> int:
    with torch.device("meta"):
        return sum(parameter.numel() for parameter in separator(sources, **arguments).parameters())


def test_counts_are_those_published() -> None:
    assert count() == 2_608_001
    assert count(kernel=16, stride=8, chunk=100) == 2_609_793
    assert count(bottleneck=128) == pytest.approx(3_652_737, abs=16_384)  # what "2.6M" is not


@pytest.mark.parametrize("arguments", [TINY, {**TINY, "kernel": 2, "stride": 1, "mask": "sigmoid", "dropout": 0.1}])
def test_keeps_the_contract(arguments: dict[str, Any]) -> None:
    check_separator("dprnn", arguments)


def test_no_option_is_dead() -> None:
    changes = {
        "filters": 17,
        "kernel": 6,
        "stride": 1,
        "bottleneck": 11,
        "hidden": 9,
        "blocks": 1,
        "chunk": 30,
        "mask": "sigmoid",
        "start": "transform",
        "dropout": 0.5,
    }
    check_options("dprnn", TINY, changes)


def test_path_looks_both_ways() -> None:
    torch.manual_seed(0)
    path, values = RecurrentPath(4, 5, 0.0), torch.randn(2, 9, 4, requires_grad=True)
    path(values)[0, 4].sum().backward()
    assert values.grad is not None
    assert values.grad[0].abs().sum(1).gt(0).all()
    assert not values.grad[1].any()


def test_no_start_is_silent() -> None:
    for seed in range(25):
        model = separator(seed=seed, **{**TINY, "filters": 8, "bottleneck": 8})
        with torch.no_grad():
            signals = model(torch.randn(1, 400))
        assert bool((signals.std(2) > 1e-4).all()), seed


def test_learns_four_mixtures_by_heart() -> None:
    arguments = {"filters": 64, "kernel": 16, "stride": 8, "bottleneck": 24, "hidden": 24, "blocks": 1, "chunk": 20}
    assert improvement_by_heart(separator(**arguments), steps=40, rate=2e-2) > 10


def test_odd_chunk_is_refused() -> None:
    with pytest.raises(UserError, match="chunk is 21 frames and must be even"):
        separator(**{**TINY, "chunk": 21})
