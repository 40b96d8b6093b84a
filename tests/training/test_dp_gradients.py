from __future__ import annotations

import re
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from auscult.audio.front_end import Features
from auscult.losses.ctc import ctc_loss
from auscult.models.deepspeech2 import DeepSpeech2
from auscult.testing.models import FramedSamples, english_specification
from auscult.training.dp_gradients import recording, unsupported

LENGTHS, TOKENS = torch.tensor([40, 26, 33]), torch.tensor([[1, 2, 3], [4, 5, -1], [6, 6, 7]])


def deepspeech2(**arguments: Any) -> DeepSpeech2:
    torch.manual_seed(0)
    settings = {"channels": 4, "hidden": 8, "layers": 2, "norm": "group", "norm_groups": 2, **arguments}
    return DeepSpeech2(english_specification(), FramedSamples(129), [], **settings).double()


def loss(model: DeepSpeech2, features: Tensor, items: list[int]) -> Tensor:
    lengths = LENGTHS[items]
    logits, frames = model.encode(Features(features[items, : int(lengths.max())], lengths))
    symbols = (TOKENS[items] >= 0).sum(1)
    return ctc_loss(logits, frames, TOKENS[items, : int(symbols.max())], symbols, blank=28, reduction="none").div(symbols).sum()


@pytest.mark.parametrize("arguments", [{}, {"rnn_bias": True, "head_bias": True, "merge": "concat", "convolution_padding": "seannaren"}])
def test_gradients_of_deepspeech2_are_those_of_a_loop_over_utterances(arguments: dict[str, Any]) -> None:
    model, features = deepspeech2(**arguments), torch.randn(3, 40, 129).double()
    with recording(model) as gradients:
        total = loss(model, features, [0, 1, 2])
    total.backward()
    assert all(parameter.grad is None for parameter in model.parameters()), "nothing is computed twice"
    squares = torch.zeros(3).double()
    for item in range(3):
        alone = torch.autograd.grad(loss(model, features, [item]), list(model.parameters()))
        for (name, parameter), expected in zip(model.named_parameters(), alone, strict=True):
            found = gradients.of(parameter)
            assert found is not None, name
            assert torch.allclose(found[item], expected, rtol=1e-9, atol=1e-9), name
            squares[item] += expected.square().sum()
    assert torch.allclose(gradients.norms(), squares.sqrt(), rtol=1e-9)
    factors = torch.tensor([0.3, 0.0, 2.0]).double()
    for parameter in model.parameters():
        wanted = torch.tensordot(factors, gradients.of(parameter), 1)  # type: ignore[arg-type]
        assert torch.allclose(gradients.weighted_sum(parameter, factors), wanted, rtol=0, atol=1e-9)


def test_a_recorded_model_is_afterwards_what_it_was() -> None:
    model, features = deepspeech2(), torch.randn(3, 40, 129).double()
    loss(model, features, [0, 1, 2]).backward()
    before = [parameter.grad.clone() for parameter in model.parameters()]  # type: ignore[union-attr]
    with pytest.raises(ZeroDivisionError), recording(model):
        raise ZeroDivisionError
    model.zero_grad()
    loss(model, features, [0, 1, 2]).backward()
    assert all(torch.equal(one, parameter.grad) for one, parameter in zip(before, model.parameters(), strict=True))  # type: ignore[arg-type]


class Mixed(nn.Module):
    """Layers that go through Opacus' table, and ordinary ones of ours."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv1d(3, 4, 3, padding=1, groups=1)
        self.norm, self.first, self.last = nn.LayerNorm(4), nn.Linear(4, 5), nn.Linear(5, 1)

    def forward(self, values: Tensor) -> Tensor:
        return self.last(self.first(self.norm(self.conv(values).transpose(1, 2))).tanh().mean(1))[:, 0]  # type: ignore[no-any-return]


def test_other_layers_go_through_opacus() -> None:
    pytest.importorskip("opacus")
    torch.manual_seed(0)
    model, values = Mixed().double(), torch.randn(4, 3, 6).double()
    assert unsupported(model) is None
    with recording(model) as gradients:
        outputs = model(values)
    outputs.square().sum().backward()
    for item in range(4):
        alone = torch.autograd.grad(model(values[item : item + 1]).square().sum(), list(model.parameters()))
        for parameter, expected in zip(model.parameters(), alone, strict=True):
            assert torch.allclose(gradients.of(parameter)[item], expected, rtol=0, atol=1e-9)  # type: ignore[index]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"norm": "batch"}, r"bn\.conv_0 \(MaskedBatchNorm\).*set model\.norm: group"),
        ({"cell": "lstm"}, r"rnn\.0 \(LSTM\).*model\.cell: gru"),
        ({"cell": "rnn"}, r"rnn\.0 \(RNN\).*model\.cell: gru"),
    ],
)
def test_what_cannot_be_told_apart_is_refused_by_name(arguments: dict[str, Any], words: str) -> None:
    pytest.importorskip("opacus")
    found = unsupported(deepspeech2(**arguments))
    assert found is not None
    assert re.search(words, found), found


def test_layers_nobody_knows_are_refused() -> None:
    pytest.importorskip("opacus")

    class Gain(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.ones(1))

    assert "layer 1 (Gain)" in str(unsupported(nn.Sequential(nn.Linear(2, 2), Gain())))
    assert "layer 0 (GRU)" in str(unsupported(nn.Sequential(nn.GRU(2, 2))))
    assert "normalises over the batch" in str(unsupported(nn.Sequential(nn.BatchNorm1d(2))))
