"""The contract of every speaker loss: what goes in, what comes out, and a check that labels and embeddings belong together.

Problem: the reference experiment's log showed a falling loss beside an accuracy of 0.00 %, and its readers blamed the labels. The
accuracy was taken from logits with the margin subtracted, which stays at zero until the network is nearly done (see
`docs/verification.md`). Choice: a loss returns the *margin-free* cosines and what is correct by them, so no caller can take the
other ones; it takes embeddings as (speakers, utterances, dimensions) with one label per speaker, and the classification losses
themselves flatten that to one row per utterance. Averaging a speaker's utterances before a classification loss, as that
experiment did, trains on means, tests on single utterances and drops half of the gradient signal; here it cannot happen.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from auscult.errors import UserError
from auscult.losses.random_directions import Logits, expected_cross_entropy

LARGEST_COSINE = 1.0 - 1e-7
"""Cosines are kept inside this, because the arc cosine and sqrt(1 - c^2) have no finite gradient at 1."""


@dataclass(frozen=True)
class SpeakerLossOutput:
    """What a speaker loss says about a batch.

    Attributes:
        loss: () float32, mean over the items.
        cosines: (items, classes) float32 without margin and scale, detached; for a metric loss (items, speakers of the batch): cosines,
            or for the prototypical loss negative squared distances, to the centroids.
        correct: (items,) bool, whether the largest entry of a row of `cosines` is the true class.
        count: number of items the mean is over.
        accuracy_name: what the share of `correct` is called in a log: "accuracy" is class top-1 over all training speakers,
            "batch_accuracy" is the match within the batch.
        terms: named parts of a sum of losses.
    """

    loss: Tensor
    cosines: Tensor
    correct: Tensor
    count: int
    accuracy_name: Literal["accuracy", "batch_accuracy"]
    terms: dict[str, float]


@dataclass(frozen=True)
class InitialLoss:
    """What the loss is for embeddings of random direction, from theory.

    Attributes:
        value: in nats.
        formula: what it was computed for, in words and numbers.
    """

    value: float
    formula: str

    @classmethod
    def of_softmax(
        cls, classes: int, dimensions: int, scale: float, what: str = "", margin: Logits | None = None, sub_centres: int = 1
    ) -> InitialLoss:
        """Return that of a softmax over scaled cosines; `what` says the margin, the rest is `expected_cross_entropy`'s."""
        value = expected_cross_entropy(classes, dimensions, scale, margin, sub_centres)
        numbers = f"{classes} classes, {dimensions} dimensions, scale {scale:g}{what}"
        return cls(value, f"softmax over cosines of random directions: {numbers} give {value:.2f}")


class SpeakerLoss(nn.Module, ABC):
    """Base of the speaker losses; `dimensions` and `classes` come from the program (`INJECTED`), a class count is never configured.

    Attributes:
        dimensions: size of an embedding.
        classes: training speakers.
        minimum_utterances: fewest utterances per speaker in a batch.
    """

    minimum_utterances: int = 1

    def __init__(self, dimensions: int, classes: int) -> None:
        super().__init__()
        if dimensions < 1 or classes < 2:
            raise UserError(f"{type(self).__name__}: expected at least 1 dimension and 2 speakers, got {dimensions} and {classes}")
        self.dimensions, self.classes = dimensions, classes

    def forward(self, embeddings: Tensor, labels: Tensor) -> SpeakerLossOutput:
        """Return loss and margin-free cosines; everything in float32, whatever the autocast state.

        Args:
            embeddings: (speakers, utterances, dimensions), or (items, dimensions) for one utterance each.
            labels: (speakers,) of any integer type, one per row of the first axis.

        Raises:
            UserError: the shapes do not belong together, a label is out of range, or the loss needs more utterances per speaker.
        """
        self._check_shapes(embeddings, labels)
        wide = embeddings[:, None] if embeddings.dim() == 2 else embeddings
        if wide.shape[1] < self.minimum_utterances:
            raise UserError(
                f"{type(self).__name__} compares utterances of a speaker and needs {self.minimum_utterances} of each, the batch has "
                f"{wide.shape[1]}; set data.batch.utterances to {self.minimum_utterances} or more"
            )
        with torch.autocast(embeddings.device.type, enabled=False):
            return self.compute(wide.float(), labels.to(torch.int64))

    @abstractmethod
    def compute(self, embeddings: Tensor, labels: Tensor) -> SpeakerLossOutput:
        """Return the result for checked float32 embeddings (speakers, utterances, dimensions) and labels (speakers,)."""

    @abstractmethod
    def initial(self, speakers: int, utterances: int) -> InitialLoss | None:
        """Return the loss expected at the start for a batch of this shape; None where theory gives none."""

    def _check_shapes(self, embeddings: Tensor, labels: Tensor) -> None:
        name = type(self).__name__
        if embeddings.dim() not in (2, 3) or embeddings.shape[-1] != self.dimensions or not embeddings.numel():
            raise UserError(
                f"{name}: embeddings must be (speakers, utterances, {self.dimensions}) or (items, {self.dimensions}), none of them 0, "
                f"not {tuple(embeddings.shape)}"
            )
        whole = not (labels.is_floating_point() or labels.is_complex() or labels.dtype == torch.bool)
        if labels.dim() != 1 or not whole or labels.shape[0] != embeddings.shape[0]:
            raise UserError(
                f"{name}: {labels.dtype} labels {tuple(labels.shape)} for embeddings {tuple(embeddings.shape)}; give one integer label per "
                "speaker, or flatten both: embeddings.flatten(0, 1) with labels.repeat_interleave(utterances)"
            )
        outside = ((labels < 0) | (labels >= self.classes)).nonzero().flatten().tolist()
        if outside:
            raise UserError(
                f"{name}: label {int(labels[outside[0]])} of speaker {outside[0]} is outside the {self.classes} classes, "
                f"0 to {self.classes - 1}"
            )


def flatten(embeddings: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Return one row per utterance: (speakers, utterances, dimensions), (speakers,) -> (items, dimensions), (items,), speaker-major.

    >>> flatten(torch.zeros(2, 3, 4), torch.tensor([5, 7]))[1].tolist()
    [5, 5, 5, 7, 7, 7]
    """
    return embeddings.flatten(0, 1), labels.repeat_interleave(embeddings.shape[1])
