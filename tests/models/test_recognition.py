from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from auscult.audio.front_end import Features
from auscult.errors import UserError
from auscult.models.conv_ctc import ConvolutionalCtc
from auscult.models.output import FrameLogits
from auscult.models.recognition import RecognitionModel
from auscult.registry import registered
from auscult.specification import Specification
from auscult.testing.models import FramedSamples, check_model, english_specification

SMALL: dict[str, dict[str, Any]] = {
    "deepspeech2": {"channels": 4, "hidden": 16, "layers": 2},
    "deepspeech1": {"hidden": 16},
    "conv_ctc": {"channels": 16, "blocks": 2},
}


def build(**arguments: object) -> ConvolutionalCtc:
    return ConvolutionalCtc(english_specification(), FramedSamples(20), [], channels=8, blocks=1, **arguments)  # type: ignore[arg-type]


@pytest.mark.parametrize("sample_rate", [8000, 16000])
@pytest.mark.parametrize("name", sorted(SMALL))
def test_conformance_by_name_with_the_default_front_end(name: str, sample_rate: int) -> None:
    check_model(name, SMALL[name], sample_rate=sample_rate)


def test_every_registered_recognition_model_is_checked_here() -> None:
    recognition = [name for name, cls in registered("model").items() if issubclass(cls, RecognitionModel)]
    assert sorted(recognition) == sorted(SMALL)


@pytest.mark.parametrize("name", sorted(SMALL))
def test_sizes_grow_and_name_real_keys(name: str) -> None:
    cls = registered("model")[name]
    counts = []
    for size in ("tiny", "small", "base"):
        with torch.device("meta"):
            model = cls(english_specification(), FramedSamples(161), [], **cls.SIZES[size]["model"])
        counts.append(sum(parameter.numel() for parameter in model.parameters()))
    assert counts == sorted(counts)
    assert counts[0] * 4 < counts[2]


def test_minimum_samples_is_exact() -> None:
    model = build(stride=3)
    assert model.minimum_samples == 20
    assert model.output_lengths(torch.tensor([19, 20, 80, 81])).tolist() == [0, 1, 2, 2]


def test_frame_step_follows_the_stride() -> None:
    assert build(stride=3).frame_step == pytest.approx(3 * 20 / 16000)


@pytest.mark.parametrize(
    ("samples", "lengths", "message"),
    [
        (torch.zeros(100), torch.tensor([100]), "add a batch dimension"),
        (torch.zeros(2, 100), torch.tensor([100]), r"samples \(batch, time\)"),
        (torch.zeros(1, 100), torch.tensor([101]), "claims 101 samples in a batch padded to 100"),
        (torch.zeros(2, 100), torch.tensor([100, 3]), "utterance 1 of the batch has 3 samples"),
    ],
)
def test_bad_batches_are_refused_in_words(samples: Tensor, lengths: Tensor, message: str) -> None:
    with pytest.raises(UserError, match=message):
        build()(samples, lengths)


def test_features_of_another_front_end_are_refused() -> None:
    with pytest.raises(UserError, match=r"features \(batch, frames, 20\)"):
        build().encode(Features(torch.zeros(1, 9, 21), torch.tensor([9])))


def test_a_specification_without_blank_is_refused() -> None:
    with pytest.raises(UserError, match="no blank"):
        ConvolutionalCtc(Specification("recognition", 16000, ("a",)), FramedSamples(20), [])


class Silence(nn.Module):
    def forward(self, features: Features) -> Features:
        return Features(features.values * 0, features.lengths) if self.training else features


def test_feature_augmentation_is_applied_in_training_only() -> None:
    torch.manual_seed(0)
    model = ConvolutionalCtc(english_specification(), FramedSamples(20), [Silence()], channels=8, blocks=1, dropout=0.0)
    samples, lengths = torch.randn(1, 400), torch.tensor([400])
    silent = model.encode(Features(torch.zeros(1, 20, 20), torch.tensor([20]))).logits
    assert torch.equal(model.train()(samples, lengths).logits, silent)
    assert not torch.equal(model.eval()(samples, lengths).logits, silent)


class Leaky(ConvolutionalCtc):
    """A model that normalises over the batch."""

    def encode(self, features: Features) -> FrameLogits:
        logits, lengths = super().encode(features)
        return FrameLogits(logits - logits.mean(), lengths)


class Shortened(ConvolutionalCtc):
    """A model whose formula does not match its tensor."""

    def encode(self, features: Features) -> FrameLogits:
        logits, lengths = super().encode(features)
        return FrameLogits(logits[:, 1:], lengths)


class Unused(ConvolutionalCtc):
    """A model with a parameter nothing uses."""

    def __init__(self, specification: Specification, front_end: FramedSamples, feature_augmentation: list[nn.Module]) -> None:
        super().__init__(specification, front_end, feature_augmentation, channels=8, blocks=1)
        self.forgotten = nn.Parameter(torch.zeros(3))


@pytest.mark.parametrize(
    ("cls", "message"),
    [
        (Leaky, "change by .* with its batch mates"),
        (Shortened, "promises 1 frames, the tensor has 0"),
        (Unused, "no gradient reaches forgotten"),
    ],
)
def test_the_suite_catches_broken_models(cls: type[ConvolutionalCtc], message: str) -> None:
    torch.manual_seed(0)
    with pytest.raises(AssertionError, match=message):
        check_model(cls(english_specification(), FramedSamples(20), []))
