"""A speaker encoder and its loss as one module, so that one optimiser, one checkpoint and one guard see all trained weights.

The class weights of a classification loss are trained with the encoder and thrown away afterwards; kept apart they are easily
left out of a checkpoint (the resumed run then starts with a random head) or of the gradient guard.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from auscult.losses.speaker_loss import SpeakerLoss
from auscult.models.speaker_encoder import SpeakerEncoder


class SpeakerNetwork(nn.Module):
    """Encoder and criterion.

    Args:
        encoder: samples to embeddings; what is used after training.
        criterion: embeddings and labels to a loss; needed for training only.
    """

    def __init__(self, encoder: SpeakerEncoder, criterion: SpeakerLoss) -> None:
        super().__init__()
        self.encoder = encoder
        self.criterion = criterion

    @property
    def front_end(self) -> Any:
        """The encoder's front-end."""
        return self.encoder.front_end

    @property
    def minimum_samples(self) -> int:
        """Fewest samples that give an embedding."""
        return self.encoder.minimum_samples

    def forward(self, samples: Tensor, sample_lengths: Tensor) -> Tensor:
        """(batch, time), (batch,) -> embeddings (batch, dimensions) float32."""
        embeddings: Tensor = self.encoder(samples, sample_lengths)
        return embeddings
