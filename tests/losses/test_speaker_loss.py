"""The contract of speaker losses: shapes, labels and the order of utterances, and every registered loss keeps it."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from auscult.errors import UserError
from auscult.losses.additive_margin import AdditiveMargin
from auscult.losses.ge2e import GeneralisedEndToEnd
from auscult.losses.speaker_loss import SpeakerLoss, flatten
from auscult.registry import build, registered
from auscult.testing.speaker_losses import check_speaker_loss

LOSSES = sorted(name for name, cls in registered("loss").items() if issubclass(cls, SpeakerLoss))
VARIANTS: list[dict[str, Any]] = [{"name": name} for name in LOSSES] + [
    {"name": "additive_margin", "margin": 0.0},
    {"name": "additive_angular_margin", "margin": 0.0},
    {"name": "additive_angular_margin", "sub_centres": 3},
    {"name": "additive_angular_margin", "inter_top_k": 3, "sub_centres": 2},
]


def batch(speakers: int, utterances: int, dimensions: int) -> tuple[Tensor, Tensor]:
    return torch.randn(speakers, utterances, dimensions, generator=torch.Generator().manual_seed(0)), torch.arange(speakers)


def test_the_losses_of_the_house_are_registered() -> None:
    assert LOSSES == [
        "additive_angular_margin", "additive_margin", "angular_prototypical", "ge2e", "prototypical", "softmax",
        "softmax_angular_prototypical",
    ]  # fmt: skip


@pytest.mark.parametrize("section", VARIANTS, ids=lambda section: "-".join(map(str, section.values())))
def test_conformance_suite_passes(section: dict[str, Any]) -> None:
    torch.manual_seed(1)
    check_speaker_loss(build("loss", section, dimensions=512, classes=140))


def test_flatten_is_speaker_major() -> None:
    embeddings, labels = batch(3, 2, 4)
    rows, targets = flatten(embeddings, labels)
    for row, (speaker, utterance) in enumerate([(0, 0), (0, 1), (1, 0), (1, 1), (2, 0), (2, 1)]):
        assert torch.equal(rows[row], embeddings[speaker, utterance])
        assert int(targets[row]) == speaker


def test_r3_loss_rejects_length_mismatch() -> None:
    """200 groups of 2 were averaged beside 400 labels, or every second label was dropped; neither may pass in silence."""
    loss = AdditiveMargin(8, 140)
    embeddings, labels = batch(100, 2, 8)
    message = r"torch.int64 labels \(200,\) for embeddings \(100, 2, 8\).*labels.repeat_interleave\(utterances\)"
    with pytest.raises(UserError, match=message):
        loss(embeddings, labels.repeat_interleave(2))
    with pytest.raises(UserError, match=r"labels \(50,\) for embeddings \(100, 8\)"):
        loss(embeddings.mean(1), labels[::2])


@pytest.mark.parametrize(
    ("shape", "labels", "message"),
    [
        ((4, 2, 7), [0, 1, 2, 3], r"\(speakers, utterances, 8\) or \(items, 8\)"),
        ((1, 4, 2, 8), [0], r"not \(1, 4, 2, 8\)"),
        ((8,), [0], r"not \(8,\)"),
        ((0, 2, 8), [], r"none of them 0, not \(0, 2, 8\)"),
        ((4, 2, 8), [0.0, 1.0, 2.0, 3.0], "torch.float32 labels"),
        ((4, 2, 8), [True, False, True, False], "torch.bool labels"),
        ((4, 2, 8), [[0], [1], [2], [3]], r"labels \(4, 1\)"),
        ((4, 2, 8), [0, 1, 5, 3], "label 5 of speaker 2 is outside the 5 classes, 0 to 4"),
        ((4, 2, 8), [0, -1, 2, 3], "label -1 of speaker 1 is outside"),
    ],
)
def test_what_does_not_fit_is_refused(shape: tuple[int, ...], labels: list[Any], message: str) -> None:
    given = torch.tensor(labels) if labels else torch.zeros(0, dtype=torch.int64)
    with pytest.raises(UserError, match=message):
        AdditiveMargin(8, 5)(torch.randn(*shape), given)


def test_too_few_utterances_or_classes_are_refused() -> None:
    with pytest.raises(UserError, match=r"needs 2 of each, the batch has 1; set data\.batch\.utterances to 2 or more"):
        GeneralisedEndToEnd(8, 5)(torch.randn(4, 8), torch.arange(4))
    with pytest.raises(UserError, match="at least 1 dimension and 2 speakers, got 8 and 1"):
        AdditiveMargin(8, 1)


@pytest.mark.parametrize("dtype", [torch.int32, torch.int16, torch.uint8])
def test_any_integer_labels(dtype: torch.dtype) -> None:
    loss = AdditiveMargin(8, 5)
    embeddings, labels = batch(4, 2, 8)
    assert torch.equal(loss(embeddings, labels.to(dtype)).loss, loss(embeddings, labels).loss)


def test_float64_and_half_are_computed_in_float32() -> None:
    loss = AdditiveMargin(8, 5)
    embeddings, labels = batch(4, 2, 8)
    for dtype in (torch.float64, torch.bfloat16, torch.float16):
        given = embeddings.to(dtype)
        value = loss(given, labels).loss
        assert value.dtype == torch.float32
        assert torch.equal(value, loss(given.float(), labels).loss)
