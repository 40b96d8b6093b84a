from __future__ import annotations

import pytest
import torch

from auscult.errors import UserError
from auscult.models.resnetse34v2 import ResNetSE34V2
from auscult.registry import build
from auscult.testing.speaker_encoders import check_speaker_encoder


def encoder(sample_rate: int = 16000, **arguments: object) -> ResNetSE34V2:
    torch.manual_seed(0)
    model: ResNetSE34V2 = build("model", {"name": "resnetse34v2", **arguments}, sample_rate=sample_rate)
    return model


def parameters(**arguments: object) -> int:
    return sum(parameter.numel() for parameter in encoder(**arguments).parameters())  # type: ignore[arg-type]


MEL_40 = {"name": "voxceleb_mel", "mel_bins": 40}


def test_published_parameter_counts() -> None:
    assert parameters() == 8_028_492
    assert parameters(dimensions=256) == 6_979_660
    assert parameters(front_end=MEL_40) == 7_044_684


def test_published_maps() -> None:
    """202 frames and 64 bins: [32, 64, 202] [64, 32, 101] [128, 16, 51] [256, 8, 26]."""
    model, shapes = encoder().eval(), []
    for stage in (model.layer1, model.layer2, model.layer3, model.layer4):
        stage.register_forward_hook(lambda module, inputs, output: shapes.append(tuple(output[0].shape[1:])))
    with torch.no_grad():
        encoded = model.encode(model.features(torch.randn(1, 32240), torch.tensor([32240])))
    assert shapes == [(32, 64, 202), (64, 32, 101), (128, 16, 51), (256, 8, 26)]
    assert encoded.values.shape == (1, 2048, 26)


@pytest.mark.parametrize("pooling", ["ASP", "SAP"])
@pytest.mark.parametrize("sample_rate", [8000, 16000])
def test_conformance(sample_rate: int, pooling: str) -> None:
    check_speaker_encoder(encoder(sample_rate, channels=8, dimensions=16, pooling=pooling, front_end=MEL_40), sample_rate)


def test_relu_stands_before_the_first_norm_of_the_stem() -> None:
    """In the other order a checkpoint loads without error and gives noise; here negative outputs of the norm survive."""
    model, seen = encoder(channels=8, front_end=MEL_40).eval(), []
    model.bn1.register_forward_hook(lambda module, inputs, output: seen.append((inputs[0].min(), output.min())))
    torch.nn.init.constant_(model.bn1.bias, -1.0)
    model(torch.randn(1, 8000), torch.tensor([8000]))
    assert seen[0][0] >= 0
    assert seen[0][1] < 0


def test_bins_that_cannot_be_halved_three_times_are_refused() -> None:
    with pytest.raises(UserError, match=r"got 60; set front_end\.mel_bins to a multiple of 8"):
        encoder(front_end={"name": "log_mel", "mel_bins": 60})


def test_sizes_grow() -> None:
    counts = [parameters(**size["model"]) for size in ResNetSE34V2.SIZES.values()]
    assert counts == sorted(counts)
    assert counts[0] * 4 < counts[2] == 8_028_492


@pytest.mark.parametrize("milliseconds", [0, 1, 24, 25, 100])
def test_very_short_audio(milliseconds: int) -> None:
    model, samples = encoder(channels=8).eval(), 16 * milliseconds
    if samples < model.minimum_samples:
        with pytest.raises(UserError, match=rf"has {samples} samples; {type(model).__name__} needs at least {model.minimum_samples}"):
            model(torch.randn(1, max(samples, 1)), torch.tensor([samples]))
    else:
        assert model(torch.randn(1, samples), torch.tensor([samples])).isfinite().all()
