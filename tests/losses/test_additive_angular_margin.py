"""AAM against the arc cosine, beyond pi, with sub-centres and hard negatives, and against the published table."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from auscult.errors import UserError
from auscult.losses.additive_angular_margin import AdditiveAngularMargin, add_angle

TABLE = {
    0.0: (11.75, 0.0, 0.0),
    0.05: (10.27, 0.0, 0.0),
    0.10: (8.78, 0.0, 20.3),
    0.15: (7.28, 0.0, 95.6),
    0.20: (5.76, 0.0, 100.0),
    0.25: (4.23, 0.0, 100.0),
    0.30: (2.73, 29.3, 100.0),
    0.35: (1.38, 97.5, 100.0),
    0.40: (0.48, 100.0, 100.0),
}
"""Cosine to the true speaker -> loss, accuracy of the logits with margin and without it, in %; 140 speakers, scale 30, margin 0.2."""


def jumping(cosine: Tensor, margin: float) -> Tensor:
    """The line of voxceleb_trainer beyond pi - margin."""
    moved = cosine * math.cos(margin) - (1 - cosine * cosine).clamp_min(0).sqrt() * math.sin(margin)
    return torch.where(cosine > -math.cos(margin), moved, cosine - margin * math.sin(margin))


def slow(loss: AdditiveAngularMargin, embeddings: Tensor, labels: Tensor) -> float:
    """The definition, one item and one class at a time, in Python's own floats."""
    weights = loss.weight.detach().double().view(loss.classes, loss.sub_centres, -1)
    losses = []
    for rows, label in zip(embeddings.double(), labels.tolist(), strict=True):
        for row in rows:
            cosines = [
                max(float(row @ centre / (row.norm() * centre.norm())) for centre in weights[speaker]) for speaker in range(loss.classes)
            ]
            wrong = sorted((one for one in range(loss.classes) if one != label), key=lambda one: -cosines[one])
            logits = list(cosines)
            for one in wrong[: loss.inter_top_k]:
                logits[one] = math.cos(math.acos(cosines[one]) - loss.top_k_margin_in_effect)
            logits[label] = math.cos(math.acos(cosines[label]) + loss.margin_in_effect)
            exponents = [loss.scale * one for one in logits]
            losses.append(math.log(sum(map(math.exp, exponents))) - exponents[label])
    return sum(losses) / len(losses)


def batch(speakers: int, utterances: int, dimensions: int) -> tuple[Tensor, Tensor]:
    return torch.randn(speakers, utterances, dimensions, generator=torch.Generator().manual_seed(3)), torch.arange(speakers).flip(0)


@pytest.mark.parametrize(
    "settings",
    [{}, {"margin": 0.5, "scale": 12.0}, {"sub_centres": 3}, {"inter_top_k": 2}, {"sub_centres": 2, "inter_top_k": 4, "top_k_margin": 0.1}],
)
def test_against_the_definition(settings: dict) -> None:
    torch.manual_seed(0)
    loss = AdditiveAngularMargin(16, 9, **settings)
    embeddings, labels = batch(5, 3, 16)
    assert float(loss(embeddings, labels).loss.detach()) == pytest.approx(slow(loss, embeddings, labels), rel=1e-5)
    loss.set_margin(0.5)
    assert loss.margin_in_effect == 0.5 * loss.margin
    assert float(loss(embeddings, labels).loss.detach()) == pytest.approx(slow(loss, embeddings, labels), rel=1e-5)


@pytest.mark.parametrize("margin", [0.0, 0.06, 0.2, 1.2, -0.06, -0.5])
def test_add_angle_is_the_arc_cosine_where_the_angle_stays_inside(margin: float) -> None:
    cosine = torch.linspace(-0.9999, 0.9999, 4001, dtype=torch.float64)
    angle = cosine.arccos() + margin
    inside = (angle > 0) & (angle < math.pi)
    assert float((add_angle(cosine, margin) - angle.cos())[inside].abs().max()) < 1e-9


@pytest.mark.parametrize("margin", [0.2, 0.5, 1.2])
def test_no_jump_beyond_pi(margin: float) -> None:
    edge = -math.cos(margin)
    around = torch.tensor([edge - 1e-9, edge + 1e-9], dtype=torch.float64)
    left, right = add_angle(around, margin).tolist()
    assert abs(left - right) < 1e-6
    left, right = jumping(around, margin).tolist()
    assert abs(left - right) > 0.01, "the plant no longer jumps"


@pytest.mark.parametrize("margin", [0.2, 1.2, -0.06, -0.5])
def test_add_angle_rises_with_the_cosine_everywhere(margin: float) -> None:
    cosine = torch.linspace(-1, 1, 20001, dtype=torch.float64)
    assert float(add_angle(cosine, margin).diff()[1:-1].min()) > 0
    assert torch.allclose(add_angle(-cosine, -margin), -add_angle(cosine, margin), atol=1e-12)


def test_without_the_margin_nothing_moves() -> None:
    cosine = torch.linspace(-1, 1, 1001)
    assert float((add_angle(cosine, 0.0) - cosine).abs().max()) < 1e-6
    loss = AdditiveAngularMargin(16, 9, margin=0.0)
    embeddings, labels = batch(5, 3, 16)
    logits = 30.0 * F.normalize(embeddings.flatten(0, 1), dim=1) @ F.normalize(loss.weight, dim=1).T
    expected = F.cross_entropy(logits, labels.repeat_interleave(3))
    assert float(loss(embeddings, labels).loss.detach()) == pytest.approx(float(expected.detach()), rel=1e-6)


@pytest.mark.parametrize("margin", [0.2, 1.2, -0.3])
def test_gradient_against_central_differences(margin: float) -> None:
    edge = -math.copysign(math.cos(margin), margin)
    cosine = torch.tensor([-0.999, edge - 0.01, edge + 0.01, -0.2, 0.0, 0.7, 0.95], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda values: add_angle(values, margin), (cosine,))


@pytest.mark.parametrize("cosine", [1.0, -1.0, 1.0 + 1e-6, -1.0 - 1e-6])
@pytest.mark.parametrize("margin", [0.2, -0.06])
def test_finite_at_the_ends(cosine: float, margin: float) -> None:
    leaf = torch.tensor(cosine, requires_grad=True)
    value = add_angle(leaf, margin)
    value.backward()
    assert math.isfinite(float(value.detach()))
    assert leaf.grad is not None
    assert math.isfinite(float(leaf.grad))
    bare = torch.tensor(cosine, requires_grad=True)
    root = (1 - bare * bare).sqrt()
    root.backward()
    assert bare.grad is not None
    assert not math.isfinite(float(bare.grad)), "the plant no longer breaks"


def test_the_nearest_wrong_speaker_is_pushed_away() -> None:
    """A constant above the edge would leave alone exactly the wrong speaker who is nearest of all."""
    cosine = torch.tensor([0.999999, 0.9999], requires_grad=True)
    add_angle(cosine, -0.06).sum().backward()
    assert cosine.grad is not None
    assert cosine.grad.min() > 0.5


def at_cosine(loss: AdditiveAngularMargin, cosine: float, items: int, seed: int) -> tuple[Tensor, Tensor]:
    """Embeddings of random direction but for their cosine to the true class."""
    random = torch.Generator().manual_seed(seed)
    labels = torch.randint(loss.classes, (items,), generator=random)
    own = F.normalize(loss.weight.detach(), dim=1)[labels]
    noise = torch.randn(items, loss.dimensions, generator=random)
    across = F.normalize(noise - (noise * own).sum(1, keepdim=True) * own, dim=1)
    return cosine * own + math.sqrt(1 - cosine**2) * across, labels


@pytest.mark.parametrize("cosine", sorted(TABLE))
def test_published_table_of_loss_and_accuracies(cosine: float) -> None:
    losses, with_margin, without = [], [], []
    for seed in range(10):
        torch.manual_seed(seed)
        loss = AdditiveAngularMargin(512, 140, margin=0.2, scale=30.0)
        embeddings, labels = at_cosine(loss, cosine, 400, seed)
        output = loss(embeddings, labels)
        moved = add_angle(output.cosines.gather(1, labels[:, None]), 0.2)
        logits = output.cosines.scatter(1, labels[:, None], moved)
        losses.append(float(output.loss.detach()))
        with_margin.append(100 * float((logits.argmax(1) == labels).float().mean()))
        without.append(100 * float(output.correct.float().mean()))
    expected = TABLE[cosine]
    assert np.mean(losses) == pytest.approx(expected[0], abs=0.05)
    assert np.mean(with_margin) == pytest.approx(expected[1], abs=4.0 if 0 < expected[1] < 100 else 0.1)
    assert np.mean(without) == pytest.approx(expected[2], abs=4.0 if 0 < expected[2] < 100 else 0.5)


def test_sub_centres_let_the_nearest_count() -> None:
    loss = AdditiveAngularMargin(4, 3, sub_centres=2)
    with torch.no_grad():
        loss.weight.copy_(torch.eye(4)[[0, 1, 2, 2, 3, 3]])
    output = loss(torch.eye(4)[[0, 1]], torch.tensor([0, 0]))
    assert output.correct.tolist() == [True, True]
    assert output.cosines.tolist() == [[1, 0, 0], [1, 0, 0]]


def test_more_hard_negatives_than_wrong_speakers_are_refused() -> None:
    with pytest.raises(UserError, match=r"loss\.inter_top_k: 9 wrong speakers do not exist among 9; give at most 8"):
        AdditiveAngularMargin(16, 9, inter_top_k=9)
