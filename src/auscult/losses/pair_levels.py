"""Level of each estimate relative to its error, under the best assignment, with a gradient written by hand.

Problem: the obvious code forms every pair of source and estimate as signals and lets autograd keep a dozen copies of them, and the loss
then costs more than a small model. Choice: everything the loss of a pair depends on is three numbers, <s, s>, <x, x> and <s, x>, so the
signals are read a few times and written never; the gradient is a weighted sum of them. What follows from these numbers, a hundred
operations on a few of them, is computed in NumPy, which needs a fraction of torch's time for it. Means are taken out of the numbers, not
out of the signals, as long as they are small. Close to the target the energy of the error is the difference of nearly equal numbers; pairs
above 25 dB, which their value already tells, are therefore measured on the error signal itself, item by item, so that what an item gets
does not depend on its batch. Rejected: the error signal for all (more time for digits nobody sees); autograd (twice the time); gradients
of the sources, which are data. Equations: Le Roux et al. 2019 (arXiv 1811.02508).
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.autograd.function import once_differentiable

from auscult.losses.exact_products import add_products, energies, inner_products, numbers
from auscult.losses.permutations import best_orders
from auscult.ops.silence import SILENT_POWER

EXPLICIT_FROM = 25.0
"""Level in dB from which the error is formed as a signal."""

_LEAST = 1e-14
"""Share of the source's energy that is added to both sides: an estimate of zeros has level 0, a perfect one 140 dB."""

Floats = NDArray[np.float64]


class Pairs(NamedTuple):
    """What the loss of pairs depends on, (batch, source, estimate) or, once chosen, (batch, source).

    Attributes:
        gains: of the source within the estimate; 1 where levels count.
        powers: energy of the source within the estimate.
        errors: energy of the rest.
    """

    gains: Floats
    powers: Floats
    errors: Floats

    def losses(self, energy: Floats, threshold: float) -> Floats:
        """Return negative levels in dB."""
        least = _LEAST * energy
        losses: Floats = -10 * np.log10((self.powers + least) / (self.errors + threshold * self.powers + least))
        return losses


class _Signals(NamedTuple):
    """Sources and estimates, (batch, source, time) both in float32 or float64.

    Attributes:
        sources: as given, or without their means.
        estimates: the same; the error signals in their place once these are formed.
        means: (2, batch, source).
        energies: without the means, (2, batch, source).
    """

    sources: Tensor
    estimates: Tensor
    means: Floats
    energies: Floats

    @classmethod
    def of(cls, sources: Tensor, estimates: Tensor) -> _Signals:
        """Measure signals; items with one that is mostly its mean are moved to zero first, because little would be left of seven digits."""
        signals = cls.measured(sources, estimates)
        constant = np.any(signals.energies < sources.shape[2] * signals.means**2, axis=(0, 2), keepdims=True)  # (1, batch, 1)
        if not constant.any():
            return signals
        moves = _like(signals.means * constant, sources)[..., None]
        return cls.measured(sources - moves[0], estimates - moves[1])

    @classmethod
    def measured(cls, sources: Tensor, estimates: Tensor) -> _Signals:
        """Measure signals as they are."""
        means = np.stack([numbers(sources.mean(-1)), numbers(estimates.mean(-1))])
        whole = np.stack([energies(sources), energies(estimates)])
        return cls(sources, estimates, means, whole - sources.shape[2] * means**2)


class PairLevels(torch.autograd.Function):
    """(estimates, sources, scaled, threshold) -> (values, permutation, active); see `auscult.losses.pit`."""

    @staticmethod
    def forward(ctx: Any, estimates: Tensor, sources: Tensor, scaled: bool, threshold: float) -> tuple[Tensor, Tensor, Tensor]:
        """Compare (batch, source, time) with (batch, source, time)."""
        dtype = torch.promote_types(torch.promote_types(sources.dtype, estimates.dtype), torch.float32)
        with np.errstate(all="ignore"):  # what is not finite comes out as such
            signals = _Signals.of(sources.to(dtype), estimates.to(dtype))
            active = ~(signals.energies[0] < SILENT_POWER * sources.shape[2])  # not finite is not silent: it must reach who looks for it
            energy = np.where(active, signals.energies[0], 1.0)
            every = _pairs(signals, energy, scaled)
            permutation = best_orders(np.where(active[..., None], every.losses(energy[..., None], threshold), 0.0))
            pairs = Pairs(*(np.take_along_axis(one, permutation[..., None], axis=2)[..., 0] for one in every))
            near = (active & (pairs.powers > 10 ** (EXPLICIT_FROM / 10) * pairs.errors)).any(axis=1)
            lacking = pairs.gains
            if near.any():
                signals, pairs, lacking = _with_errors(signals, pairs, energy, permutation, near)
            share = active / np.maximum(active.sum(axis=1, keepdims=True), 1)
            values = (np.where(active, pairs.losses(energy, threshold), 0.0) * share).sum(axis=1)
            if ctx.needs_input_grad[0]:
                weights = _placed(_gradient_weights(pairs, energy, lacking, scaled, threshold) * share, permutation, near)
                constants = -(weights @ signals.means[..., None]).sum(axis=0)  # (batch, estimate, 1): what means leave in the gradient
                ctx.save_for_backward(signals.sources, signals.estimates, *(_like(one, signals.sources) for one in (weights, constants)))
                ctx.dtype = estimates.dtype
        chosen, counted = (torch.from_numpy(one).to(estimates.device) for one in (permutation, active))
        ctx.mark_non_differentiable(chosen, counted)
        return _like(values, signals.sources), chosen, counted

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


def _like(values: Floats, signals: Tensor) -> Tensor:
    return torch.from_numpy(values).to(signals.device, signals.dtype)


def _pairs(signals: _Signals, energy: Floats, scaled: bool) -> Pairs:
    """Return every pair, (batch, source, estimate); `energy` (batch, source) is that of the sources, 1 where they are silent."""
    samples, own, present = signals.sources.shape[2], signals.energies[1][:, None], energy[..., None]
    means = signals.means[0][..., None] * signals.means[1][:, None]
    cross = inner_products(signals.sources, signals.estimates) - samples * means
    if not scaled:
        powers = np.broadcast_to(present, cross.shape)
        return Pairs(np.ones_like(cross), powers, np.maximum(own - 2 * cross + powers, 0.0))
    gains = cross / present
    powers = gains * cross
    return Pairs(gains, powers, np.maximum(own - powers, 0.0))


def _with_errors(
    signals: _Signals, pairs: Pairs, energy: Floats, permutation: NDArray[np.int64], near: NDArray[np.bool_]
) -> tuple[_Signals, Pairs, Floats]:
    """Form the errors of the items `near` as signals.

    Returns:
        the signals, where the estimates of these items are replaced by the errors in the order of the sources; pairs with the errors'
        energies; and how much of its source each row lacks before it is the error, (batch, source): the whole gain where the row is the
        estimate, what rounding took from the gain where it is the error.
    """
    items = torch.from_numpy(near.nonzero()[0]).to(signals.sources.device)
    rounded = _like(pairs.gains, signals.sources)
    kept = (signals.sources, signals.estimates, rounded, torch.from_numpy(permutation).to(items.device))
    sources, estimates, gains, order = kept if near.all() else (one[items] for one in kept)
    errors = estimates.gather(1, order[..., None].expand_as(estimates)).addcmul_(sources, gains[..., None], value=-1)
    errors -= errors.mean(-1, keepdim=True)
    lacking = np.where(near[:, None], pairs.gains - numbers(rounded), pairs.gains)
    measured = pairs.errors.copy()
    measured[near] = np.maximum(energies(errors) - (lacking**2 * energy)[near], 0.0)
    rows = errors if near.all() else signals.estimates.index_copy(0, items, errors)
    means = np.stack([signals.means[0], np.where(near[:, None], 0.0, signals.means[1])])
    return signals._replace(estimates=rows, means=means), pairs._replace(errors=measured), lacking


def _gradient_weights(pairs: Pairs, energy: Floats, lacking: Floats, scaled: bool, threshold: float) -> Floats:
    """Return how much of the source and of the row that stands for the error is in an estimate's gradient, (2, batch, source).

    With error r = x - g s, the loss of a pair is 10 log10(e + t p) - 10 log10(p); de/dx = 2 r, dp/dx = 2 g s, or 0 where levels count.
    """
    least = _LEAST * energy
    wrong = 1 / (pairs.errors + threshold * pairs.powers + least)
    source = pairs.gains * (threshold * wrong - 1 / (pairs.powers + least)) if scaled else 0.0
    return (20 / math.log(10)) * np.stack([source - lacking * wrong, wrong])


def _placed(weights: Floats, permutation: NDArray[np.int64], near: NDArray[np.bool_]) -> Floats:
    """Return weights (2, batch, source) as matrices (2, batch, estimate, row), whose rows are sources, and estimates or errors."""
    batch, count = permutation.shape
    placed = np.zeros((2, batch, count, count))
    items, places = np.arange(batch)[:, None], np.arange(count)
    placed[0][items, permutation, places] = weights[0]
    placed[1][items, permutation, np.where(near[:, None], places, permutation)] = weights[1]
    return placed
