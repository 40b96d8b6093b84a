"""SpecAugment: hide bands of frequency and stretches of time from the model while it trains.

Problem: small corpora are learnt by heart. Choice: the masks of Park et al. 2019 (arXiv:1904.08779) without time warping
(their own ablation found it to matter least), widths as shares so that one setting suits 2 s and 20 s, masked with zero, which
is the mean of normalised features. Only true frames are masked, so padding changes nothing, and the random numbers come from
torch's generator on the features' device, so a resumed run draws the same masks.
"""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from auscult.audio.front_end import Features
from auscult.registry import register


@register("feature_augmentation", "spec_augment")
class SpecAugment(nn.Module):
    """Set random bands and stretches of each utterance to zero, in training mode only.

    Args:
        frequency_masks: bands per utterance.
        frequency_width: largest width of a band, as a share of the bins.
        time_masks: stretches per utterance.
        time_width: largest length of a stretch, as a share of the utterance's true frames.
    """

    def __init__(
        self,
        frequency_masks: Annotated[int, Field(ge=0)] = 2,
        frequency_width: Annotated[float, Field(ge=0, le=1)] = 0.15,
        time_masks: Annotated[int, Field(ge=0)] = 2,
        time_width: Annotated[float, Field(ge=0, le=1)] = 0.10,
    ) -> None:
        super().__init__()
        self.frequency_masks, self.frequency_width = frequency_masks, frequency_width
        self.time_masks, self.time_width = time_masks, time_width

    def forward(self, features: Features) -> Features:
        """Return masked features: values (batch, frames, bins) float32, same lengths; the very same features in evaluation mode."""
        if not self.training:
            return features
        values, lengths = features
        batch, frames, bins = values.shape
        all_bins = torch.full((batch,), bins, device=values.device)
        bands = _spans(all_bins, bins, self.frequency_masks, self.frequency_width)
        stretches = _spans(lengths.to(values.device), frames, self.time_masks, self.time_width)
        return Features(values.masked_fill(bands[:, None, :] | stretches[:, :, None], 0.0), lengths)

    def extra_repr(self) -> str:
        """Describe the masks in a line."""
        return (
            f"frequency_masks={self.frequency_masks}, frequency_width={self.frequency_width:g}, "
            f"time_masks={self.time_masks}, time_width={self.time_width:g}"
        )


def _spans(lengths: Tensor, size: int, count: int, width: float) -> Tensor:
    """Draw `count` spans of 0 to `width * length` positions inside each length: (batch, size) bool, True where masked."""
    drawn = torch.rand(2, len(lengths), count, device=lengths.device)
    longest = (lengths * width).floor()[:, None]
    spans = (drawn[0] * (longest + 1)).floor().minimum(longest)
    starts = (drawn[1] * (lengths[:, None] - spans + 1)).floor()
    position = torch.arange(size, device=lengths.device)[None, :, None]
    return ((position >= starts[:, None]) & (position < (starts + spans)[:, None])).any(-1)
