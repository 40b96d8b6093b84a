# ruff: noqa: N806
"""The selective scan in pure torch, fast on a CPU because it never holds more than one segment of states.

Problem: everything that materialises states or decays for all steps (rows * length * channels * states; 268 MB per tensor at 16,384
steps of 256 x 16) falls out of the processor's cache and spends its time on page faults. Choice: walk over blocks of a few rows and a
few dozen steps whose tensors stay in the cache, keep the state before every segment only, compute the segment again in the backward
pass and run the adjoint over it. Channels lie innermost, so that every elementwise operation runs over long contiguous vectors.
Rejected: an associative (log-depth) scan, which does twice the arithmetic and many more passes over memory to save sequential steps that
cost little once a step is a vector of thousands; `benchmarks/selective_scan.py` measures both.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor

from auscult.ops.selective_scan_kernel import Kernel, ScanInputs

BLOCK_ELEMENTS = 1 << 18
"""States that one block holds at once: 1 MiB in float32."""
ROWS_TOGETHER = 4
"""Rows that share a step, as long as there are that many: a step of one row alone is hardly longer than the call that computes it."""
SHORTEST_SEGMENT, LONGEST_SEGMENT = 8, 64


def choose_segment(inputs: ScanInputs) -> int:
    """Return the steps per segment that fill a block."""
    per_step = min(len(inputs.u), ROWS_TOGETHER) * inputs.A.numel()
    return max(SHORTEST_SEGMENT, min(LONGEST_SEGMENT, BLOCK_ELEMENTS // per_step))


class _Segment(NamedTuple):
    """Some rows and some neighbouring steps."""

    rows: slice
    steps: slice
    number: int

    def of(self, values: Tensor) -> Tensor:
        """(rows, length, size) -> (steps, rows, size) of this segment: time first, as all loops below want it."""
        return values[self.rows, self.steps].transpose(0, 1)


def _row_blocks(inputs: ScanInputs, segment: int) -> Iterator[slice]:
    rows, _, channels = inputs.u.shape
    size = max(1, BLOCK_ELEMENTS // (segment * channels * inputs.A.shape[1]))
    for begin in range(0, rows, size):
        yield slice(begin, min(begin + size, rows))


def _segments(rows: slice, length: int, segment: int, last_first: bool) -> Iterator[_Segment]:
    starts = range(0, length, segment)
    for begin in reversed(starts) if last_first else starts:
        yield _Segment(rows, slice(begin, min(begin + segment, length)), begin // segment)


class _Buffers:
    """Decays, states and gradients of the states of one segment, each (steps, rows, states, channels), used again for the next one.

    The views of single steps are made once: making them costs as much as the arithmetic of a step.
    """

    def __init__(self, inputs: ScanInputs, rows: int, segment: int, reverse: bool) -> None:
        channels, states = inputs.A.shape
        self.inputs, self.reverse, self.rows = inputs, reverse, rows
        self.by_channel = inputs.A.t().contiguous()  # (states, channels)
        self._decays, self._adjoints = (inputs.u.new_empty(segment, rows, states, channels) for _ in range(2))
        self._states = inputs.u.new_empty(segment + 1, rows, states, channels)
        slots = self._states.unbind(0)
        before, after = (slots[1:], slots[:-1]) if reverse else (slots[:-1], slots[1:])
        self._steps = list(zip(after, self._decays.unbind(0), before, self._adjoints.unbind(0), strict=True))

    def states(self, part: _Segment, carry: Tensor) -> Tensor:
        """Compute decays and states from the state before the segment (rows, states, channels); return the state after it, a view."""
        dt, u, B = part.of(self.inputs.dt), part.of(self.inputs.u), part.of(self.inputs.B)
        steps = len(dt)
        torch.mul(dt.unsqueeze(2), self.by_channel, out=self._decays[:steps]).exp_()
        self.decay, slots = self._decays[:steps], self._states[: steps + 1]
        self.after, self.before = (slots[:-1], slots[1:]) if self.reverse else (slots[1:], slots[:-1])
        self.scaled = dt * u  # (steps, rows, channels)
        torch.mul(self.scaled.unsqueeze(2), B.unsqueeze(3), out=self.after)
        slots[-1 if self.reverse else 0].copy_(carry)
        walk = self._steps[:steps]
        for after, decay, before, _ in reversed(walk) if self.reverse else walk:
            after.addcmul_(decay, before)
        return self.after[0 if self.reverse else -1]

    def adjoints(self, of_y: Tensor, out_of: Tensor, carried: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return the gradient of every state of the segment, and what flows out of it against time.

        Args:
            of_y: gradient of the outputs, (steps, rows, channels).
            out_of: C, (steps, rows, states).
            carried: what flows into the segment, (rows, states, channels), or None.
        """
        adjoint = torch.mul(of_y.unsqueeze(2), out_of.unsqueeze(3), out=self._adjoints[: len(of_y)])
        walk = self._steps[: len(of_y)]
        if not self.reverse:
            walk.reverse()
        if carried is not None:
            walk[0][3].add_(carried)
        for (_, decay, _, later), (_, _, _, earlier) in pairwise(walk):
            earlier.addcmul_(later, decay)
        return adjoint, walk[-1][1] * walk[-1][3]


def forward(inputs: ScanInputs, segment: int, reverse: bool) -> tuple[Tensor, Tensor]:
    """Return y and the state before every segment, (segments, rows, states, channels)."""
    rows, length, channels = inputs.u.shape
    y = inputs.u.new_empty(rows, length, channels)
    carries = inputs.u.new_zeros(-(-length // segment), rows, inputs.A.shape[1], channels)
    buffers: _Buffers | None = None
    for block in _row_blocks(inputs, segment):
        if buffers is None or buffers.rows != block.stop - block.start:
            buffers = _Buffers(inputs, block.stop - block.start, segment, reverse)
        carry: Tensor | None = None
        for part in _segments(block, length, segment, last_first=reverse):
            kept = carries[part.number, block]
            if carry is not None:
                kept.copy_(carry)
            carry = buffers.states(part, kept)
            found = _over_states(part.of(inputs.C), buffers.after)
            if inputs.D is not None:
                found.addcmul_(part.of(inputs.u), inputs.D)
            part.of(y).copy_(found)
    return y, carries


def backward(gradient: Tensor, inputs: ScanInputs, carries: Tensor, segment: int, reverse: bool) -> tuple[Tensor | None, ...]:
    """Return the gradients of u, dt, A, B, C and D."""
    u, dt, A, B, C, D = inputs
    of_u, of_dt, of_B, of_C = (torch.empty_like(one, memory_format=torch.contiguous_format) for one in (u, dt, B, C))
    of_A = torch.zeros_like(A.t(), memory_format=torch.contiguous_format)
    buffers: _Buffers | None = None
    for block in _row_blocks(inputs, segment):
        if buffers is None or buffers.rows != block.stop - block.start:
            buffers = _Buffers(inputs, block.stop - block.start, segment, reverse)
        carried: Tensor | None = None
        for part in _segments(block, u.shape[1], segment, last_first=not reverse):
            buffers.states(part, carries[part.number, block])
            of_y = part.of(gradient)
            adjoint, carried = buffers.adjoints(of_y, part.of(C), carried)
            part.of(of_C).copy_(_over_channels(buffers.after, of_y))
            part.of(of_B).copy_(_over_channels(adjoint, buffers.scaled))
            of_scaled = _over_states(part.of(B), adjoint)  # (steps, rows, channels)
            of_exponent = adjoint.mul_(buffers.before).mul_(buffers.decay)
            of_step = torch.mul(of_exponent, buffers.by_channel, out=buffers.decay).sum(2)
            of_A += of_exponent.mul_(part.of(dt).unsqueeze(2)).sum((0, 1))
            part.of(of_dt).copy_(of_step.addcmul_(of_scaled, part.of(u)))
            part.of(of_u).copy_(of_scaled.mul_(part.of(dt)))
    of_D = None
    if D is not None:
        of_u.addcmul_(gradient, D)
        of_D = torch.einsum("rld,rld->d", gradient, u)
    return of_u, of_dt, of_A.t(), of_B, of_C, of_D


def _over_states(weights: Tensor, values: Tensor) -> Tensor:
    """(steps, rows, states), (steps, rows, states, channels) -> sum over states (steps, rows, channels)."""
    return torch.matmul(weights.unsqueeze(2), values).squeeze(2)


def _over_channels(values: Tensor, weights: Tensor) -> Tensor:
    """(steps, rows, states, channels), (steps, rows, channels) -> sum over channels (steps, rows, states)."""
    return torch.matmul(values, weights.unsqueeze(3)).squeeze(3)


KERNEL = Kernel(forward, backward, choose_segment)
