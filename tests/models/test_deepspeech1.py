from __future__ import annotations

import pytest
import torch

from auscult.audio.front_end import Features
from auscult.models.deepspeech1 import DeepSpeech1
from auscult.specification import Specification
from auscult.testing.models import FramedSamples, check_model, english_specification


def build(bins: int, **arguments: object) -> DeepSpeech1:
    return DeepSpeech1(english_specification(), FramedSamples(bins), [], **arguments)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("variant", "bins", "parameters"),
    [("mozilla", 494, 47_224_861), ("myrtle", 494, 122_748_957), ("myrtle", 338, 122_429_469)],
)
def test_parameter_counts_are_those_published(variant: str, bins: int, parameters: int) -> None:
    with torch.device("meta"):
        model = build(bins, variant=variant)
    assert sum(parameter.numel() for parameter in model.parameters()) == parameters
    assert sum(parameter.numel() for parameter in model.parameter_groups()["fc"]) == 59_421


def test_torchaudio_form_with_its_forty_classes() -> None:
    specification = Specification("recognition", 16000, tuple(chr(200 + i) for i in range(39)), blank=39)
    with torch.device("meta"):
        model = DeepSpeech1(specification, FramedSamples(494), [], variant="torchaudio")
    assert sum(parameter.numel() for parameter in model.parameters()) == 30_470_184


@pytest.mark.parametrize("variant", ["mozilla", "myrtle", "torchaudio"])
def test_conformance(variant: str) -> None:
    torch.manual_seed(0)
    check_model(build(20, variant=variant, hidden=16))


def test_the_constant_input_is_a_bias() -> None:
    torch.manual_seed(0)
    lstm = build(20, variant="mozilla", hidden=8).rnn[0]
    reference = torch.nn.LSTM(8, 8)
    with torch.no_grad():
        reference.weight_ih_l0.copy_(lstm.weight_ih_l0[:, :8])
        reference.weight_hh_l0.copy_(lstm.weight_hh_l0)
        reference.bias_ih_l0.copy_(lstm.weight_ih_l0[:, 8])
        reference.bias_hh_l0.zero_()
    values = torch.randn(5, 2, 8)
    with_one = torch.cat([values, torch.ones(5, 2, 1)], 2)
    assert torch.allclose(lstm(with_one)[0], reference(values)[0], atol=1e-6)


def test_mozilla_form_never_looks_ahead() -> None:
    torch.manual_seed(0)
    model = build(20, variant="mozilla", hidden=8).eval()
    values = torch.randn(1, 12, 20)
    changed = values.clone()
    changed[:, 8:] += 1
    logits, moved = (model.encode(Features(tensor, torch.tensor([12]))).logits for tensor in (values, changed))
    assert torch.equal(logits[:, :8], moved[:, :8])
    assert not torch.allclose(logits[:, 8:], moved[:, 8:])
