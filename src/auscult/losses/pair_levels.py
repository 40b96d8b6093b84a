"""Level of each estimate relative to its error, under the best assignment, with a gradient written by hand.

Problem: the obvious code forms every pair of source and estimate as signals and lets autograd keep a dozen copies of them, and the loss
then costs more than a small model. Choice: everything the loss of a pair depends on is three numbers, <s, s>, <x, x> and <s, x>, so the
signals are read a few times and written never; the gradient is a weighted sum of them. Means are taken out of the numbers, not out
of the signals, as long as they are small. Close to the target the energy of the error is the difference of nearly equal numbers; pairs
above 25 dB, which their value already tells, are therefore measured on the error signal itself, item by item, so that what an item gets
does not depend on its batch. Rejected: the error signal for all (more time for digits nobody sees); autograd (twice the time); gradients
of the sources, which are data. Equations: Le Roux et al. 2019 (arXiv 1811.02508).
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.functional import one_hot

from auscult.losses.exact_products import add_products, energies, inner_products
from auscult.losses.permutations import best_orders
from auscult.ops.silence import SILENT_POWER

EXPLICIT_FROM = 25.0
"""Level in dB from which the error is formed as a signal."""

_LEAST = 1e-14
"""Share of the source's energy that is added to both sides: an estimate of zeros has level 0, a perfect one 140 dB."""


class Pairs(NamedTuple):
    """What the loss of pairs depends on, (batch, source, estimate) or, once chosen, (batch, source); float64.

    Attributes:
        gains: of the source within the estimate; 1 where levels count.
        powers: energy of the source within the estimate.
        errors: energy of the rest.
    """

    gains: Tensor
    powers: Tensor
    errors: Tensor

    def chosen(self, permutation: Tensor) -> Pairs:
        """Keep the estimate of each source."""
        return Pairs(*(one.gather(2, permutation[..., None]).squeeze(2) for one in self))


class _Signals(NamedTuple):
    """Sources and estimates, (batch, source, time) both in float32 or float64.

    Attributes:
        sources: as given, or without their means.
        estimates: the same; the error signals in their place once these are formed.
        means: (2, batch, source) float64.
        energies: without the means, (2, batch, source) float64.
    """

    sources: Tensor
    estimates: Tensor
    means: Tensor
    energies: Tensor

    @classmethod
    def of(cls, sources: Tensor, estimates: Tensor) -> _Signals:
        """Measure signals; items with one that is mostly its mean are moved to zero first, because little would be left of seven digits."""
        signals = cls.measured(sources, estimates)
        constant = (signals.energies < sources.shape[2] * signals.means.square()).any(2).any(0)  # (batch,)
        if not bool(constant.any()):
            return signals
        moves = (signals.means * constant[:, None]).to(sources.dtype)[..., None]
        return cls.measured(sources - moves[0], estimates - moves[1])

    @classmethod
    def measured(cls, sources: Tensor, estimates: Tensor) -> _Signals:
        """Measure signals as they are."""
        means = torch.stack([sources.mean(-1), estimates.mean(-1)]).double()
        whole = torch.stack([energies(sources), energies(estimates)])
        return cls(sources, estimates, means, whole - sources.shape[2] * means.square())


class PairLevels(torch.autograd.Function):
    """(estimates, sources, scaled, threshold) -> (values, permutation, active); see `auscult.losses.pit`."""

    @staticmethod
    def forward(ctx: Any, estimates: Tensor, sources: Tensor, scaled: bool, threshold: float) -> tuple[Tensor, Tensor, Tensor]:
        """Compare (batch, source, time) with (batch, source, time)."""
        dtype = torch.promote_types(torch.promote_types(sources.dtype, estimates.dtype), torch.float32)
        signals = _Signals.of(sources.to(dtype), estimates.to(dtype))
        active = ~(signals.energies[0] < SILENT_POWER * sources.shape[2])  # not finite is not silent: it must reach who looks for it
        energy = torch.where(active, signals.energies[0], 1.0)
        every = _pairs(signals, energy, scaled)
        losses = torch.where(active[..., None], _losses(every, energy[..., None], threshold), 0.0)
        permutation = best_orders(losses)
        pairs, chosen = every.chosen(permutation), losses.gather(2, permutation[..., None]).squeeze(2)
        near = (active & (pairs.powers > 10 ** (EXPLICIT_FROM / 10) * pairs.errors)).any(1)
        lacking = pairs.gains
        if bool(near.any()):
            signals, pairs, lacking = _with_errors(signals, pairs, energy, permutation, near)
            chosen = torch.where(active, _losses(pairs, energy, threshold), 0.0)
        share = active / active.sum(1, keepdim=True).clamp_min(1)
        if ctx.needs_input_grad[0]:
            weights = _placed(_gradient_weights(pairs, energy, lacking, scaled, threshold) * share, permutation, near)
            constants = -(weights @ signals.means[..., None]).sum(0)  # (batch, estimate, 1): what the means leave in the gradient
            ctx.save_for_backward(signals.sources, signals.estimates, weights.to(dtype), constants.to(dtype))
            ctx.dtype = estimates.dtype
        ctx.mark_non_differentiable(permutation, active)
        return (chosen * share).sum(1).to(dtype), permutation, active

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Any) -> tuple[Tensor, None, None, None]:
        """Return the gradient of the estimates: a weighted sum of sources and estimates."""
        sources, estimates, weights, constants = ctx.saved_tensors
        scale = gradients[0][:, None, None]
        of_sources, of_estimates = weights * scale
        total = (constants * scale).expand_as(estimates).contiguous()
        add_products(total, of_sources, sources)
        return add_products(total, of_estimates, estimates).to(ctx.dtype), None, None, None


def _pairs(signals: _Signals, energy: Tensor, scaled: bool) -> Pairs:
    """Return every pair, (batch, source, estimate); `energy` (batch, source) is that of the sources, 1 where they are silent."""
    samples, own = signals.sources.shape[2], signals.energies[1][:, None]
    means = signals.means[0][..., None] * signals.means[1][:, None]
    cross = inner_products(signals.sources, signals.estimates) - samples * means
    if not scaled:
        powers = energy[..., None].expand_as(cross)
        return Pairs(torch.ones_like(cross), powers, (own - 2 * cross + powers).clamp_min(0.0))
    gains = cross / energy[..., None]
    powers = gains * cross
    return Pairs(gains, powers, (own - powers).clamp_min(0.0))


def _losses(pairs: Pairs, energy: Tensor, threshold: float) -> Tensor:
    least = _LEAST * energy
    return -10 * torch.log10((pairs.powers + least) / (pairs.errors + threshold * pairs.powers + least))


def _with_errors(signals: _Signals, pairs: Pairs, energy: Tensor, permutation: Tensor, near: Tensor) -> tuple[_Signals, Pairs, Tensor]:
    """Form the errors of the items `near` as signals.

    Returns:
        the signals, where the estimates of these items are replaced by the errors in the order of the sources; pairs with the errors'
        energies; and how much of its source each row lacks before it is the error, (batch, source): the whole gain where the row is the
        estimate, what rounding took from the gain where it is the error.
    """
    items, every = near.nonzero()[:, 0], bool(near.all())
    rounded = pairs.gains.to(signals.sources.dtype)
    kept = (signals.sources, signals.estimates, rounded, permutation)
    sources, estimates, gains, order = kept if every else (one[items] for one in kept)
    errors = estimates.gather(1, order[..., None].expand_as(estimates)).addcmul_(sources, gains[..., None], value=-1)
    errors -= errors.mean(-1, keepdim=True)
    lacking = torch.where(near[:, None], pairs.gains - rounded.double(), pairs.gains)
    measured = (energies(errors) - (lacking.square() * energy)[items]).clamp_min(0.0)
    rows = errors if every else signals.estimates.index_copy(0, items, errors)
    means = torch.stack([signals.means[0], torch.where(near[:, None], 0.0, signals.means[1])])
    changed = signals._replace(estimates=rows, means=means)
    return changed, pairs._replace(errors=pairs.errors.index_copy(0, items, measured)), lacking


def _gradient_weights(pairs: Pairs, energy: Tensor, lacking: Tensor, scaled: bool, threshold: float) -> Tensor:
    """Return how much of the source and of the row that stands for the error is in an estimate's gradient, (2, batch, source).

    With error r = x - g s, the loss of a pair is 10 log10(e + t p) - 10 log10(p); de/dx = 2 r, dp/dx = 2 g s, or 0 where levels count.
    """
    least = _LEAST * energy
    wrong = 1 / (pairs.errors + threshold * pairs.powers + least)
    source = pairs.gains * (threshold * wrong - 1 / (pairs.powers + least)) if scaled else 0.0
    return (20 / math.log(10)) * torch.stack([source - lacking * wrong, wrong])


def _placed(weights: Tensor, permutation: Tensor, near: Tensor) -> Tensor:
    """Return weights (2, batch, source) as matrices (2, batch, estimate, row), whose rows are sources, and estimates or errors."""
    belongs = one_hot(permutation, permutation.shape[1])  # (batch, source, estimate)
    placed = (weights[..., None] * belongs).mT  # (2, batch, estimate, source)
    of_estimates = torch.diag_embed(placed[1].sum(2))
    return torch.stack([placed[0], torch.where(near[:, None, None], placed[1], of_estimates)])
