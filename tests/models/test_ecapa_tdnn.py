from __future__ import annotations

import pytest
import torch

from auscult.audio.front_end import Features
from auscult.errors import UserError
from auscult.models.ecapa_tdnn import EcapaTdnn
from auscult.registry import build
from auscult.testing.speaker_encoders import check_speaker_encoder


def encoder(sample_rate: int = 16000, **arguments: object) -> EcapaTdnn:
    torch.manual_seed(0)
    model: EcapaTdnn = build("model", {"name": "ecapa_tdnn", **arguments}, sample_rate=sample_rate)
    return model


def parameters(**arguments: object) -> int:
    return sum(parameter.numel() for parameter in encoder(**arguments).parameters())  # type: ignore[arg-type]


SMALL = {"channels": 32, "joined": 48, "dimensions": 12}


@pytest.mark.parametrize(
    ("channels", "global_context", "count"),
    [(512, True, 6_190_720), (1024, True, 14_657_088), (512, False, 5_797_504), (1024, False, 14_263_872)],
)
def test_published_parameter_counts(channels: int, global_context: bool, count: int) -> None:
    assert parameters(channels=channels, global_context=global_context) == count


@pytest.mark.parametrize("global_context", [True, False])
@pytest.mark.parametrize("sample_rate", [8000, 16000])
def test_conformance(sample_rate: int, global_context: bool) -> None:
    check_speaker_encoder(encoder(sample_rate, **SMALL, global_context=global_context), sample_rate)  # type: ignore[arg-type]


def test_shared_context_equals_the_published_form() -> None:
    """One product per utterance and one per frame add up to the convolution over [frames; mean; deviation]."""
    model, values = encoder(**SMALL).double().eval(), torch.randn(2, 48, 30, dtype=torch.float64)  # type: ignore[arg-type]
    statistics = torch.cat((values.mean(2), values.var(2, correction=0).clamp_min(1e-7).sqrt()), 1)
    whole = torch.cat((values, statistics.unsqueeze(2).expand(-1, -1, 30)), 1)
    assert torch.allclose(model._scores(values, None), model.attention(whole), atol=1e-12)


def test_cascade_carries_from_group_to_group_and_keeps_the_last() -> None:
    model = encoder(**SMALL).eval()  # type: ignore[arg-type]
    seen: list[torch.Tensor] = []
    block = model.blocks[0]
    for layer in block.cascade:
        layer.register_forward_hook(lambda module, inputs, output: seen.extend((inputs[0], output)))
    joined: list[torch.Tensor] = []
    block.last.register_forward_hook(lambda module, inputs, output: joined.append(inputs[0]))
    first: list[torch.Tensor] = []
    block.first.register_forward_hook(lambda module, inputs, output: first.append(output))
    model.encode(Features(torch.randn(1, 40, 80), torch.tensor([40])))
    groups = first[0].chunk(8, 1)
    assert torch.equal(seen[0], groups[0])
    assert torch.equal(seen[2], groups[1] + seen[1])
    assert torch.equal(joined[0][:, -4:], groups[7])


def test_one_utterance_in_training_is_refused_in_words() -> None:
    model = encoder(**SMALL).train()  # type: ignore[arg-type]
    with pytest.raises(UserError, match="batches of two or more"):
        model(torch.randn(1, 16000), torch.tensor([16000]))


def test_channels_that_are_no_multiple_of_eight_are_refused() -> None:
    with pytest.raises(UserError, match="must be a multiple of 8; use 104"):
        encoder(channels=100)


def test_sizes_grow() -> None:
    counts = [parameters(**size["model"]) for size in EcapaTdnn.SIZES.values()]
    assert counts == sorted(counts)
    assert counts[0] * 4 < counts[2]


@pytest.mark.parametrize("milliseconds", [0, 1, 24, 25, 100])
def test_very_short_audio(milliseconds: int) -> None:
    model, samples = encoder(**SMALL).eval(), 16 * milliseconds  # type: ignore[arg-type]
    if samples < model.minimum_samples:
        with pytest.raises(UserError, match=rf"has {samples} samples; {type(model).__name__} needs at least {model.minimum_samples}"):
            model(torch.randn(1, max(samples, 1)), torch.tensor([samples]))
    else:
        assert model(torch.randn(1, samples), torch.tensor([samples])).isfinite().all()
