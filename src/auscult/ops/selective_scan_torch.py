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
LONGEST_SEGMENT = 64


def choose_segment(inputs: ScanInputs) -> int:
    """Return the steps per segment: as many as fit one block, of one row, within limits."""
    per_step = inputs.u.shape[2] * inputs.A.shape[1]
    return max(8, min(LONGEST_SEGMENT, BLOCK_ELEMENTS // per_step))


class _Segment(NamedTuple):
    """One block of rows and steps, time first: the shape every loop below works on."""

    rows: slice
    steps: slice
    number: int


def _row_blocks(inputs: ScanInputs, segment: int) -> Iterator[slice]:
    rows, _, channels = inputs.u.shape
    size = max(1, BLOCK_ELEMENTS // (segment * channels * inputs.A.shape[1]))
    for begin in range(0, rows, size):
        yield slice(begin, min(begin + size, rows))


def _segments(rows: slice, length: int, segment: int, backwards: bool) -> Iterator[_Segment]:
    """Yield the segments of a block of rows, first or last first."""
    starts = range(0, length, segment)
    for begin in reversed(starts) if backwards else starts:
        yield _Segment(rows, slice(begin, min(begin + segment, length)), begin // segment)


def _time_first(values: Tensor, part: _Segment) -> Tensor:
    """(rows, length, size) -> (steps, rows of the block, size) of a segment."""
    return values[part.rows, part.steps].transpose(0, 1)


class _States:
    """Decays and states of a segment: computed in the forward pass, and once more in the backward pass."""

    def __init__(self, inputs: ScanInputs, rows: int, segment: int, reverse: bool) -> None:
        channels, states = inputs.A.shape
        self.inputs, self.reverse = inputs, reverse
        self.by_channel = inputs.A.t().contiguous()  # (states, channels)
        self._decay = inputs.u.new_empty(segment, rows, states, channels)
        self._state = inputs.u.new_empty(segment + 1, rows, states, channels)

    def compute(self, part: _Segment, carry: Tensor) -> Tensor:
        """Fill the buffers from the state before the segment (rows, states, channels); return the state after it, a view of the buffer."""
        dt, u, B = (_time_first(tensor, part) for tensor in (self.inputs.dt, self.inputs.u, self.inputs.B))
        steps = len(dt)
        self.decay = torch.mul(dt.unsqueeze(2), self.by_channel, out=self._decay[:steps, : dt.shape[1]]).exp_()
        whole = self._state[: steps + 1, : dt.shape[1]]
        self.after, self.before = (whole[:-1], whole[1:]) if self.reverse else (whole[1:], whole[:-1])
        self.scaled = dt * u  # (steps, rows, channels)
        torch.mul(self.scaled.unsqueeze(2), B.unsqueeze(3), out=self.after)
        whole[-1 if self.reverse else 0].copy_(carry)
        triples = list(zip(self.after.unbind(0), self.decay.unbind(0), self.before.unbind(0), strict=True))
        for after, decay, before in reversed(triples) if self.reverse else triples:
            after.addcmul_(decay, before)
        return self.after[0 if self.reverse else -1]


def forward(inputs: ScanInputs, segment: int, reverse: bool) -> tuple[Tensor, Tensor]:
    """Return y and the state before every segment, (segments, rows, states, channels)."""
    rows, length, channels = inputs.u.shape
    states = inputs.A.shape[1]
    y = inputs.u.new_empty(rows, length, channels)
    carries = inputs.u.new_zeros(-(-length // segment), rows, states, channels)
    buffers: _States | None = None
    for block in _row_blocks(inputs, segment):
        buffers = buffers or _States(inputs, block.stop - block.start, segment, reverse)
        carry = carries[0, block]
        for part in _segments(block, length, segment, backwards=reverse):
            carries[part.number, block].copy_(carry)
            carry = buffers.compute(part, carries[part.number, block])
            out_of = _time_first(inputs.C, part)
            found = _over_states(out_of, buffers.after)
            if inputs.D is not None:
                found.addcmul_(_time_first(inputs.u, part), inputs.D)
            _time_first(y, part).copy_(found)
    return y, carries


def backward(gradient: Tensor, inputs: ScanInputs, carries: Tensor, segment: int, reverse: bool) -> tuple[Tensor | None, ...]:
    """Return the gradients of u, dt, A, B, C and D."""
    u, dt, A, B, C, D = inputs
    of_u, of_dt, of_B, of_C = (torch.empty_like(one, memory_format=torch.contiguous_format) for one in (u, dt, B, C))
    of_A = torch.zeros_like(A.t(), memory_format=torch.contiguous_format)
    buffers: _States | None = None
    for block in _row_blocks(inputs, segment):
        rows = block.stop - block.start
        if buffers is None:
            buffers = _States(inputs, rows, segment, reverse)
            adjoints = u.new_empty(segment, rows, *of_A.shape)
        carried: Tensor | None = None
        for part in _segments(block, u.shape[1], segment, backwards=not reverse):
            buffers.compute(part, carries[part.number, block])
            of_y = _time_first(gradient, part)
            adjoint = torch.mul(of_y.unsqueeze(2), _time_first(C, part).unsqueeze(3), out=adjoints[: len(of_y), :rows])
            carried = _run_adjoint(adjoint, buffers.decay, carried, reverse)
            _time_first(of_C, part).copy_(_over_channels(buffers.after, of_y))
            _time_first(of_B, part).copy_(_over_channels(adjoint, buffers.scaled))
            of_scaled = _over_states(_time_first(B, part), adjoint)  # (steps, rows, channels)
            of_exponent = adjoint.mul_(buffers.before).mul_(buffers.decay)
            of_step = torch.mul(of_exponent, buffers.by_channel, out=buffers.decay).sum(2)
            of_A += of_exponent.mul_(_time_first(dt, part).unsqueeze(2)).sum((0, 1))
            _time_first(of_dt, part).copy_(of_step.addcmul_(of_scaled, _time_first(u, part)))
            _time_first(of_u, part).copy_(of_scaled.mul_(_time_first(dt, part)))
    of_D = None
    if D is not None:
        of_u.addcmul_(gradient, D)
        of_D = torch.einsum("rld,rld->d", gradient, u)
    return of_u, of_dt, of_A.t(), of_B, of_C, of_D


def _run_adjoint(adjoint: Tensor, decay: Tensor, carried: Tensor | None, reverse: bool) -> Tensor:
    """Add to every step's gradient of its state what flows back from the next step; return what flows out of the segment."""
    pairs = list(zip(adjoint.unbind(0), decay.unbind(0), strict=True))
    if not reverse:
        pairs.reverse()
    if carried is not None:
        pairs[0][0].add_(carried)
    for (later, decay_of_later), (earlier, _) in pairwise(pairs):
        earlier.addcmul_(later, decay_of_later)
    return pairs[-1][0] * pairs[-1][1]


def _over_states(weights: Tensor, values: Tensor) -> Tensor:
    """(steps, rows, states), (steps, rows, states, channels) -> sum over states (steps, rows, channels)."""
    return torch.matmul(weights.unsqueeze(2), values).squeeze(2)


def _over_channels(values: Tensor, weights: Tensor) -> Tensor:
    """(steps, rows, states, channels), (steps, rows, channels) -> sum over channels (steps, rows, states)."""
    return torch.matmul(values, weights.unsqueeze(3)).squeeze(3)


KERNEL = Kernel(forward, backward, choose_segment)
