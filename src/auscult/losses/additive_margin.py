"""Additive margin softmax: the cosine of the true class must exceed the others by a margin.

Wang et al. 2018 (arXiv 1801.05599): logit s (cos - m) for the true class, s cos for the others.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from torch import Tensor

from auscult.losses.class_cosines import at_labels, class_weights, classified, cosines, target_entries
from auscult.losses.speaker_loss import InitialLoss, SpeakerLoss, SpeakerLossOutput, flatten
from auscult.registry import INJECTED, register


@register("loss", "additive_margin")
class AdditiveMargin(SpeakerLoss):
    """AM-softmax over the training speakers; every utterance is a row.

    Args:
        dimensions: supplied by the program.
        classes: supplied by the program.
        margin: subtracted from the cosine of the true class; 0 is the normalised softmax.
        scale: of the logits.
    """

    def __init__(
        self,
        dimensions: Annotated[int, INJECTED],
        classes: Annotated[int, INJECTED],
        margin: Annotated[float, Field(ge=0, lt=1)] = 0.2,
        scale: Annotated[float, Field(gt=0)] = 30.0,
    ) -> None:
        super().__init__(dimensions, classes)
        self.margin, self.scale = margin, scale
        self.margin_in_effect = margin
        self.weight = class_weights(classes, dimensions)

    def set_margin(self, fraction: float) -> None:
        """Use this share of the margin from now on."""
        self.margin_in_effect = fraction * self.margin

    def compute(self, embeddings: Tensor, labels: Tensor) -> SpeakerLossOutput:
        """Return cross-entropy with the margin, and cosines without it."""
        rows, targets = flatten(embeddings, labels)
        free = cosines(rows, self.weight)
        logits = self.scale * at_labels(free, targets, target_entries(free, targets) - self.margin_in_effect)
        return classified(logits, free, targets)

    def initial(self, speakers: int, utterances: int) -> InitialLoss:
        """Return the loss of random directions, about ln C + s m + s^2 / (2 D)."""
        margin = self.margin_in_effect
        return InitialLoss.of_softmax(
            self.classes, self.dimensions, self.scale, f", additive margin {margin:g}", lambda cosine: cosine - margin
        )
