"""The loops over frames of CTC without a compiler: a handful of operations on whole batches per frame, in NumPy or in torch.

Problem: numba may be missing, and a device may have no Triton; the recursion over frames is sequential whatever one does. Choice: both
directions of all utterances advance together (`auscult.ops.ctc_mirror`) with operations that write into place, from NumPy on a CPU, where a
call costs a third of torch's, and from torch elsewhere; the two agree in the names of these operations. Rejected: a
scan over matrices, which does states times more work.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from auscult.ops.ctc_mirror import arrays
from auscult.ops.ctc_problem import CtcProblem
from auscult.ops.ctc_rescaled import Rescaled, Sums


class FrameLoops:
    """`Loops` of whole-batch operations."""

    def sweep(self, weights: Tensor, floor: Tensor, skip: Tensor) -> Sums:
        """Run over frames; see `Loops`."""
        frames, rows, count = weights.shape
        states = weights.new_zeros(frames + 1, rows, count + 2)  # one frame before the first, two states before the first
        states[0, :, 2] = 1.0
        entering, totals, part = torch.empty_like(weights), weights.new_ones(frames + 1, rows, 1), weights.new_empty(rows, count)
        xp, (given, least, jump, found, sums, whole, scratch) = arrays(weights, floor, skip, states, entering, totals, part)
        with np.errstate(all="ignore"):  # beyond an utterance everything is 0 / 0, and nobody looks
            for t in range(frames):
                before, total, now = found[t], sums[t], found[t + 1][:, 2:]
                xp.multiply(jump, before[:, :-2], out=scratch)
                xp.add(before[:, 2:], before[:, 1:-1], out=total)
                xp.add(total, scratch, out=total)
                xp.divide(total, whole[t], out=total)
                xp.multiply(total, given[t], out=now)
                xp.maximum(now, least[t], out=now)
                xp.sum(now, 1, keepdims=True, out=whole[t + 1])
        return Sums(states[1:, :, 2:], entering, totals[1:, :, 0])

    def tangent(self, sums: Sums, weights: Tensor, skip: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Differentiate a sweep; see `Loops`."""
        frames, rows, count = weights.shape
        changes = weights.new_zeros(frames + 1, rows, count + 2)
        entering, part = torch.empty_like(weights), weights.new_empty(rows, count)
        direct = sums.states * values
        xp, (given, jump, whole, found, into, source, scratch) = arrays(weights, skip, sums.totals, changes, entering, direct, part)
        with np.errstate(all="ignore"):
            for t in range(frames):
                before, total = found[t], into[t]
                xp.multiply(jump, before[:, :-2], out=scratch)
                xp.add(before[:, 2:], before[:, 1:-1], out=total)
                xp.add(total, scratch, out=total)
                if t:
                    xp.divide(total, whole[t - 1][:, None], out=total)
                xp.multiply(total, given[t], out=scratch)
                xp.add(scratch, source[t], out=found[t + 1][:, 2:])
        return changes[1:, :, 2:], entering


def align(x: Tensor, problem: CtcProblem, weights: NDArray[np.float64], differentiable: bool) -> Rescaled:
    """Align a batch with these loops."""
    return Rescaled(x, problem, weights, FrameLoops())
