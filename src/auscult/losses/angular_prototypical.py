"""Angular prototypical loss: the prototypical loss on cosines, with a learned scale.

Chung et al. 2020, "In defence of metric learning for speaker recognition" (arXiv 2003.11982): query = first utterance, centroid = mean
of the others, logits w cos + b. The centroid is the mean of the embeddings as they are, and its direction counts.
"""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from auscult.losses.centroids import AffineCosine, directions, matched
from auscult.losses.speaker_loss import InitialLoss, SpeakerLoss, SpeakerLossOutput
from auscult.registry import INJECTED, register


@register("loss", "angular_prototypical")
class AngularPrototypical(SpeakerLoss):
    """Cross-entropy over scaled cosines to the centroids of the batch.

    Args:
        dimensions: supplied by the program.
        classes: supplied by the program; not used, the classes are the speakers of a batch.
        scale: of the cosines at the start; learned.
        offset: added to the logits at the start; learned.
    """

    minimum_utterances = 2

    def __init__(
        self,
        dimensions: Annotated[int, INJECTED],
        classes: Annotated[int, INJECTED],
        scale: Annotated[float, Field(gt=0)] = 10.0,
        offset: float = -5.0,
    ) -> None:
        super().__init__(dimensions, classes)
        self.affine = AffineCosine(scale, offset)

    def compute(self, embeddings: Tensor, labels: Tensor) -> SpeakerLossOutput:
        """Return the loss over the first utterance of each speaker."""
        cosine = directions(embeddings[:, 0]) @ directions(embeddings[:, 1:].mean(1)).T  # (speakers, speakers)
        return matched(self.affine(cosine), cosine, torch.arange(len(cosine), device=cosine.device))

    def initial(self, speakers: int, utterances: int) -> InitialLoss:
        """Return the loss of a query and centroids of random direction, about ln S + w^2 / (2 D)."""
        return InitialLoss.of_softmax(speakers, self.dimensions, float(self.affine.scale.detach()), ", learned")
