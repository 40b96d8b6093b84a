"""What a convolution saw where its outputs were normalised by the statistics of the batch itself.

Problem: such a normalisation spreads every slope over all units of a channel, those that were not active included, whose values clipping
has hidden; divides by a deviation that nobody sent; and makes slopes of mean zero, so that constant planes leave no trace in the gradient
of the weights. Choice: a fixed point. The hidden values enter the slopes through one mean per channel, a few per cent of them, so a first
guess gives planes that are nearly right, whose convolution gives the hidden values better; three or four rounds reach rounding. The
deviations are what makes all channels agree on one set of planes: the smallest eigenvector of a matrix of channels. Constants (one for each
place of a row or time within the stride) are fixed by what clipping did to the planes themselves: **their commonest value is zero**.

Planes have the right proportions, and a scale that the network does not depend on.
"""

from __future__ import annotations

import numpy as np
import scipy.linalg
import torch
from numpy.typing import NDArray
from torch import Tensor

from auscult.privacy.plane_equations import CLIP, Convolution, PlaneEquations, Seen, Solved

Array = NDArray[np.float64]
ROUNDS = 8
SETTLED = 1e-6
"""Relative change of the hidden values at which rounds end."""


def planes_of_batch(layer: Convolution, seen: Seen, active: Tensor, size: tuple[int, int]) -> Solved:
    """Solve for the planes, up to one factor.

    Args:
        layer: whose scale and shift are those after the division by the deviation.
        seen: at its outputs.
        active: (out, rows, times), which outputs clipping let through.
        size: rows and times of a plane.
    """
    scale, shift = layer.scale[:, None, None], layer.shift[:, None, None]
    passed = torch.where(active, seen.slopes, 0.0)
    standard = torch.where(active, (seen.outputs - shift) / scale, 0.0)
    standard = torch.where(active, standard, -_mean(standard) / _mean((~active).double()).clamp(min=1e-9))
    for _ in range(ROUNDS):
        slopes = (passed - _mean(passed) - standard * _mean(passed * standard)) * scale
        equations = PlaneEquations(slopes, layer, size, constants=False)
        planes, gradient = _agreed(equations, seen.gradient)
        planes = _grounded(planes, layer)
        made = layer.linear(planes.clamp(min=0.0))
        made = (made - _mean(made)) / _mean((made - _mean(made)).square()).sqrt() * scale + shift
        hidden = torch.where(seen.outputs < CLIP / 2, made.clamp(max=0.0), made.clamp(min=CLIP))
        better = torch.where(active, standard, (hidden - shift) / scale)
        change, standard = float((better - standard).norm() / better.norm()), better
        if change < SETTLED:
            break
    return Solved(planes, equations, gradient, made)


def _mean(values: Tensor) -> Tensor:
    return values.mean((1, 2), keepdim=True)


def _agreed(equations: PlaneEquations, gradient: Tensor) -> tuple[Tensor, Tensor]:
    """Return the planes for those deviations of the channels under which all channels' equations agree best, and the gradient by those."""
    channels = range(len(gradient))
    right = np.stack([equations.matrix(channel).T @ gradient[channel].flatten(1).T.numpy() for channel in channels], axis=1)
    solved = equations.inverse(right.reshape(len(right), -1)).reshape(right.shape)  # (rows * times, out, in)
    sizes = gradient.square().sum((1, 2, 3)).numpy()
    left: Array = np.diag(sizes) - np.einsum("nci,ndi->cd", right, solved)
    norms = np.sqrt(np.maximum(sizes, sizes.max() * 1e-12))
    deviations = scipy.linalg.eigh(left / np.outer(norms, norms), subset_by_index=(0, 0))[1][:, 0] / norms
    deviations = deviations * np.sign(deviations.sum())
    planes = np.einsum("c,nci->in", deviations, solved).reshape(-1, *equations.size)
    return torch.from_numpy(planes), gradient * torch.from_numpy(deviations)[:, None, None, None]


def _grounded(planes: Tensor, layer: Convolution) -> Tensor:
    """Shift the values at each place within the stride so that the commonest is zero."""
    result = planes.clone()
    for row in range(layer.stride[0]):
        for time in range(layer.stride[1]):
            part = result[:, row :: layer.stride[0], time :: layer.stride[1]]
            part -= torch.tensor([_commonest(np.sort(plane.flatten().numpy())) for plane in part])[:, None, None]
    return result


def _commonest(values: Array) -> float:
    """Return the mode of sorted values by halves: the half that spans least is kept until three values are left (Robertson, Cryer 1974).

    >>> _commonest(np.array([-0.01, 0.0, 0.0, 0.01, 2.0, 3.0, 5.0]))
    0.0
    """
    while len(values) > 3:
        half = (len(values) + 1) // 2
        start = int(np.argmin(values[half - 1 :] - values[: len(values) - half + 1]))
        values = values[start : start + half]
    return float(np.median(values))
