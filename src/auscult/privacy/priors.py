"""What an attacker expects of features before seeing any gradient: that they are smooth, small, and normalised as the front-end does it.

Problem: the last layer's gradient has fewer equations than an utterance has features, and where it says nothing descent leaves noise.
Choice: three penalties whose unit is that of the features (or its square), as means over frames and bins, so that a weight means the
same for every length; and the one thing that is known exactly: mean and deviation, which a front-end fixes for each bin or utterance.
That one is a projection after a step, not a penalty. Rejected: writing the unknowns as normalised free variables, which starts from
zeros with a division by nothing.
Total variation (Rudin et al. 1992) is the published weight of 0.5 per frame and bin in Dang et al. 2021 (arXiv:2104.07815); the
normalisation is `auscult.audio.front_ends.normalisation`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from auscult.audio.front_end import FrontEnd
from auscult.audio.front_ends.normalisation import Normalise, normalise
from auscult.errors import UserError

Projection = Literal["none", "front_end"]


@dataclass(frozen=True)
class Priors:
    """Weights of penalties; 0 leaves one out.

    Args:
        total_variation: mean absolute difference of neighbouring frames plus that of neighbouring bins.
        smoothness: mean squared second difference over bins; large where a spectrum zigzags.
        l2: mean square.

    >>> Priors(l2=0.5)(torch.full((1, 2, 3), 2.0), torch.tensor([2])).item()
    2.0
    """

    total_variation: float = 0.0
    smoothness: float = 0.0
    l2: float = 0.0

    def __post_init__(self) -> None:
        for name in ("total_variation", "smoothness", "l2"):
            if not getattr(self, name) >= 0:
                raise UserError(f"{name}: the weight of a prior is 0 or more, not {getattr(self, name)}")

    @property
    def used(self) -> bool:
        """Whether any weight is above 0."""
        return max(self.total_variation, self.smoothness, self.l2) > 0

    def __call__(self, frames: Tensor, lengths: Tensor) -> Tensor:
        """Return the weighted penalty, (), float64, the mean over utterances.

        Args:
            frames: (batch, time, width); what is beyond the lengths does not count.
            lengths: (batch,) int64.
        """
        total = torch.zeros((), dtype=torch.float64, device=frames.device)
        for one, length in zip(frames, lengths.tolist(), strict=True):
            true = one[:length].double()  # (time, width)
            if self.total_variation:
                total = total + self.total_variation * (_mean(true.diff(dim=0).abs()) + _mean(true.diff(dim=1).abs()))
            if self.smoothness:
                total = total + self.smoothness * _mean(true.diff(n=2, dim=1).square())
            if self.l2:
                total = total + self.l2 * _mean(true.square())
        return total / len(frames)


def front_end_normalisation(front_end: FrontEnd) -> Normalise:
    """Return how a front-end normalises.

    Raises:
        UserError: it does not, so that there is nothing to project onto.
    """
    how = getattr(front_end, "normalise", "none")
    if how not in ("utterance", "bin"):
        raise UserError(f'projection: {type(front_end).__name__} normalises "{how}"; set projection to none')
    return "bin" if how == "bin" else "utterance"


def project(frames: Tensor, lengths: Tensor, how: Normalise) -> Tensor:
    """Return frames (batch, time, width) with mean 0 and deviation 1 for each bin or utterance, zero beyond the lengths; no gradient.

    A bin or utterance that is constant becomes zero.
    """
    return normalise(frames.detach(), lengths, how, in_place=False).to(frames.dtype)


def _mean(values: Tensor) -> Tensor:
    return values.sum() / max(values.numel(), 1)
