"""The first loss from theory, against the published closed forms where they hold and against simulation where they do not."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

from auscult.losses.random_directions import expected_cross_entropy
from auscult.losses.speaker_loss import SpeakerLoss
from auscult.registry import build
from auscult.streams import Streams

ITEMS = 2000


def simulated(classes: int, dimensions: int, scale: float, margin: float, seed: int = 0) -> tuple[float, float]:
    """Additive-margin loss of independent random directions, one set of class weights per item, in NumPy; mean and standard error."""
    random = Streams(seed).generator("test")
    losses = []
    for _ in range(ITEMS):
        weights = random.standard_normal((classes, dimensions))
        logits = scale * weights[:, 0] / np.linalg.norm(weights, axis=1)  # to an embedding along the first axis
        logits[0] -= scale * margin
        losses.append(np.logaddexp.reduce(logits) - logits[0])
    return float(np.mean(losses)), float(np.std(losses) / math.sqrt(ITEMS))


@pytest.mark.parametrize(
    ("classes", "dimensions", "scale", "margin"), [(140, 64, 30.0, 0.2), (10, 8, 5.0, 0.0), (3, 3, 30.0, 0.3), (60, 128, 10.0, 0.0)]
)
def test_expectation_is_that_of_simulation(classes: int, dimensions: int, scale: float, margin: float) -> None:
    mean, error = simulated(classes, dimensions, scale, margin)
    assert abs(expected_cross_entropy(classes, dimensions, scale, lambda cosine: cosine - margin) - mean) < 4 * error


def test_limits() -> None:
    assert expected_cross_entropy(7, 16, 1e-6) == pytest.approx(math.log(7), abs=1e-4)
    assert expected_cross_entropy(140, 10**6, 30.0) == pytest.approx(math.log(140), abs=1e-3)
    closed = math.log(10**6) + 10.0**2 / (2 * 512)
    assert expected_cross_entropy(10**6, 512, 10.0) == pytest.approx(closed, rel=1e-4)


PUBLISHED: list[tuple[dict[str, Any], int, int, float]] = [
    ({"name": "additive_angular_margin", "margin": 0.2}, 140, 512, 11.78),
    ({"name": "additive_angular_margin", "margin": 0.2}, 5994, 512, 15.54),
    ({"name": "additive_angular_margin", "margin": 0.1}, 7554, 512, 12.80),
    ({"name": "additive_angular_margin", "sub_centres": 3}, 140, 512, 11.48),
    ({"name": "additive_angular_margin", "sub_centres": 3}, 5994, 512, 15.22),
    ({"name": "additive_angular_margin", "margin": 0.0}, 140, 512, 5.82),
    ({"name": "additive_margin"}, 140, 512, 11.82),
    ({"name": "additive_margin", "margin": 0.0}, 140, 512, 5.82),
    ({"name": "softmax"}, 140, 512, 5.10),
]
"""Loss, classes, dimensions, and the first loss by the closed form or by others' simulation (scale 30)."""


@pytest.mark.parametrize(("section", "classes", "dimensions", "published"), PUBLISHED)
def test_first_loss_of_classification(section: dict[str, Any], classes: int, dimensions: int, published: float) -> None:
    torch.manual_seed(0)
    with torch.no_grad():
        values = []
        for _ in range(2 if classes > 1000 else 12):
            loss: SpeakerLoss = build("loss", section, dimensions=dimensions, classes=classes)
            values.append(float(loss(torch.randn(200, 2, dimensions), torch.randint(classes, (200,))).loss))
    expected = loss.initial(200, 2)
    assert expected is not None
    assert expected.value == pytest.approx(published, rel=0.006)
    assert np.mean(values) == pytest.approx(expected.value, rel=0.01)


@pytest.mark.parametrize(("name", "published"), [("angular_prototypical", 5.39), ("ge2e", 5.39)])
def test_first_loss_of_metric_losses(name: str, published: float) -> None:
    torch.manual_seed(0)
    loss: SpeakerLoss = build("loss", {"name": name}, dimensions=512, classes=1000)
    with torch.no_grad():
        values = [float(loss(torch.randn(200, 2, 512), torch.arange(200)).loss) for _ in range(10)]
    expected = loss.initial(200, 2)
    assert expected is not None
    assert expected.value == pytest.approx(published, rel=0.003)
    assert np.mean(values) == pytest.approx(expected.value, rel=0.01)


def test_few_dimensions_raise_no_false_alarm() -> None:
    """At D = 64 the closed form says 17.93; a healthy loss starts at 16.4 and would be called wrong by more than 5 %."""
    torch.manual_seed(0)
    with torch.no_grad():
        values = []
        for _ in range(20):
            loss: SpeakerLoss = build("loss", {"name": "additive_angular_margin"}, dimensions=64, classes=140)
            values.append(float(loss(torch.randn(200, 64), torch.randint(140, (200,))).loss))
    expected = loss.initial(200, 1)
    assert expected is not None
    assert np.mean(values) == pytest.approx(expected.value, rel=0.01)
    closed = math.log(140) + 30 * math.sin(0.2) + 30**2 / (2 * 64)
    assert abs(np.mean(values) - closed) > 0.05 * closed


def test_the_text_names_the_numbers() -> None:
    loss: SpeakerLoss = build("loss", {"name": "additive_angular_margin"}, dimensions=512, classes=140)
    expected = loss.initial(200, 2)
    assert expected is not None
    assert expected.formula.endswith("140 classes, 512 dimensions, scale 30, angular margin 0.2 give 11.75")
    assert build("loss", {"name": "additive_angular_margin", "inter_top_k": 5}, dimensions=8, classes=9).initial(4, 2) is None
    assert build("loss", {"name": "prototypical"}, dimensions=8, classes=9).initial(4, 2) is None
