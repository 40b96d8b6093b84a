"""Softmax over the training speakers plus the angular prototypical loss, the pair that voxceleb_trainer's best model was trained with.

The softmax sees every utterance (one row each), the metric loss the utterances of a speaker side by side; feeding one of them what
belongs to the other is the mistake the contract of speaker losses rules out.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from torch import Tensor

from auscult.losses.angular_prototypical import AngularPrototypical
from auscult.losses.speaker_loss import InitialLoss, SpeakerLoss, SpeakerLossOutput
from auscult.losses.speaker_softmax import SpeakerSoftmax
from auscult.registry import INJECTED, register


@register("loss", "softmax_angular_prototypical")
class SoftmaxAngularPrototypical(SpeakerLoss):
    """Sum of both losses; accuracy is that of the softmax.

    Args:
        dimensions: supplied by the program.
        classes: supplied by the program.
        scale: of the cosines of the angular part at the start; learned.
        offset: added to its logits at the start; learned.
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
        self.softmax = SpeakerSoftmax(dimensions, classes)
        self.angular = AngularPrototypical(dimensions, classes, scale, offset)

    def compute(self, embeddings: Tensor, labels: Tensor) -> SpeakerLossOutput:
        """Return the sum, with both parts and the match within the batch among its terms."""
        classes, batch = self.softmax.compute(embeddings, labels), self.angular.compute(embeddings, labels)
        terms = {
            "softmax": float(classes.loss.detach()),
            "angular_prototypical": float(batch.loss.detach()),
            "batch_accuracy": float(batch.correct.float().mean()),
        }
        return SpeakerLossOutput(classes.loss + batch.loss, classes.cosines, classes.correct, classes.count, "accuracy", terms)

    def initial(self, speakers: int, utterances: int) -> InitialLoss:
        """Return the sum of what both parts start with."""
        parts = self.softmax.initial(speakers, utterances), self.angular.initial(speakers, utterances)
        return InitialLoss(parts[0].value + parts[1].value, f"{parts[0].formula}, plus {parts[1].formula}")
