"""Conv-TasNet: the counts of two sources, the block by its definition, and the contract of separators."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from auscult.errors import UserError
from auscult.models.conv_tasnet import ConvTasNet, TemporalBlock
from auscult.models.separator import Separator
from auscult.registry import build
from auscult.specification import Specification
from auscult.testing.separator_training import improvement_by_heart
from auscult.testing.separators import check_options, check_separator

TINY = {"filters": 16, "kernel": 8, "stride": 4, "bottleneck": 12, "hidden": 20, "blocks": 3, "repeats": 2, "skip": 10}
PLAIN = {**TINY, "skip": 0, "bias": False, "mask": "relu"}
WITHOUT_SKIP = {"filters": 256, "bottleneck": 256, "repeats": 4, "skip": 0, "bias": False, "mask": "relu"}


def separator(sources: int = 2, seed: int = 0, **arguments: Any) -> Separator:
    torch.manual_seed(seed)
    model: Separator = build(
        "model", {"name": "conv_tasnet", **arguments}, specification=Specification("separation", 8000, sources=sources)
    )
    return model


def count(sources: int = 2, **arguments: Any) -> int:
    with torch.device("meta"):
        return sum(parameter.numel() for parameter in separator(sources, **arguments).parameters())


def test_counts_are_those_published() -> None:
    assert count() == 5_050_545
    assert count(**WITHOUT_SKIP) == 8_708_672
    assert count(sources=1, **WITHOUT_SKIP) == 8_643_136


@pytest.mark.parametrize("arguments", [TINY, PLAIN])
def test_keeps_the_contract(arguments: dict[str, Any]) -> None:
    check_separator("conv_tasnet", arguments)


def test_no_option_is_dead() -> None:
    changes = {
        "filters": 17,
        "kernel": 12,
        "stride": 2,
        "bottleneck": 11,
        "hidden": 21,
        "taps": 5,
        "blocks": 2,
        "repeats": 1,
        "skip": 0,
        "bias": False,
        "mask": "relu",
        "start": "transform",
    }
    check_options("conv_tasnet", TINY, changes)


def reference(block: TemporalBlock, stream: Tensor, dilation: int) -> tuple[Tensor, Tensor]:
    """Residual and skip of a block, from figure 1C of the paper, one operation of torch at a time."""
    inner = F.conv1d(stream, block.widen.weight, block.widen.bias)
    inner = F.group_norm(F.prelu(inner, block.before.weight), 1, block.before_norm.weight, block.before_norm.bias, 1e-4)
    taps = block.depthwise.weight
    inner = F.conv1d(inner, taps, block.depthwise.bias, padding=dilation * (taps.shape[2] // 2), dilation=dilation, groups=len(taps))
    inner = F.group_norm(F.prelu(inner, block.after.weight), 1, block.after_norm.weight, block.after_norm.bias, 1e-4)
    assert block.skip is not None
    residual = F.conv1d(inner, block.residual.weight, block.residual.bias)
    return stream + residual, F.conv1d(inner, block.skip.weight, block.skip.bias)


@pytest.mark.parametrize("dilation", [1, 4, 32])
def test_block_is_that_of_the_paper(dilation: int) -> None:
    torch.manual_seed(0)
    block, stream = TemporalBlock(6, 14, 5, 3, dilation, True, last=False), torch.randn(2, 6, 30)
    for one, other in zip(block(stream), reference(block, stream, dilation), strict=True):
        assert torch.allclose(one, other, atol=1e-5)


def test_dilations_double_and_begin_anew() -> None:
    model = separator(**TINY)
    assert isinstance(model, ConvTasNet)
    assert [block.depthwise.dilation[0] for block in model.blocks] == [1, 2, 4, 1, 2, 4]  # type: ignore[union-attr, index]


def test_what_leads_nowhere_is_frozen_and_nothing_else() -> None:
    """With a skip path the stream after the last block is read by nobody."""
    frozen = [name for name, parameter in separator(**TINY).named_parameters() if not parameter.requires_grad]
    assert frozen == ["blocks.5.residual.weight", "blocks.5.residual.bias"]
    assert all(parameter.requires_grad for parameter in separator(**PLAIN).parameters())


@pytest.mark.parametrize("mask", ["relu", "sigmoid"])
@pytest.mark.parametrize("arguments", [TINY, {**PLAIN, "filters": 2, "bottleneck": 1, "hidden": 1}])
def test_no_start_is_silent(arguments: dict[str, Any], mask: str) -> None:
    for seed in range(25):
        model = separator(seed=seed, **{**arguments, "mask": mask})
        with torch.no_grad():
            signals = model(torch.randn(1, 400))
        assert bool((signals.std(2) > 1e-4).all()), seed


def test_masks_without_offset_start_as_opposite_pairs() -> None:
    model = separator(**{**PLAIN, "filters": 5})
    assert isinstance(model, ConvTasNet)
    rows = model.masks.weight.view(2, 5, -1)
    assert torch.equal(rows[:, 1:4:2], -rows[:, 0:4:2])
    assert not torch.equal(rows[0], rows[1])


def test_loudness_passes_through() -> None:
    model = separator(**TINY)
    mixture = torch.randn(1, 300)
    with torch.no_grad():
        assert torch.allclose(model(1e-4 * mixture), 1e-4 * model(mixture), rtol=1e-2, atol=1e-7)


def test_learns_four_mixtures_by_heart() -> None:
    arguments = {"filters": 64, "bottleneck": 32, "hidden": 64, "skip": 32, "blocks": 4, "repeats": 1, "mask": "relu"}
    assert improvement_by_heart(separator(**arguments), steps=40, rate=1e-2) > 10


def test_bad_settings_are_named() -> None:
    with pytest.raises(UserError, match="2 taps has no middle; use 3"):
        separator(**{**TINY, "taps": 2})
    with pytest.raises(UserError, match="is no multiple of the stride"):
        separator(**{**TINY, "stride": 3})
