"""Prototypical loss against its definition, one distance at a time."""

from __future__ import annotations

import math

import pytest
import torch

from auscult.losses.prototypical import Prototypical


def test_against_the_definition() -> None:
    embeddings = torch.randn(4, 3, 6, generator=torch.Generator().manual_seed(0))
    losses, correct = [], []
    for speaker in range(4):
        distances = [float((embeddings[speaker, 0] - embeddings[other, 1:].mean(0)).square().sum()) for other in range(4)]
        losses.append(distances[speaker] + math.log(sum(math.exp(-distance) for distance in distances)))
        correct.append(min(range(4), key=distances.__getitem__) == speaker)
    output = Prototypical(6, 99)(embeddings, torch.tensor([3, 50, 7, 98]))
    assert float(output.loss) == pytest.approx(sum(losses) / 4, rel=1e-5)
    assert output.correct.tolist() == correct
    assert (output.count, output.accuracy_name) == (4, "batch_accuracy")


def test_coinciding_embeddings_cost_the_logarithm_of_the_speakers() -> None:
    output = Prototypical(6, 99)(torch.ones(5, 2, 6), torch.arange(5))
    assert float(output.loss) == pytest.approx(math.log(5), rel=1e-6)


def test_gradient_against_central_differences() -> None:
    embeddings = torch.randn(3, 3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1)).requires_grad_()
    loss = Prototypical(4, 9)
    assert torch.autograd.gradcheck(lambda values: loss.compute(values, torch.arange(3)).loss, (embeddings,))
