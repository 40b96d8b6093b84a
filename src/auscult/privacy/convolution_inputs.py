"""What two clipped convolutions saw, from their outputs, the slopes of the loss by those, and the gradient of the second one's weights.

Problem: the outputs are known (`auscult.privacy.recurrent_inputs`), but clipping has made half of them zero, and their active half holds
fewer equations than the features have values. Choice: the gradient of the second convolution's weights is the correlation of its input
planes with the slopes at its outputs, **linear in the planes**, with the same matrix for each plane: 7,392 equations for the values of
each of 32 planes at the defaults. Solved planes hold an active half too, which the first convolution made of the features, linearly: some
four times more equations than unknowns. No kink is in the way, because which units are active is read off, not guessed.

A unit so close to zero that rounding hides whether it was active would spoil everything (one in 30,000 costs 60 dB). What the planes leave
of the equations is fitted by the patterns of doubtful units: their factors are one for units that were active and were not taken for it,
minus one for the reverse, and zero for the others.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from scipy.sparse.linalg import LinearOperator, lsqr
from torch import Tensor
from torch.nn.grad import conv2d_input

from auscult.privacy.batch_statistics import planes_of_batch
from auscult.privacy.plane_equations import CLIP, Convolution, PlaneEquations, Seen, Solved

Array = NDArray[np.float64]
DOUBT = 20.0
"""Deviations of the error above which a unit is taken for active; errors have heavy tails, and up to ten times that a unit is doubtful."""
ROUNDS = 5
"""Solutions of the planes, each after the doubtful units that the last one proved misjudged."""
AGREED = 0.3
"""How far from one a unit's factor may be; a wrong unit costs as much as a missing one, and a missing one is asked again."""
ASKED = 48
"""Doubtful units that are asked in a round, those first whose pattern agrees best with what is left."""
ITERATIONS = 400
"""Of LSQR on the features, at most."""


def convolution_inputs(first: Convolution, second: Convolution, seen: Seen, rows: int, times: int, of_batch: bool = False) -> Tensor:
    """Return the features (times, rows) that two convolutions took.

    Under the statistics of the batch the network depends neither on a factor of the features nor, but for their ends, on a constant: they
    are returned with mean 0 and deviation 1, as the front-end made them.

    Args:
        first: of the features as one plane.
        second: of the first one's clipped outputs.
        seen: at the second one's outputs.
        rows: of the features.
        times: of the features.
        of_batch: whether normalisation was by the statistics of the batch; scale and shift of the convolutions are then those after it.

    Raises:
        numpy.linalg.LinAlgError: the system is singular: the utterance is too long.
    """
    error = _errors(seen.outputs)
    active = (seen.outputs > DOUBT * error) & (seen.outputs < CLIP - DOUBT * error)
    doubtful = seen.outputs.abs() <= 10 * DOUBT * error
    size = first.size(rows, times)
    for _ in range(ROUNDS):
        solved = (planes_of_batch if of_batch else _planes)(second, seen, active, size)
        wrong = _misjudged(solved, active, doubtful, seen)
        if not bool(wrong.any()):
            break
        active = active ^ wrong
    features = _features(solved.planes, first, rows, times, of_batch)[0].T
    return (features - features.mean()) / features.std() if of_batch else features


def _planes(layer: Convolution, seen: Seen, active: Tensor, size: tuple[int, int]) -> Solved:
    """Solve for the planes where normalisation was by stored statistics."""
    equations = PlaneEquations(torch.where(active, seen.slopes, 0.0) * layer.scale[:, None, None], layer, size)
    planes = equations.solve(seen.gradient)
    return Solved(planes, equations, seen.gradient, layer.before(planes.clamp(0.0, CLIP)))


def _errors(clipped: Tensor) -> Tensor:
    """Return the deviation (times,) of the error in clipped values (channels, rows, times) of each time, by those that are negative."""
    below = clipped.clamp(max=0.0).flatten(0, 1)
    return (below.square().sum(0) / (below < 0).sum(0).clamp(min=1)).sqrt()


def _features(planes: Tensor, layer: Convolution, rows: int, times: int, of_batch: bool = False) -> Tensor:
    """Solve for the plane (1, rows, times) of which a convolution made the active part of its clipped outputs."""
    error = max(-2 * float(planes.min()), 0.0)  # errors of planes gather where one unit was misjudged: their deviation says too little
    active = (planes > error) if of_batch else (planes > error) & (planes < CLIP - error)  # of a batch, the scale is not known
    known = _unknown_normalisation(planes, active) if of_batch else (lambda values: torch.where(active, values, 0.0))
    wanted = known(planes if of_batch else layer.undo(planes)).flatten().numpy()
    shape, stride, padding = (1, 1, rows, times), layer.stride, layer.padding

    def apply(values: Array) -> Array:
        made = layer.linear(torch.from_numpy(np.asarray(values)).reshape(shape)[0])
        return cast(Array, known(made).flatten().numpy())

    def transposed(values: Array) -> Array:
        rest = known(torch.from_numpy(np.asarray(values)).reshape(active.shape))
        back: Tensor = conv2d_input(shape, layer.weight, rest[None], stride=stride, padding=padding)  # type: ignore[no-untyped-call]
        return cast(Array, back.flatten().numpy())

    operator = LinearOperator((active.numel(), rows * times), matvec=apply, rmatvec=transposed, dtype=np.float64)
    found = lsqr(operator, wanted, iter_lim=ITERATIONS, atol=1e-10, btol=1e-10)[0]
    return torch.from_numpy(found).reshape(shape)[0]


def _unknown_normalisation(planes: Tensor, active: Tensor) -> Callable[[Tensor], Tensor]:
    """Return the projection of outputs onto what a mean and a deviation of each channel, both unknown, cannot explain.

    Each channel's outputs are its plane by a factor and a constant; the mean of the factors is held at one, since zero would explain zeros.
    """
    count = active.sum((1, 2), keepdim=True).clamp(min=1)

    def centred(values: Tensor) -> Tensor:
        inside = torch.where(active, values, 0.0)
        return torch.where(active, inside - inside.sum((1, 2), keepdim=True) / count, 0.0)

    shape = centred(planes)
    sizes = shape.square().sum((1, 2)).sqrt().clamp(min=1e-300)
    shape = shape / sizes[:, None, None]  # of unit length in each channel
    held = (1 / sizes) / (1 / sizes).norm()  # factors along this change their mean; the others do not

    def project(values: Tensor) -> Tensor:
        inside = centred(values)
        along = (inside * shape).sum((1, 2))
        explained: Tensor = shape * (along - held * (held @ along))[:, None, None]
        return inside - explained

    return project


def _misjudged(solved: Solved, active: Tensor, doubtful: Tensor, seen: Seen) -> Tensor:
    """Return which doubtful units (channels, rows, times) were taken for active and were not, or the reverse.

    An active unit adds its pattern, slope times patch of the planes, to the gradient of its channel. Planes that were solved without it
    have hidden most of that, so patterns are compared outside of what planes can explain.
    """
    layer, planes, made = solved.equations.layer, solved.planes, solved.made
    near = DOUBT * float((made - seen.outputs)[active].square().mean().sqrt())
    rest = solved.equations.rest(planes, solved.gradient)
    patches = F.unfold(planes[None], layer.weight.shape[2:], stride=layer.stride, padding=layer.padding)[0]  # (in * taps, units)
    lacking = (rest.flatten(1) @ patches / patches.norm(dim=0).clamp(min=1e-300)).reshape(made.shape)
    lacking = lacking * (seen.slopes * layer.scale[:, None, None]).sign()  # of a pattern where positive, one too many where negative
    asked = torch.where(doubtful, torch.where(active, -lacking, torch.where(made > -near, lacking, 0.0)), 0.0).flatten()
    units = torch.topk(asked, min(ASKED, int((asked > 0).sum()))).indices
    found = torch.zeros(asked.shape, dtype=torch.bool)
    if len(units):
        wanted = torch.where(active.flatten()[units], -1.0, 1.0)
        found[units[(_factors(solved.equations, patches, rest, seen.slopes, units) - wanted).abs() < AGREED]] = True
    return found.reshape(made.shape)


def _factors(equations: PlaneEquations, patches: Tensor, rest: Tensor, slopes: Tensor, units: Tensor) -> Tensor:
    """Return how much of each unit's pattern the rest holds: one where it is missing, minus one where it is too much, else zero."""
    channels, places = units // patches.shape[1], units % patches.shape[1]
    patterns = patches[:, places] * (slopes.flatten(1)[channels, places] * equations.layer.scale[channels])  # (in * taps, units)
    same = channels[:, None] == channels[None, :]
    gram = torch.where(same, patterns.T @ patterns, 0.0).numpy()
    taps = patterns.T.reshape(len(units), rest.shape[1], -1)  # (units, in, taps)
    right = np.stack([equations.matrix(int(channel)).T @ one.T.numpy() for channel, one in zip(channels, taps, strict=True)])
    solved = np.stack([equations.inverse(one) for one in right])  # (units, rows * times, in)
    gram -= right.reshape(len(units), -1) @ solved.reshape(len(units), -1).T
    held = (patterns * rest.flatten(1)[channels].T).sum(0).numpy()
    return torch.from_numpy(np.linalg.lstsq(gram, held, rcond=1e-10)[0])
