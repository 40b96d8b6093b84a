"""Prototypical loss: each speaker's first utterance must lie nearest to the mean of the speaker's others.

Snell et al. 2017 (arXiv 1703.05175), as used for speakers by Chung et al. 2020 (arXiv 2003.11982): squared distances, no normalisation, so
the length of embeddings matters in training and scores should be distances as well; the angular form is usually better.
"""

from __future__ import annotations

from typing import Annotated

import torch
from torch import Tensor

from auscult.losses.centroids import matched
from auscult.losses.speaker_loss import InitialLoss, SpeakerLoss, SpeakerLossOutput
from auscult.registry import INJECTED, register


@register("loss", "prototypical")
class Prototypical(SpeakerLoss):
    """Cross-entropy over minus squared distances to the centroids of the batch.

    Args:
        dimensions: supplied by the program.
        classes: supplied by the program; not used, the classes are the speakers of a batch.
    """

    minimum_utterances = 2

    def __init__(self, dimensions: Annotated[int, INJECTED], classes: Annotated[int, INJECTED]) -> None:
        super().__init__(dimensions, classes)

    def compute(self, embeddings: Tensor, labels: Tensor) -> SpeakerLossOutput:
        """Return the loss over the first utterance of each speaker; `cosines` hold minus squared distances."""
        query, centroids = embeddings[:, 0], embeddings[:, 1:].mean(1)  # both (speakers, dimensions)
        distances = (query[:, None] - centroids[None]).square().sum(2)
        return matched(-distances, -distances, torch.arange(len(query), device=query.device))

    def initial(self, speakers: int, utterances: int) -> InitialLoss | None:
        """Return nothing: the loss depends on the scale of the embeddings (ln S only if all coincide)."""
        return None
