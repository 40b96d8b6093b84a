"""CTC on a CPU through compiled loops: hands tensors to `auscult.ops.ctc_loops`, and does as little else as it can.

Problem: for one utterance of a second the arithmetic takes less time than a dozen calls into torch. Choice: this module allocates and
calls. Rejected: numba's own `prange`, whose simplest threading layer ends the process when two threads call it at once, as servers do;
the loops give up Python's lock, so callers may use threads of their own.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from auscult.ops import ctc_loops
from auscult.ops.ctc_problem import CtcProblem, Lengths
from auscult.ops.ctc_rescaled import AGREEMENT, FLOOR, RAISED

_LIMITS = (FLOOR, RAISED, AGREEMENT)


class NumbaAlignment:
    """The alignments of a batch; see `auscult.ops.ctc_certified.Alignment`."""

    def __init__(self, x: Tensor, problem: CtcProblem, weights: NDArray[np.float64], differentiable: bool) -> None:
        frames, batch, classes = shape = x.shape
        width = ctc_loops.padded_width(problem.rows.shape[1])
        kept = np.empty((batch, 5, frames, width)), np.empty((batch, 4, frames)), np.empty((batch, 5, width)), np.empty((batch, 4))
        self.gradient = torch.zeros(shape if differentiable else (0, batch, classes), dtype=x.dtype)
        doubtful = ctc_loops.align(*_flat(x), *problem, _LIMITS, weights, *kept, self.gradient.numpy())
        result = kept[3]
        self.shape, self.kept = shape, (*problem, weights, *kept)
        self.trusted: NDArray[np.bool_] | None = result[:, 3] > 0 if doubtful else None
        self.losses = torch.from_numpy(-result[:, 0])
        self.infinite: Tensor | None = None

    def curvature(self, cotangent: Tensor) -> tuple[Tensor, Tensor]:
        """Return the derivatives by a weight's factor and by the scores; see `Alignment`."""
        means, found = torch.zeros(self.shape[1], dtype=torch.float64), torch.zeros(self.shape, dtype=cotangent.dtype)
        ctc_loops.curvature(*self.kept, cotangent.contiguous().numpy(), means.numpy(), found.numpy())
        return means, found


def read_common(shape: torch.Size, targets: Tensor, input_lengths: Lengths, target_lengths: Lengths, blank: int) -> CtcProblem | None:
    """Return the problem where all is as usual and right: int64 tensors, padded targets. None where `read_problem` has to look closer.

    `read_problem` calls a dozen functions, which is a fifth of the cost of one short utterance.
    """
    most, batch, classes = shape
    if not isinstance(input_lengths, Tensor) or not isinstance(target_lengths, Tensor) or targets.dim() != 2 or len(targets) != batch:
        return None
    if not targets.dtype == input_lengths.dtype == target_lengths.dtype == torch.int64:
        return None
    if not input_lengths.shape == target_lengths.shape == (batch,) or not 0 <= blank < classes:
        return None
    rows, frames, symbols = targets.numpy().copy(), input_lengths.numpy().copy(), target_lengths.numpy().copy()
    longest = ctc_loops.check(rows, frames, symbols, blank, most, classes)
    return None if longest < 0 else CtcProblem(rows[:, :longest].copy() if longest < rows.shape[1] else rows, frames, symbols, blank)


def _flat(x: Tensor) -> tuple[NDArray[Any], tuple[int, ...]]:
    """Return the memory of a tensor as one row, and its strides: one compiled function serves every layout."""
    strides = x.stride()
    reach = sum((size - 1) * stride for size, stride in zip(x.shape, strides, strict=True)) + 1
    return x.as_strided((reach,), (1,)).numpy(), strides


align = NumbaAlignment
