"""What two clipped convolutions saw, from their outputs, the slopes of the loss by those, and the gradient of the second one's weights.

Problem: the outputs are known (`auscult.privacy.recurrent_inputs`), but clipping has made half of them zero, and their active half holds
fewer equations than the features have values. Choice: the gradient of the second convolution's weights is the correlation of its input
planes with the slopes at its outputs, **linear in the planes**, with the same matrix for each plane: 7,392 equations for the values of
each of 32 planes at the defaults. Solved planes hold an active half too, which the first convolution made of the features, linearly: some
four times more equations than unknowns. No kink is in the way, because which units are active is read off, not guessed.

A unit so close to zero that rounding hides whether it was active would spoil everything (one in 30,000 costs 60 dB). The planes found
without the doubtful units say what those would have had to be: what is left of the equations is fitted by their own patterns, with a factor
near one for units that were active and near zero for the others.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import numpy as np
import scipy.linalg
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from scipy.sparse.linalg import LinearOperator, lsqr
from torch import Tensor
from torch.nn.grad import conv2d_input, conv2d_weight

Array = NDArray[np.float64]
CLIP = 20.0
DOUBT = 20.0
"""Deviations of the error from a kink within which a unit is doubtful; errors have heavy tails."""
ROUNDS = 5
"""Solutions of the planes, each with the doubtful units that the last one proved active."""
AGREED = 0.3
"""How far from one a unit's factor may be; a wrong unit costs as much as a missing one, and a missing one is asked again."""
ASKED = 48
"""Doubtful units that are asked in a round, those first whose pattern agrees best with what is left."""
ITERATIONS = 400
"""Of LSQR on the features, at most."""


@dataclass(frozen=True)
class Convolution:
    """A convolution with batch normalisation by fixed statistics, then clipping to [0, 20].

    Attributes:
        weight: (out, in, frequency taps, time taps), float64.
        stride: over frequency and time.
        padding: likewise.
        scale: (out,), of the normalisation.
        shift: (out,), of the normalisation with the bias of the convolution in it.
    """

    weight: Tensor
    stride: tuple[int, int]
    padding: tuple[int, int]
    scale: Tensor
    shift: Tensor

    def linear(self, planes: Tensor) -> Tensor:
        """(in, rows, times) -> (out, rows, times), before the normalisation."""
        return F.conv2d(planes[None], self.weight, stride=self.stride, padding=self.padding)[0]

    def before(self, planes: Tensor) -> Tensor:
        """(in, rows, times) -> (out, rows, times), before clipping."""
        return self.linear(planes) * self.scale[:, None, None] + self.shift[:, None, None]

    def undo(self, values: Tensor) -> Tensor:
        """Undo the normalisation of values (out, rows, times)."""
        return (values - self.shift[:, None, None]) / self.scale[:, None, None]

    def size(self, rows: int, times: int) -> tuple[int, int]:
        """Return rows and times of the output."""
        taps = self.weight.shape[2:]
        sizes = ((rows, times), self.padding, taps, self.stride)
        row, time = ((size + 2 * pad - tap) // stride + 1 for size, pad, tap, stride in zip(*sizes, strict=True))
        return row, time


@dataclass(frozen=True)
class Seen:
    """Output and slopes of the second convolution.

    Attributes:
        outputs: (channels, rows, times), clipped.
        slopes: the same shape, of the loss by the outputs.
        gradient: (out, in, frequency taps, time taps), of the second convolution's weight.
    """

    outputs: Tensor
    slopes: Tensor
    gradient: Tensor


def convolution_inputs(first: Convolution, second: Convolution, seen: Seen, rows: int, times: int) -> Tensor:
    """Return the features (times, rows) that two convolutions took.

    Args:
        first: of the features as one plane.
        second: of the first one's clipped outputs.
        seen: at the second one's outputs.
        rows: of the features.
        times: of the features.

    Raises:
        numpy.linalg.LinAlgError: the system is singular: the utterance is too long.
    """
    error = _errors(seen.outputs)
    active = (seen.outputs > DOUBT * error) & (seen.outputs < CLIP - DOUBT * error)
    doubtful = ~active & (seen.outputs.abs() <= DOUBT * error)
    size = first.size(rows, times)
    for _ in range(ROUNDS):
        equations = PlaneEquations(torch.where(active, seen.slopes, 0.0) * second.scale[:, None, None], second, size)
        planes = equations.solve(seen.gradient)
        more = _hidden(equations, planes, active, doubtful, seen)
        if not bool(more.any()):
            break
        active = active | more
    return _features(planes, first, rows, times)[0].T


def _errors(clipped: Tensor) -> Tensor:
    """Return the deviation (times,) of the error in clipped values (channels, rows, times) of each time, by those that are negative."""
    below = clipped.clamp(max=0.0).flatten(0, 1)
    return (below.square().sum(0) / (below < 0).sum(0).clamp(min=1)).sqrt()


class PlaneEquations:
    """The gradient of a convolution's weights as linear equations for its input planes, the same for each plane.

    Args:
        slopes: (out, rows, times), of the loss by the convolution's outputs.
        layer: the convolution.
        size: rows and times of a plane.
    """

    def __init__(self, slopes: Tensor, layer: Convolution, size: tuple[int, int]) -> None:
        self.slopes, self.layer, self.size = slopes, layer, size
        normal = np.zeros((size[0] * size[1],) * 2)
        for channel in range(len(slopes)):
            matrix = self.matrix(channel)
            normal += matrix.T @ matrix
        sizes = np.maximum(normal.diagonal(), normal.diagonal().max() * 1e-12)  # no output may have seen the last row or time
        np.fill_diagonal(normal, sizes)
        self._scale = 1 / np.sqrt(sizes)[:, None]
        normal *= self._scale
        normal *= self._scale.T
        self._factor = scipy.linalg.cho_factor(normal, overwrite_a=True)

    def matrix(self, channel: int) -> Array:
        """Return the matrix (taps, rows * times) that correlates a plane with the slopes of one output channel."""
        slopes, (row_taps, time_taps), (row_pad, time_pad) = self.slopes[channel], self.layer.weight.shape[2:], self.layer.padding
        padded = torch.zeros(row_taps, time_taps, self.size[0] + 2 * row_pad, self.size[1] + 2 * time_pad, dtype=torch.float64)
        (row_stride, time_stride), (rows, times) = self.layer.stride, slopes.shape
        for row in range(row_taps):
            for time in range(time_taps):
                ends = row + (rows - 1) * row_stride + 1, time + (times - 1) * time_stride + 1
                padded[row, time, row : ends[0] : row_stride, time : ends[1] : time_stride] = slopes
        kept = padded[:, :, row_pad : row_pad + self.size[0], time_pad : time_pad + self.size[1]]
        return kept.reshape(row_taps * time_taps, -1).numpy()

    def solve(self, gradient: Tensor) -> Tensor:
        """Return the planes (in, rows, times) that explain the gradient of the weights best."""
        right = sum(self.matrix(channel).T @ one.flatten(1).T.numpy() for channel, one in enumerate(gradient))
        return torch.from_numpy(self.inverse(np.asarray(right)).T.reshape(-1, *self.size))

    def inverse(self, right: Array) -> Array:
        """Solve the normal equations for columns (rows * times, columns)."""
        solved: Array = scipy.linalg.cho_solve(self._factor, right * self._scale) * self._scale
        return solved

    def rest(self, planes: Tensor, gradient: Tensor) -> Tensor:
        """Return what planes leave of the gradient of the weights."""
        stride, padding = self.layer.stride, self.layer.padding
        shape, slopes = list(gradient.shape), self.slopes[None]
        made: Tensor = conv2d_weight(planes[None], shape, slopes, stride=stride, padding=padding)  # type: ignore[no-untyped-call]
        return gradient - made


def _features(planes: Tensor, layer: Convolution, rows: int, times: int) -> Tensor:
    """Solve for the plane (1, rows, times) of which a convolution made the active part of its clipped outputs."""
    error = max(-2 * float(planes.min()), 0.0)  # errors of planes gather where one unit was misjudged: their deviation says too little
    active = ((planes > error) & (planes < CLIP - error)).double()
    wanted = (layer.undo(planes) * active).flatten().numpy()
    shape = (1, 1, rows, times)

    def apply(values: Array) -> Array:
        made: Array = (layer.linear(torch.from_numpy(np.asarray(values)).reshape(shape)[0]) * active).flatten().numpy()
        return made

    def transposed(values: Array) -> Array:
        rest = torch.from_numpy(np.asarray(values)).reshape(active.shape) * active
        stride, padding = layer.stride, layer.padding
        back: Tensor = conv2d_input(shape, layer.weight, rest[None], stride=stride, padding=padding)  # type: ignore[no-untyped-call]
        return cast(Array, back.flatten().numpy())

    operator = LinearOperator((active.numel(), rows * times), matvec=apply, rmatvec=transposed, dtype=np.float64)
    found = lsqr(operator, wanted, iter_lim=ITERATIONS, atol=1e-10, btol=1e-10)[0]
    return torch.from_numpy(found).reshape(shape)[0]


def _hidden(equations: PlaneEquations, planes: Tensor, active: Tensor, doubtful: Tensor, seen: Seen) -> Tensor:
    """Return which doubtful units (channels, rows, times) were active, by what the equations lack without them.

    A unit adds its pattern, slope times patch of the planes, to the gradient of its channel; planes that were solved without it have hidden
    most of that, so patterns are compared outside of what planes can explain.
    """
    layer = equations.layer
    made = layer.before(planes.clamp(0.0, CLIP))
    near = DOUBT * float((made - seen.outputs)[active].square().mean().sqrt())
    rest = equations.rest(planes, seen.gradient)
    patches = F.unfold(planes[None], layer.weight.shape[2:], stride=layer.stride, padding=layer.padding)[0]  # (in * taps, units)
    agreement = (rest.flatten(1) @ patches) * seen.slopes.flatten(1).sign() / patches.norm(dim=0).clamp(min=1e-300)
    asked = torch.where(doubtful & (made > -near), agreement.reshape(made.shape), 0.0).flatten()
    units = torch.topk(asked, min(ASKED, int((asked > 0).sum()))).indices
    found = torch.zeros(asked.shape, dtype=torch.bool)
    if len(units):
        factors = _factors(equations, patches, rest, seen.slopes, units)
        found[units[(factors - 1).abs() < AGREED]] = True
    return found.reshape(made.shape)


def _factors(equations: PlaneEquations, patches: Tensor, rest: Tensor, slopes: Tensor, units: Tensor) -> Tensor:
    """Return how much of each unit's pattern the rest holds: one for a unit that was active, zero for others."""
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
