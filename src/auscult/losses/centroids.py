"""What the metric losses share: similarities between utterances and the centroids of a batch's speakers, and their result.

A metric loss has no class weights; the classes are the speakers of the batch, and "correct" is a match within the batch. That share depends
on the batch, so it is called batch accuracy and never accuracy.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from auscult.losses.class_cosines import SHORTEST
from auscult.losses.speaker_loss import SpeakerLossOutput

SMALLEST_SCALE = 1e-6
"""Floor under a learned scale: a negative one would reward the wrong speaker."""


class AffineCosine(nn.Module):
    """Logits w cos + b with a learned scale that stays positive.

    The floor is written into the parameter itself before it is used. A clamp whose result is dropped, as in voxceleb_trainer, changes
    nothing; one whose result is only used has no gradient below the floor, and the scale never comes back. It is written past autograd
    (`data`), because a write that autograd sees forbids the backward pass of whatever used the scale before: two calls, one backward.

    Args:
        scale: w at the start.
        offset: b at the start.
    """

    def __init__(self, scale: float, offset: float) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(float(scale)))
        self.offset = nn.Parameter(torch.tensor(float(offset)))

    def forward(self, cosine: Tensor) -> Tensor:
        """Return logits of any shape."""
        self.scale.data.clamp_(min=SMALLEST_SCALE)
        return self.scale * cosine + self.offset


def directions(embeddings: Tensor) -> Tensor:
    """Return embeddings of length 1, (..., dimensions)."""
    return F.normalize(embeddings, dim=-1, eps=SHORTEST)


def matched(logits: Tensor, similarities: Tensor, truth: Tensor) -> SpeakerLossOutput:
    """Return the output of a metric loss.

    Args:
        logits: (items, speakers) scaled similarities.
        similarities: (items, speakers) as they are.
        truth: (items,) int64 column of the true speaker.
    """
    free = similarities.detach()
    return SpeakerLossOutput(F.cross_entropy(logits, truth), free, free.argmax(1) == truth, len(truth), "batch_accuracy", {})
