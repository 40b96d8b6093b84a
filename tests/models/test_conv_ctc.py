from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F

from auscult.audio.front_end import Features
from auscult.errors import UserError
from auscult.models.conv_ctc import ConvolutionalCtc
from auscult.testing.models import FramedSamples, check_model, english_specification


def build(bins: int = 40, **arguments: object) -> ConvolutionalCtc:
    torch.manual_seed(0)
    return ConvolutionalCtc(english_specification(), FramedSamples(bins), [], **arguments)  # type: ignore[arg-type]


@pytest.mark.parametrize("stride", [1, 2, 3, 4])
def test_conformance(stride: int) -> None:
    check_model(build(channels=16, blocks=2, stride=stride))


def test_default_size() -> None:
    assert 350_000 < sum(parameter.numel() for parameter in build().parameters()) < 500_000


def test_even_kernel_is_refused() -> None:
    with pytest.raises(UserError, match="must be odd"):
        build(kernel=4)


def test_training_gradient_of_a_batch_is_the_sum_over_its_parts() -> None:
    model = build(channels=16, blocks=3, dropout=0.0).double().train()
    values, lengths = torch.randn(4, 60, 40, dtype=torch.float64), torch.tensor([60, 45, 31, 12])
    target = torch.randint(0, 28, (4, 3))
    other = copy.deepcopy(model)

    def backward(network: ConvolutionalCtc, rows: slice) -> None:
        logits, output_lengths = network.encode(Features(values[rows], lengths[rows]))
        log_probabilities = logits.log_softmax(-1).transpose(0, 1)
        F.ctc_loss(
            log_probabilities, target[rows], output_lengths, torch.full((len(output_lengths),), 3), blank=28, reduction="sum"
        ).backward()

    backward(model, slice(0, 4))
    backward(other, slice(0, 2))
    backward(other, slice(2, 4))
    for (name, one), two in zip(model.named_parameters(), other.parameters(), strict=True):
        assert torch.allclose(one.grad, two.grad, atol=1e-9), name


def test_dropout_removes_channels_in_training_only() -> None:
    model = build(channels=16, blocks=1, dropout=0.5)
    features = Features(torch.randn(2, 30, 40), torch.tensor([30, 30]))
    assert not torch.equal(model.train().encode(features).logits, model.encode(features).logits)
    assert torch.equal(model.eval().encode(features).logits, model.encode(features).logits)


def test_learns_a_short_string_quickly() -> None:
    model = build(channels=32, blocks=2, dropout=0.0).train()
    features, target = Features(torch.randn(2, 90, 40), torch.tensor([90, 70])), torch.tensor([[3, 4, 4, 5], [9, 8, 7, 6]])
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    for _ in range(100):
        logits, lengths = model.encode(features)
        loss = F.ctc_loss(logits.log_softmax(-1).transpose(0, 1), target, lengths, torch.tensor([4, 4]), blank=28)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.05
