# ruff: noqa: N803
# mypy: disable-error-code="no-untyped-def,untyped-decorator"
"""The loops over frames of CTC on CUDA: one program per utterance and direction, in Triton, which comes with torch there.

Problem: the loop over frames of whole-batch operations launches six kernels per frame, so a GPU waits for Python. Choice: a program walks
through all frames of one utterance in one direction, with its states side by side; neighbours reach one another through the row just
written, behind a barrier of the program. Everything around the two loops is that of `auscult.ops.ctc_rescaled`. Float64
throughout, no atomics, so two runs agree to the bit. Rejected: an associative scan over frames, states times more work.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from numpy.typing import NDArray
from torch import Tensor

from auscult.ops.ctc_problem import CtcProblem
from auscult.ops.ctc_rescaled import Rescaled, Sums


@triton.jit
def _sweep_program(weights, floor, skip, states, entering, totals, frames, rows, count, BLOCK: tl.constexpr):
    """`states` has one frame before the first and two states before the first."""
    row = tl.program_id(0).to(tl.int64)
    state = tl.arange(0, BLOCK)
    inside = state < count
    jump = tl.load(skip + row * count + state, mask=inside, other=0.0)
    padded = count + 2
    divide = tl.full((), 1.0, tl.float64)
    for t in range(frames):
        before = states + (t * rows + row) * padded + state
        here = (t * rows + row) * count + state
        stay = tl.load(before + 2, mask=inside, other=0.0)
        step = tl.load(before + 1, mask=inside, other=0.0)
        leap = tl.load(before, mask=inside, other=0.0)
        total = (stay + step + jump * leap) / divide
        tl.store(entering + here, total, mask=inside)
        now = total * tl.load(weights + here, mask=inside, other=0.0)
        now = tl.maximum(now, tl.load(floor + here, mask=inside, other=0.0))
        tl.store(before + rows * padded + 2, now, mask=inside)
        divide = tl.sum(now, axis=0)
        tl.store(totals + t * rows + row, divide)
        tl.debug_barrier()


@triton.jit
def _tangent_program(weights, skip, totals, source, changes, entering, frames, rows, count, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    state = tl.arange(0, BLOCK)
    inside = state < count
    jump = tl.load(skip + row * count + state, mask=inside, other=0.0)
    padded = count + 2
    divide = tl.full((), 1.0, tl.float64)
    for t in range(frames):
        before = changes + (t * rows + row) * padded + state
        here = (t * rows + row) * count + state
        stay = tl.load(before + 2, mask=inside, other=0.0)
        step = tl.load(before + 1, mask=inside, other=0.0)
        leap = tl.load(before, mask=inside, other=0.0)
        total = (stay + step + jump * leap) / divide
        tl.store(entering + here, total, mask=inside)
        now = total * tl.load(weights + here, mask=inside, other=0.0) + tl.load(source + here, mask=inside, other=0.0)
        tl.store(before + rows * padded + 2, now, mask=inside)
        divide = tl.load(totals + t * rows + row)
        tl.debug_barrier()


class TritonLoops:
    """`auscult.ops.ctc_rescaled.Loops`, one launch each."""

    def sweep(self, weights: Tensor, floor: Tensor, skip: Tensor) -> Sums:
        """Run over frames; see `Loops`."""
        frames, rows, count = weights.shape
        states = weights.new_zeros(frames + 1, rows, count + 2)
        states[0, :, 2] = 1.0
        entering, totals = torch.empty_like(weights), weights.new_empty(frames, rows)
        given = (weights.contiguous(), floor.contiguous(), skip.contiguous())
        _sweep_program[(rows,)](*given, states, entering, totals, frames, rows, count, BLOCK=triton.next_power_of_2(count))
        return Sums(states[1:, :, 2:], entering, totals)

    def tangent(self, sums: Sums, weights: Tensor, skip: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Differentiate a sweep; see `Loops`."""
        frames, rows, count = weights.shape
        changes, entering = weights.new_zeros(frames + 1, rows, count + 2), torch.empty_like(weights)
        given = (weights.contiguous(), skip.contiguous(), sums.totals.contiguous(), (sums.states * values).contiguous())
        _tangent_program[(rows,)](*given, changes, entering, frames, rows, count, BLOCK=triton.next_power_of_2(count))
        return changes[1:, :, 2:], entering


def align(x: Tensor, problem: CtcProblem, weights: NDArray, differentiable: bool) -> Rescaled:  # type: ignore[type-arg]
    """Align a batch with these loops."""
    return Rescaled(x, problem, weights, TritonLoops())
