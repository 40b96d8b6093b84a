"""The light CNN has the size and the cost of the experiment it repeats, and is indifferent to padding."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from auscult.errors import UserError
from auscult.models.light_cnn import LightCnn
from auscult.registry import build
from auscult.specification import Specification
from auscult.training.cost import describe_model

SPECIFICATION = Specification("pseudo_speaker", 16000, ("0: a", "1: b"))
VARIANTS: list[dict[str, Any]] = [{}, {"front_end": {"name": "mfcc_delta"}}, {"front_end": {"name": "log_mel", "mel_bins": 80}}]


def make(**arguments: Any) -> LightCnn:
    torch.manual_seed(0)
    model: LightCnn = build("model", {"name": "light_cnn", **arguments}, specification=SPECIFICATION, sample_rate=16000)
    return model


@pytest.mark.parametrize(("arguments", "parameters", "macs"), [(VARIANTS[0], 2_262_786, 12.79e9), (VARIANTS[1], 2_283_010, 0.085e9)])
def test_parameters_and_cost_for_three_seconds(arguments: dict[str, Any], parameters: int, macs: float) -> None:
    described = describe_model(make(**arguments), SPECIFICATION, 3.0)
    assert described["parameters"] == parameters
    assert 3 * described["macs_per_second"] == pytest.approx(macs, rel=0.1)  # the front-end's own products are counted too


@pytest.mark.parametrize("arguments", VARIANTS, ids=["waveform", "mfcc_delta", "log_mel"])
def test_padding_and_neighbours_never_leak(arguments: dict[str, Any]) -> None:
    model = make(**arguments).eval()
    samples, lengths = 0.1 * torch.randn(2, 9000), torch.tensor([9000, 7001])
    samples[1, 7001:] = 0.5
    together = model(samples, lengths)
    assert torch.allclose(together[1:], model(samples[1:, :7001], lengths[1:]), atol=1e-6)
    assert together.dtype == torch.float32


def test_training_statistics_are_of_true_positions() -> None:
    model = make().train()
    samples, lengths = 0.1 * torch.randn(2, 4096), torch.tensor([4096, 2048])
    samples[1, 2048:] = 100.0
    model(samples, lengths)
    assert float(model.blocks[0].first_norm.running_var.max()) < 10


def test_too_short_and_pointless_settings_are_named() -> None:
    with pytest.raises(UserError, match="has 31 samples, at least 32 are needed"):
        make()(torch.zeros(1, 31), torch.tensor([31]))
    with pytest.raises(UserError, match="feature frames, at least 32"):
        make(front_end={"name": "log_mel"})(torch.zeros(1, 3000), torch.tensor([3000]))
    with pytest.raises(UserError, match="there is no front_end"):
        make(feature_augmentation=[{"name": "spec_augment"}])
