"""Plain softmax over the training speakers: a linear layer and cross-entropy, the loss every other one is compared with."""

from __future__ import annotations

import math
from typing import Annotated

from torch import Tensor, nn

from auscult.losses.class_cosines import classified
from auscult.losses.speaker_loss import InitialLoss, SpeakerLoss, SpeakerLossOutput, flatten
from auscult.registry import INJECTED, register


@register("loss", "softmax")
class SpeakerSoftmax(SpeakerLoss):
    """Cross-entropy of a linear layer; every utterance is a row. `cosines` of the result are its logits: there is no margin to leave out.

    Args:
        dimensions: supplied by the program.
        classes: supplied by the program.
    """

    def __init__(self, dimensions: Annotated[int, INJECTED], classes: Annotated[int, INJECTED]) -> None:
        super().__init__(dimensions, classes)
        self.fc = nn.Linear(dimensions, classes)

    def compute(self, embeddings: Tensor, labels: Tensor) -> SpeakerLossOutput:
        """Return cross-entropy and logits."""
        rows, targets = flatten(embeddings, labels)
        logits = self.fc(rows)
        return classified(logits, logits, targets)

    def initial(self, speakers: int, utterances: int) -> InitialLoss:
        """Return ln C + 1/6: half the variance of the logits that a fresh linear layer makes of embeddings of unit variance."""
        value = math.log(self.classes) + 1 / 6
        return InitialLoss(value, f"ln C + 1/6 for C={self.classes} and embeddings of unit variance is {value:.2f}")
