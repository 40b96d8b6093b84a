"""The pair is the sum of its parts, each fed with what belongs to it."""

from __future__ import annotations

import pytest
import torch

from auscult.losses.softmax_angular_prototypical import SoftmaxAngularPrototypical


def test_sum_of_both_parts() -> None:
    loss = SoftmaxAngularPrototypical(6, 9)
    embeddings, labels = torch.randn(4, 3, 6, generator=torch.Generator().manual_seed(0)), torch.tensor([8, 2, 5, 0])
    output = loss(embeddings, labels)
    rows = loss.softmax(embeddings.reshape(12, 6), labels.repeat_interleave(3))
    metric = loss.angular(embeddings, labels)
    assert float(output.loss.detach()) == pytest.approx(float((rows.loss + metric.loss).detach()), rel=1e-6)
    assert torch.equal(output.correct, rows.correct)
    assert (output.count, output.accuracy_name) == (12, "accuracy")
    assert output.terms == {
        "softmax": pytest.approx(float(rows.loss.detach())),
        "angular_prototypical": pytest.approx(float(metric.loss.detach())),
        "batch_accuracy": pytest.approx(float(metric.correct.float().mean())),
    }


def test_first_loss_is_the_sum_of_both() -> None:
    torch.manual_seed(0)
    loss = SoftmaxAngularPrototypical(512, 140)
    values = [float(loss(torch.randn(128, 2, 512), torch.randperm(140)[:128]).loss.detach()) for _ in range(8)]
    expected = loss.initial(128, 2)
    assert sum(values) / len(values) == pytest.approx(expected.value, rel=0.02)
    assert "plus softmax over cosines of random directions: 128 classes" in expected.formula
