"""Additive margin against its definition; without the margin it is the normalised softmax."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from auscult.losses.additive_margin import AdditiveMargin


def batch() -> tuple[Tensor, Tensor]:
    return torch.randn(5, 3, 16, generator=torch.Generator().manual_seed(3)), torch.tensor([4, 0, 8, 2, 7])


@pytest.mark.parametrize(("margin", "scale"), [(0.2, 30.0), (0.35, 64.0), (0.0, 10.0)])
def test_against_the_definition(margin: float, scale: float) -> None:
    loss = AdditiveMargin(16, 9, margin, scale)
    embeddings, labels = batch()
    weights, losses = loss.weight.detach().double(), []
    for rows, label in zip(embeddings.double(), labels.tolist(), strict=True):
        for row in rows:
            logits = [scale * float(row @ one / (row.norm() * one.norm())) for one in weights]
            logits[label] -= scale * margin
            losses.append(math.log(sum(map(math.exp, logits))) - logits[label])
    assert float(loss(embeddings, labels).loss.detach()) == pytest.approx(sum(losses) / len(losses), rel=1e-5)


def test_the_margin_can_grow_and_never_shows_in_the_cosines() -> None:
    loss = AdditiveMargin(16, 9)
    embeddings, labels = batch()
    whole = loss(embeddings, labels)
    loss.set_margin(0.0)
    none = loss(embeddings, labels)
    logits = 30.0 * F.normalize(embeddings.flatten(0, 1), dim=1) @ F.normalize(loss.weight, dim=1).T
    assert float(none.loss.detach()) == pytest.approx(float(F.cross_entropy(logits, labels.repeat_interleave(3)).detach()), rel=1e-6)
    assert torch.equal(whole.cosines, none.cosines)
    assert torch.equal(whole.correct, none.correct)
    loss.set_margin(0.5)
    assert loss.margin_in_effect == 0.1
    assert none.loss < loss(embeddings, labels).loss < whole.loss
