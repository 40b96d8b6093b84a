"""The plain softmax is a linear layer and cross-entropy on every utterance."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from auscult.losses.speaker_softmax import SpeakerSoftmax


def test_against_the_definition() -> None:
    loss = SpeakerSoftmax(6, 4)
    embeddings = torch.randn(3, 2, 6, generator=torch.Generator().manual_seed(0))
    labels = torch.tensor([2, 0, 3])
    losses, correct = [], []
    for rows, label in zip(embeddings, labels.tolist(), strict=True):
        for row in rows:
            logits = [float((row @ weight + bias).detach()) for weight, bias in zip(loss.fc.weight, loss.fc.bias, strict=True)]
            losses.append(math.log(sum(map(math.exp, logits))) - logits[label])
            correct.append(max(range(4), key=logits.__getitem__) == label)
    output = loss(embeddings, labels)
    assert float(output.loss.detach()) == pytest.approx(sum(losses) / 6, rel=1e-5)
    assert output.correct.tolist() == correct
    assert (output.count, output.accuracy_name) == (6, "accuracy")


def test_averaging_utterances_first_is_another_loss() -> None:
    """The reference experiment classified means: half of the rows, and not what is tested later."""

    def averaged(loss: SpeakerSoftmax, embeddings: Tensor, labels: Tensor) -> Tensor:
        return loss(embeddings.mean(1), labels).loss

    loss = SpeakerSoftmax(6, 4)
    embeddings, labels = torch.randn(3, 2, 6, generator=torch.Generator().manual_seed(1)), torch.tensor([2, 0, 3])
    assert abs(averaged(loss, embeddings, labels) - loss(embeddings, labels).loss) > 1e-3
