from __future__ import annotations

import pytest
import torch

from auscult.audio.front_end import Features
from auscult.errors import UserError
from auscult.models.campplus import CamPlusPlus, segment_context
from auscult.registry import build
from auscult.testing.speaker_encoders import check_speaker_encoder


def encoder(sample_rate: int = 16000, **arguments: object) -> CamPlusPlus:
    torch.manual_seed(0)
    model: CamPlusPlus = build("model", {"name": "campplus", **arguments}, sample_rate=sample_rate)
    return model


def parameters(**arguments: object) -> int:
    return sum(parameter.numel() for parameter in encoder(**arguments).parameters())  # type: ignore[arg-type]


SMALL = {"growth": 4, "channels": 16, "dimensions": 12}


def test_published_parameter_counts() -> None:
    """7.18 M with 512 dimensions in both public implementations."""
    assert parameters() == 7_176_224
    assert parameters(dimensions=192) == 7_176_224 - 320 * 1024


@pytest.mark.parametrize("sample_rate", [8000, 16000])
def test_conformance(sample_rate: int) -> None:
    check_speaker_encoder(encoder(sample_rate, **SMALL), sample_rate)  # type: ignore[arg-type]


@pytest.mark.parametrize("frames", [1, 99, 100, 101, 250])
def test_segment_context_is_the_mean_of_utterance_and_segment(frames: int) -> None:
    values = torch.randn(1, 3, frames, dtype=torch.float64)
    context = segment_context(values, None)
    for segment in range(context.shape[2]):
        mean = values[:, :, 100 * segment : 100 * (segment + 1)].mean(2)
        assert torch.allclose(context[:, :, segment], values.mean(2) + mean)
    assert context.shape[2] == (frames + 99) // 100
    padded = torch.cat((values, torch.zeros(1, 3, 330 - frames, dtype=torch.float64)), 2)
    masked = segment_context(padded, torch.arange(330)[None] < frames)
    assert torch.allclose(masked[:, :, : context.shape[2]], context)


def test_gate_per_segment_equals_gate_per_frame() -> None:
    layer, values = encoder(**SMALL).blocks[0].layers[0].double().eval(), torch.randn(2, 16, 230, dtype=torch.float64)  # type: ignore[arg-type]
    hidden = torch.relu(layer.norm2(layer.narrow(torch.relu(layer.norm1(values, None))), None))
    per_frame = torch.stack([hidden.mean(2) + hidden[:, :, t // 100 * 100 : t // 100 * 100 + 100].mean(2) for t in range(230)], 2)
    gate = torch.sigmoid(layer.excite(torch.relu(layer.squeeze(per_frame))))
    assert torch.allclose(layer(values, None), layer.local(hidden) * gate, atol=1e-12)


def test_frames_and_channels_of_the_published_network() -> None:
    model = encoder().eval()
    with torch.no_grad():
        encoded = model.encode(Features(torch.randn(1, 201, 80), torch.tensor([201])))
    assert encoded.values.shape == (1, 512, 101)
    assert [block.outputs for block in model.blocks] == [256, 512, 512]


def test_one_utterance_in_training_is_refused_in_words() -> None:
    model = encoder(**SMALL).train()  # type: ignore[arg-type]
    with pytest.raises(UserError, match="batches of two or more"):
        model(torch.randn(1, 16000), torch.tensor([16000]))


def test_bins_that_cannot_be_halved_three_times_are_refused() -> None:
    with pytest.raises(UserError, match=r"got 60; set front_end\.mel_bins to a multiple of 8"):
        encoder(front_end={"name": "log_mel", "mel_bins": 60})


def test_sizes_grow() -> None:
    counts = [parameters(**size["model"]) for size in CamPlusPlus.SIZES.values()]
    assert counts == sorted(counts)
    assert counts[0] * 4 < counts[2] == 7_176_224


@pytest.mark.parametrize("milliseconds", [0, 1, 24, 25, 100])
def test_very_short_audio(milliseconds: int) -> None:
    model, samples = encoder(**SMALL).eval(), 16 * milliseconds  # type: ignore[arg-type]
    if samples < model.minimum_samples:
        with pytest.raises(UserError, match=rf"has {samples} samples; {type(model).__name__} needs at least {model.minimum_samples}"):
            model(torch.randn(1, max(samples, 1)), torch.tensor([samples]))
    else:
        assert model(torch.randn(1, samples), torch.tensor([samples])).isfinite().all()
