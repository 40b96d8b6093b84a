"""Angular prototypical loss against its definition, and a learned scale that stays positive and can come back."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from auscult.losses.angular_prototypical import AngularPrototypical
from auscult.losses.centroids import SMALLEST_SCALE, AffineCosine


def cosine(one: Tensor, other: Tensor) -> float:
    return float(one @ other / (one.norm() * other.norm()))


def test_against_the_definition() -> None:
    embeddings = torch.randn(4, 3, 6, generator=torch.Generator().manual_seed(0))
    losses, correct = [], []
    for speaker in range(4):
        logits = [8.0 * cosine(embeddings[speaker, 0], embeddings[other, 1:].mean(0)) - 3.0 for other in range(4)]
        losses.append(math.log(sum(map(math.exp, logits))) - logits[speaker])
        correct.append(max(range(4), key=logits.__getitem__) == speaker)
    output = AngularPrototypical(6, 99, scale=8.0, offset=-3.0)(embeddings, torch.tensor([3, 50, 7, 98]))
    assert float(output.loss.detach()) == pytest.approx(sum(losses) / 4, rel=1e-5)
    assert output.correct.tolist() == correct
    assert (output.count, output.accuracy_name) == (4, "batch_accuracy")


def test_coinciding_embeddings_cost_the_logarithm_of_the_speakers() -> None:
    output = AngularPrototypical(6, 999)(torch.ones(200, 2, 6), torch.arange(200))
    assert float(output.loss.detach()) == pytest.approx(5.30, abs=0.005)


def test_gradient_against_central_differences() -> None:
    embeddings = torch.randn(3, 3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1)).requires_grad_()
    loss = AngularPrototypical(4, 9).double()
    assert torch.autograd.gradcheck(lambda values: loss.compute(values, torch.arange(3)).loss, (embeddings,))


class Discarded(AffineCosine):
    """The clamp of voxceleb_trainer: its result goes nowhere."""

    def forward(self, cosine: Tensor) -> Tensor:
        torch.clamp(self.scale, 1e-6)
        return self.scale * cosine + self.offset


class OnlyUsed(AffineCosine):
    """A clamp whose result is used, while the parameter itself stays below the floor, where it has no gradient."""

    def forward(self, cosine: Tensor) -> Tensor:
        return self.scale.clamp(min=SMALLEST_SCALE) * cosine + self.offset


def learned_scale(affine: AffineCosine, steps_astray: int, steps_right: int) -> list[float]:
    """The scale after each update: first the wrong speaker is always nearest, then the right one."""
    optimizer, scales = torch.optim.SGD(affine.parameters(), lr=5.0), []
    for step in range(steps_astray + steps_right):
        similarities = torch.eye(3) if step >= steps_astray else torch.eye(3).roll(1, 0)
        loss = nn.functional.cross_entropy(affine(similarities), torch.arange(3))
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        affine(similarities)
        scales.append(float(affine.scale.detach()))
    return scales


def test_the_scale_stays_positive_in_place() -> None:
    ours = learned_scale(AffineCosine(1.0, 0.0), 5, 5)
    assert ours[4] == pytest.approx(SMALLEST_SCALE)
    assert ours[-1] > 1.0, "the scale must come back when the right speaker is nearest"
    assert min(learned_scale(Discarded(1.0, 0.0), 5, 0)) < -1.0
    stuck = learned_scale(OnlyUsed(1.0, 0.0), 5, 5)
    assert stuck[-1] == stuck[4] < 0.0


def test_two_calls_before_one_backward_pass() -> None:
    class SeenByAutograd(AffineCosine):
        def forward(self, cosine: Tensor) -> Tensor:
            with torch.no_grad():
                self.scale.clamp_(min=SMALLEST_SCALE)
            return self.scale * cosine + self.offset

    embeddings = torch.randn(3, 2, 4, generator=torch.Generator().manual_seed(2)).requires_grad_()
    loss = AngularPrototypical(4, 9)
    (loss(embeddings, torch.arange(3)).loss + loss(embeddings, torch.arange(3)).loss).backward()
    loss.affine = SeenByAutograd(10.0, -5.0)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        (loss(embeddings, torch.arange(3)).loss + loss(embeddings, torch.arange(3)).loss).backward()
