"""The puzzle of the reference experiment R3: a loss that falls from 11 to 6 beside an accuracy of 0.00 %.

Its readers blamed a mismatch of labels. The labels were fine: accuracy was taken from the logits with the margin, where the true speaker's
cosine of 0.2 counts as cos(acos(0.2) + 0.2) = 0.0013, below the largest of 139 others. Trained here: 140 speakers, scale 30, margin 0.2,
as there, on clusters instead of recordings; the loss falls from 11.1 to 5.7 (R3: 10.86 to 5.97).
"""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from auscult.losses.additive_angular_margin import AdditiveAngularMargin, add_angle

SPEAKERS, FEATURES, DIMENSIONS = 140, 256, 2048


class Clusters:
    """Speakers as directions with noise around them, of which a linear encoder has to find the directions that the loss wants."""

    def __init__(self, noise: float) -> None:
        self.random = torch.Generator().manual_seed(0)
        self.centres = torch.randn(SPEAKERS, FEATURES, generator=self.random)
        self.noise = noise

    def batch(self, speakers: int) -> tuple[Tensor, Tensor]:
        """Return (speakers, 2, features) and labels (speakers,)."""
        labels = torch.randperm(SPEAKERS, generator=self.random)[:speakers]
        noise = torch.randn(speakers, 2, FEATURES, generator=self.random)
        return self.centres[labels][:, None] + self.noise * noise, labels


def accuracy_with_margin(loss: AdditiveAngularMargin, cosines: Tensor, truth: Tensor) -> float:
    """What voxceleb_trainer prints: top-1 of the logits that the cross-entropy is taken of."""
    moved = add_angle(cosines.gather(1, truth[:, None]), loss.margin)
    return float((cosines.scatter(1, truth[:, None], moved).argmax(1) == truth).float().mean())


@pytest.fixture(scope="module")
def history() -> list[tuple[float, float, float]]:
    """Loss, accuracy with margin and margin-free accuracy of every update, until the loss is where R3 ended."""
    torch.manual_seed(0)
    encoder, loss, clusters = nn.Linear(FEATURES, DIMENSIONS), AdditiveAngularMargin(DIMENSIONS, SPEAKERS), Clusters(noise=0.5)
    optimizer = torch.optim.SGD([*encoder.parameters(), *loss.parameters()], lr=0.05)
    rows: list[tuple[float, float, float]] = []
    while len(rows) < 400 and (not rows or rows[-1][0] > 6.0):
        features, labels = clusters.batch(100)
        output = loss(encoder(features), labels)
        optimizer.zero_grad()
        output.loss.backward()
        optimizer.step()
        masked = accuracy_with_margin(loss, output.cosines, labels.repeat_interleave(2))
        rows.append((float(output.loss.detach()), masked, float(output.correct.float().mean())))
    return rows


def test_r3_accuracy_is_margin_free(history: list[tuple[float, float, float]]) -> None:
    losses, masked, free = zip(*history, strict=True)
    assert losses[0] == pytest.approx(11, abs=0.5)
    assert losses[-1] < 6.0, "the run no longer reaches the loss at which R3 stopped"
    assert max(masked) < 0.01, "0.00 % throughout, as in R3's log"
    assert masked[-1] == 0.0
    assert free[0] < 0.05
    assert free[-1] > 0.95
