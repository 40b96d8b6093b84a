"""The gradient of a convolution's weights as linear equations for what it saw.

Problem: a weight's gradient is the correlation of the layer's input planes with the slopes at its outputs. Choice: with slopes known it is
linear in the planes, and the matrix is the same for each plane, so that one factorisation of its normal equations serves all of them.
Rejected: iterating with convolutions (hundreds of passes for what one factorisation gives exactly).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import scipy.linalg
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.grad import conv2d_weight

Array = NDArray[np.float64]
CLIP = 20.0


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


class PlaneEquations:
    """The gradient of a convolution's weights as linear equations for its input planes, the same for each plane.

    Args:
        slopes: (out, rows, times), of the loss by the convolution's outputs.
        layer: the convolution.
        size: rows and times of a plane.
        constants: whether slopes say anything about constant planes. Where they have mean zero and the layer has no padding they do not,
            for the rows and times at each place within the stride; solutions then are without such constants.
    """

    def __init__(self, slopes: Tensor, layer: Convolution, size: tuple[int, int], constants: bool = True) -> None:
        self.slopes, self.layer, self.size = slopes, layer, size
        normal = np.zeros((size[0] * size[1],) * 2)
        for channel in range(len(slopes)):
            matrix = self.matrix(channel)
            normal += matrix.T @ matrix
        sizes = np.maximum(normal.diagonal(), normal.diagonal().max() * 1e-12)  # no output may have seen the last row or time
        np.fill_diagonal(normal, sizes)
        if not constants:
            places = self._places()
            normal += (places[:, None] == places[None, :]) * (sizes.mean() / len(sizes))
        self._scale = 1 / np.sqrt(sizes)[:, None]
        normal *= self._scale
        normal *= self._scale.T
        self._factor = scipy.linalg.cho_factor(normal, overwrite_a=True)

    def _places(self) -> NDArray[np.int64]:
        """Return for each value of a plane (rows * times,) the number of its place within the stride."""
        (row_stride, time_stride), (rows, times) = self.layer.stride, self.size
        places: NDArray[np.int64] = (np.arange(rows)[:, None] % row_stride * time_stride + np.arange(times)[None, :] % time_stride).ravel()
        return places

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


class Solved(NamedTuple):
    """Planes, and what they were solved from.

    Attributes:
        planes: (in, rows, times).
        equations: with the slopes that were used.
        gradient: of the weight, in the units of those slopes.
        made: (out, rows, times), what the planes make before clipping.
    """

    planes: Tensor
    equations: PlaneEquations
    gradient: Tensor
    made: Tensor
