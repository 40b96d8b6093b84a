"""Spectral masks: the contract of separators, the transform and its way back, and what the shape of the network promises."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from auscult.errors import UserError
from auscult.models.spectral_masks import SpectralMasks
from auscult.registry import build
from auscult.specification import Specification
from auscult.testing.separator_training import improvement_by_heart
from auscult.testing.separators import check_options, check_separator

TINY = {"transform": 64, "hop": 32, "band": 4, "channels": 8, "band_dilations": [1, 2], "frame_dilations": [1, 4]}


def separator(sources: int = 2, **arguments: Any) -> SpectralMasks:
    torch.manual_seed(0)
    model: SpectralMasks = build(
        "model", {"name": "spectral_masks", **arguments}, specification=Specification("separation", 8000, sources=sources)
    )
    return model


@pytest.mark.parametrize("arguments", [TINY, {**TINY, "hop": 16, "band": 2, "whole": 0}])
def test_keeps_the_contract(arguments: dict[str, Any]) -> None:
    check_separator("spectral_masks", arguments)


def test_no_option_is_dead() -> None:
    changes = {"transform": 128, "hop": 16, "band": 8, "channels": 9, "band_dilations": [1, 3], "frame_dilations": [1, 3], "whole": 1}
    check_options("spectral_masks", TINY, changes)


@pytest.mark.parametrize("hop", [32, 16])
@pytest.mark.parametrize("time", [1, 31, 32, 33, 64, 999, 1024])
def test_open_masks_give_the_mixture_without_its_last_bin(hop: int, time: int) -> None:
    model = separator(**{**TINY, "hop": hop})
    ramp = torch.sin(0.3 * torch.arange(time))[None]  # far from half the sample rate
    back = model._signals(model._spectrum(ramp)[:, None].expand(-1, 2, -1, -1), time)
    assert float((back - ramp[:, None]).abs().max()) < 0.03
    inner = back[..., 64:-64] - ramp[:, None, 64:-64]
    assert inner.numel() == 0 or float(inner.abs().max()) < 1e-3


def test_masks_never_add_energy_to_a_bin() -> None:
    model = separator(**TINY).eval()
    magnitudes = torch.rand(3, 40, 32)
    with torch.no_grad():
        masks = model._masks(magnitudes)
    assert masks.shape == (3, 2, 40, 32)
    assert bool(((masks > 0) & (masks < 1)).all())


def test_a_gain_on_the_mixture_is_a_gain_on_the_signals() -> None:
    model, mixture = separator(**TINY).eval(), torch.randn(2, 700)
    with torch.no_grad():
        loud, quiet = model(mixture), model(1e-3 * mixture)
    torch.testing.assert_close(quiet, 1e-3 * loud, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"hop": 48}, "hop that divides it"),
        ({"hop": 64}, "hop that divides it"),
        ({"band": 5}, "bands of 5"),
        ({"band_dilations": [1]}, "each layer needs both"),
    ],
)
def test_what_does_not_fit_is_refused(arguments: dict[str, Any], named: str) -> None:
    with pytest.raises(UserError, match=named):
        separator(**{**TINY, **arguments})


def test_learns_four_mixtures_by_heart() -> None:
    assert improvement_by_heart(separator(**{**TINY, "channels": 16}), steps=60, rate=1e-2) > 10


@pytest.mark.parametrize(("whole", "heard"), [(0, False), (1, True)])
def test_whole_lets_a_cell_hear_the_other_end_of_the_mixture(whole: int, heard: bool) -> None:
    layers = separator(**{**TINY, "whole": whole}).eval().layers
    if whole:
        torch.nn.init.ones_(layers[0].whole.weight)  # type: ignore[union-attr, arg-type]
    cells = torch.randn(1, 8, 200, 4, requires_grad=True)
    layers(cells)[:, :, 0].sum().backward()
    assert cells.grad is not None
    assert bool(cells.grad[:, :, -1].any()) is heard


def test_size_of_the_model_with_no_options() -> None:
    assert sum(parameter.numel() for parameter in separator().parameters()) == 80_320


def test_layers_begin_as_almost_nothing() -> None:
    layers, cells = separator().train().layers, torch.randn(2, 32, 50, 8)
    with torch.no_grad():
        for layer in layers:
            added = layer(cells) - cells
            assert 0 < float(added.std()) < 0.2
