"""The unknowns of an attack: features without what the front-end repeats.

Problem: DeepSpeech 1 sees each frame nineteen times, in its own place and as a neighbour's context. An attack that treats the stacked
features as free reconstructs nineteen versions that contradict each other, and has nineteen times the unknowns. Choice: unknowns are
single frames; stacking is linear and belongs to what the attacker knows. Other front-ends repeat nothing, and the two forms are one.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from auscult.audio.front_end import Features, FrontEnd
from auscult.audio.front_ends.mfcc_context import MfccContext


@dataclass(frozen=True)
class FeatureSpace:
    """How single frames become the features that a network takes.

    Attributes:
        width: values per single frame.
        context: frames on each side that are stacked.
    """

    width: int
    context: int = 0

    @classmethod
    def of(cls, front_end: FrontEnd) -> FeatureSpace:
        """Return the space of a front-end."""
        if isinstance(front_end, MfccContext):
            return cls(front_end.coefficients, front_end.context)
        return cls(front_end.bins)

    def stack(self, frames: Tensor, lengths: Tensor) -> Features:
        """Return what the network takes.

        Args:
            frames: (batch, time, width), anything beyond the lengths.
            lengths: (batch,) int64.

        Returns:
            Features (batch, time, width * (2 * context + 1)), zero beyond the lengths, differentiable.
        """
        mask = (torch.arange(frames.shape[1], device=frames.device) < lengths[:, None])[..., None]
        single = torch.where(mask, frames, 0.0)
        if not self.context:
            return Features(single, lengths)
        around = functional.pad(single, (0, 0, self.context, self.context)).unfold(1, 2 * self.context + 1, 1)
        return Features(torch.where(mask, around.transpose(2, 3).flatten(2), 0.0), lengths)

    def single(self, features: Features) -> Tensor:
        """Return single frames (batch, time, width) of what the network takes; the inverse of `stack`."""
        first = self.context * self.width
        return features.values[..., first : first + self.width]
