"""Generalised end-to-end loss: every utterance against the centroid of every speaker of the batch.

Wan et al. 2018 (arXiv 1710.10467), softmax form: the centroid of the utterance's own speaker leaves the utterance out, since it would
otherwise recognise itself. Every utterance is a query, so a batch of S speakers gives S * U terms. Rejected: a floor of 1e-6 under the
cosines (voxceleb_trainer), below which wrong speakers are all equally far and receive no gradient.
"""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from auscult.losses.centroids import AffineCosine, directions, matched
from auscult.losses.speaker_loss import InitialLoss, SpeakerLoss, SpeakerLossOutput
from auscult.registry import INJECTED, register


@register("loss", "ge2e")
class GeneralisedEndToEnd(SpeakerLoss):
    """Cross-entropy over scaled cosines of all utterances to all centroids.

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
        """Return the mean over all utterances."""
        speakers, utterances, _ = embeddings.shape
        units = directions(embeddings)
        total = units.sum(1)  # (speakers, dimensions); a centroid's length does not matter
        own = (units * directions(total[:, None] - units)).sum(2)  # (speakers, utterances), against the others of the speaker
        cosine = (units.flatten(0, 1) @ directions(total).T).view(speakers, utterances, speakers)
        same = torch.eye(speakers, dtype=torch.bool, device=units.device)[:, None]  # (speakers, 1, speakers)
        cosine = torch.where(same, own[..., None], cosine).flatten(0, 1)  # (speakers * utterances, speakers)
        truth = torch.arange(speakers, device=units.device).repeat_interleave(utterances)
        return matched(self.affine(cosine), cosine, truth)

    def initial(self, speakers: int, utterances: int) -> InitialLoss:
        """Return the loss of embeddings of random direction, about ln S + w^2 / (2 D)."""
        return InitialLoss.of_softmax(speakers, self.dimensions, float(self.affine.scale.detach()), ", learned")
