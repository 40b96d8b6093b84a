from __future__ import annotations

import pytest
import torch

from auscult.errors import UserError
from auscult.models.fast_resnet34 import FastResNet34
from auscult.registry import build
from auscult.testing.speaker_encoders import check_speaker_encoder


def encoder(sample_rate: int = 16000, **arguments: object) -> FastResNet34:
    torch.manual_seed(0)
    model: FastResNet34 = build("model", {"name": "fast_resnet34", **arguments}, sample_rate=sample_rate)
    return model


def parameters(**arguments: object) -> int:
    return sum(parameter.numel() for parameter in encoder(**arguments).parameters())  # type: ignore[arg-type]


def test_published_parameter_counts() -> None:
    assert parameters() == 1_437_078
    assert parameters(dimensions=256) == 1_404_054


def test_published_maps() -> None:
    """202 frames and 40 bins: [16, 20, 202] [32, 10, 101] [64, 5, 51] [128, 5, 51], then the mean over frequency."""
    model, shapes = encoder().eval(), []
    for stage in (model.layer1, model.layer2, model.layer3, model.layer4):
        stage.register_forward_hook(lambda module, inputs, output: shapes.append(tuple(output[0].shape[1:])))
    with torch.no_grad():
        encoded = model.encode(model.features(torch.randn(1, 32240), torch.tensor([32240])))
    assert shapes == [(16, 20, 202), (32, 10, 101), (64, 5, 51), (128, 5, 51)]
    assert encoded.values.shape == (1, 128, 51)


@pytest.mark.parametrize("pooling", ["SAP", "ASP"])
@pytest.mark.parametrize("sample_rate", [8000, 16000])
def test_conformance(sample_rate: int, pooling: str) -> None:
    check_speaker_encoder(encoder(sample_rate, channels=8, dimensions=16, pooling=pooling), sample_rate)


def test_published_front_end_is_the_default() -> None:
    front_end = encoder().front_end
    assert (front_end.bins, front_end.pre_emphasis, front_end.log_input) == (40, 0.0, True)


def test_sizes_grow() -> None:
    counts = [parameters(**size["model"]) for size in FastResNet34.SIZES.values()]
    assert counts == sorted(counts)
    assert counts[0] * 4 < counts[2]


@pytest.mark.parametrize("milliseconds", [0, 1, 24, 25, 100])
def test_very_short_audio(milliseconds: int) -> None:
    model, samples = encoder(channels=8).eval(), 16 * milliseconds
    if samples < model.minimum_samples:
        with pytest.raises(UserError, match=rf"has {samples} samples; {type(model).__name__} needs at least {model.minimum_samples}"):
            model(torch.randn(1, max(samples, 1)), torch.tensor([samples]))
    else:
        assert model(torch.randn(1, samples), torch.tensor([samples])).isfinite().all()
