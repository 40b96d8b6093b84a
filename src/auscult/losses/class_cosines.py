"""What the margin losses share: class weights, cosines, and the loss that embeddings of random direction give.

Cosines are computed in float32 from normalised vectors with a floor under their lengths, so that a zero embedding has cosine zero and a
finite gradient.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from auscult.losses.speaker_loss import SpeakerLossOutput

SHORTEST = 1e-6
"""Floor under the length of a vector that is normalised."""


def class_weights(rows: int, dimensions: int) -> nn.Parameter:
    """Return class weights (rows, dimensions) of random direction and length about 1."""
    return nn.Parameter(torch.randn(rows, dimensions) / math.sqrt(dimensions))


def cosines(embeddings: Tensor, weights: Tensor) -> Tensor:
    """Return cosines of every embedding to every weight: (items, dimensions), (classes, dimensions) -> (items, classes)."""
    return F.normalize(embeddings, dim=-1, eps=SHORTEST) @ F.normalize(weights, dim=-1, eps=SHORTEST).T


def at_labels(values: Tensor, labels: Tensor, replacement: Tensor) -> Tensor:
    """Return `values` (items, classes) with the entry of each item's label replaced by `replacement` (items,)."""
    return values.scatter(1, labels[:, None], replacement[:, None].to(values.dtype))


def target_entries(values: Tensor, labels: Tensor) -> Tensor:
    """Return the entry of each item's label: (items, classes), (items,) -> (items,)."""
    return values.gather(1, labels[:, None])[:, 0]


def classified(logits: Tensor, margin_free: Tensor, labels: Tensor, terms: dict[str, float] | None = None) -> SpeakerLossOutput:
    """Return the output of a classification loss: cross-entropy of the logits, accuracy of what carries no margin.

    Args:
        logits: (items, classes), with margin and scale.
        margin_free: (items, classes) cosines, or logits of a loss without margin.
        labels: (items,) int64.
        terms: named parts.
    """
    free = margin_free.detach()
    return SpeakerLossOutput(
        F.cross_entropy(logits, labels), free, free.argmax(1) == labels, len(labels), "accuracy", terms if terms is not None else {}
    )
