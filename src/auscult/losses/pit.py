"""Permutation-invariant losses of separation: how far the estimates are from the sources, under the best assignment.

Problem: the outputs of a separator have no order, a target may be silent in an item, and what is averaged decides what is learned.
Published losses edit the estimates they are given (SpeechBrain multiplies them by a mask in place), return +-100 dB for silent targets
(auraloss) and average batch means, so that the items of a short last batch weigh more. Choice: one value per item, its mean over the
targets that are not silent; the caller adds items up. A soft threshold instead of a hard one: it bounds what an item that is nearly solved
can still gain, smoothly, where a hard threshold drops the item from one update to the next.
Sources: Le Roux et al. 2019 (arXiv 1811.02508) for SI-SDR; Luo and Mesgarani 2019 for its permutation-invariant use; Wisdom et al. 2020
(arXiv 2006.12701) for the soft threshold.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from auscult.errors import UserError
from auscult.losses.pair_levels import PairLevels
from auscult.registry import register


@dataclass(frozen=True)
class PitLoss:
    """Loss of a batch of mixtures.

    Attributes:
        values: (batch,) float32 in dB, differentiable; the mean over active targets, 0 where none is.
        permutation: (batch, source) int64: which estimate belongs to each source.
        active: (batch, source) bool: targets that are not silent; the others were left out.
    """

    values: Tensor
    permutation: Tensor
    active: Tensor


class PermutationInvariantLoss(nn.Module):
    """Negative level of the estimates relative to what is wrong with them, in dB, under the best assignment.

    Args:
        threshold: share of the target's power that is added to the error's: 0.001 stops rewarding at 30 dB, smoothly; 0 is off.
    """

    scaled: bool

    def __init__(self, threshold: Annotated[float, Field(ge=0, lt=1)] = 0.0) -> None:
        super().__init__()
        self.threshold = threshold

    def forward(self, estimates: Tensor, sources: Tensor) -> PitLoss:
        """Compare estimates with sources, (batch, source, time) both, which are left as they are.

        Values and gradients are computed in float32 (float64 for float64 input) whatever the autocast state. A target is silent where its
        power without its mean is below `auscult.ops.silence.SILENT_POWER` (-80 dB): it is left out and counted in `active`, and the
        estimates that belong to no active target are free. What is not finite in an active pair makes the item's value NaN.

        Raises:
            UserError: shapes differ, or a gradient of the sources is asked for.
        """
        if estimates.shape != sources.shape or estimates.dim() != 3 or 0 in estimates.shape:
            raise UserError(
                f"separation loss: expected estimates and sources of one shape (batch, source, time), got {tuple(estimates.shape)} and "
                f"{tuple(sources.shape)}"
            )
        if sources.requires_grad:
            raise UserError("separation loss: sources are data and get no gradient; detach them")
        with torch.autocast(device_type=estimates.device.type, enabled=False):
            return PitLoss(*PairLevels.apply(estimates, sources, self.scaled, self.threshold))  # type: ignore[no-untyped-call]


@register("loss", "pit_si_sdr")
class PitSiSdr(PermutationInvariantLoss):
    """Negative scale-invariant signal-to-distortion ratio of signals without their means.

    An estimate of zeros has value 0 and no gradient, so a mask must not start there.

    >>> sources = torch.tensor([[[1.0, -1.0, 1.0, -1.0], [1.0, 1.0, -1.0, -1.0]]])
    >>> estimates = sources.flip(1) * 3 + 0.1 * sources
    >>> PitSiSdr()(estimates, sources)
    PitLoss(values=tensor([-29.5424]), permutation=tensor([[1, 0]]), active=tensor([[True, True]]))
    """

    scaled = True


@register("loss", "pit_snr")
class PitSnr(PermutationInvariantLoss):
    """Negative signal-to-noise ratio of signals without their means: the level of the estimate counts too.

    The training loss of SPMamba (JusperLee/SPMamba). An estimate of zeros has value 0 and a gradient.
    """

    scaled = False
