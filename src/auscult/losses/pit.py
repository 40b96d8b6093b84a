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
from auscult.losses.permutations import best_orders
from auscult.ops.silence import SILENT_POWER
from auscult.registry import register

_TINY = 1e-14


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
        threshold: share of the target's power added to the error's: 0.001 stops rewarding at 30 dB, smoothly; 0 is off.
    """

    scaled: bool

    def __init__(self, threshold: Annotated[float, Field(ge=0, lt=1)] = 0.0) -> None:
        super().__init__()
        self.threshold = threshold

    def forward(self, estimates: Tensor, sources: Tensor) -> PitLoss:
        """Compare estimates with sources, (batch, source, time) both."""
        if estimates.shape != sources.shape or estimates.dim() != 3:
            raise UserError(
                f"separation loss: expected estimates and sources of one shape (batch, source, time), got {tuple(estimates.shape)} and "
                f"{tuple(sources.shape)}"
            )
        with torch.autocast(device_type=estimates.device.type, enabled=False):
            return self._compute(_centred(estimates), _centred(sources))

    def _compute(self, estimates: Tensor, sources: Tensor) -> PitLoss:
        energy = sources.square().sum(-1)
        active = ~(energy < SILENT_POWER * sources.shape[-1])  # not finite counts as active: it must be seen
        costs = torch.stack([self._levels(one[:, None], sources, energy) for one in estimates.detach().unbind(1)], dim=2)
        permutation = best_orders(costs.masked_fill(~active[..., None], 0.0))
        chosen = estimates.gather(1, permutation[..., None].expand_as(estimates))
        losses = self._levels(chosen, sources, energy).masked_fill(~active, 0.0)
        return PitLoss(losses.sum(1) / active.sum(1).clamp_min(1), permutation, active)

    def _levels(self, estimates: Tensor, sources: Tensor, energy: Tensor) -> Tensor:
        safe = energy.clamp_min(torch.finfo(energy.dtype).tiny * 1e20)
        gains = (estimates * sources).sum(-1) / safe if self.scaled else torch.ones_like(energy)
        power = gains.square() * safe
        error = (estimates - gains[..., None] * sources).square().sum(-1)
        return -10 * torch.log10((power + _TINY * safe) / (error + self.threshold * power + _TINY * safe))


@register("loss", "pit_si_sdr")
class PitSiSdr(PermutationInvariantLoss):
    """Negative scale-invariant signal-to-distortion ratio."""

    scaled = True


@register("loss", "pit_snr")
class PitSnr(PermutationInvariantLoss):
    """Negative signal-to-noise ratio: the level of the estimate counts too."""

    scaled = False


def _centred(signals: Tensor) -> Tensor:
    wide = signals if signals.dtype == torch.float64 else signals.float()
    return wide - wide.mean(-1, keepdim=True)
