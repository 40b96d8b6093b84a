# ruff: noqa: N806
"""The selective scan on a CPU through compiled loops: one pass forward, one backward, no tensor of states at all.

Problem: even in segments, torch walks over each block of states a dozen times. Choice: `selective_scan_lanes` does all operations of a
state while it is in registers; this module gives it flat arrays with channels in whole vectors, and shares rows, or channels where there
are fewer rows than threads, among as many threads as torch uses. Rejected: numba's own `prange`, whose simplest threading layer ends
the process when two threads call it at once, as servers do.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad

from auscult.ops import selective_scan_lanes
from auscult.ops.selective_scan_kernel import Kernel, ScanInputs

WIDTH = 16
"""Vectors of channels that walk through time together. Fewer keep more in the first-level cache, and read the inputs in worse order."""
SEGMENT = 32
SMALLEST_SHARE = 1 << 20
"""States below which a second thread costs more than it gives."""


class _Part(NamedTuple):
    """What one thread does: some rows of some vectors of channels."""

    row_begin: int
    row_end: int
    vector_begin: int
    vector_end: int
    width: int


class _Flat:
    """The inputs as the compiled loops want them."""

    def __init__(self, inputs: ScanInputs) -> None:
        self.rows, self.length, self.real_channels = inputs.u.shape
        self.states = inputs.A.shape[1]
        self.lanes = selective_scan_lanes.BYTES // inputs.u.element_size()
        self.channels = -(-self.real_channels // self.lanes) * self.lanes
        self.shape = (self.rows, self.length, self.channels, self.states)
        by_channel = pad(inputs.A, (0, 0, 0, self.channels - self.real_channels)) * math.log2(math.e)
        weight = inputs.u.new_zeros(self.real_channels) if inputs.D is None else inputs.D
        self.u, self.dt, self.D = (self.widen(tensor) for tensor in (inputs.u, inputs.dt, weight))
        self.A = by_channel.view(-1, self.lanes, self.states).transpose(1, 2).contiguous()
        self.B, self.C = inputs.B.contiguous(), inputs.C.contiguous()

    def widen(self, values: Tensor) -> Tensor:
        """(..., channels) -> contiguous, channels in whole vectors."""
        missing = self.channels - self.real_channels
        return pad(values, (0, missing)) if missing else values.contiguous()

    def narrow(self, values: Tensor) -> Tensor:
        """Undo `widen`."""
        return values[..., : self.real_channels]

    def parts(self) -> list[_Part]:
        """Return the shares of the threads."""
        size = self.rows * self.length * self.channels * self.states
        threads = max(1, min(torch.get_num_threads(), size // SMALLEST_SHARE))
        vectors = self.channels // self.lanes
        if self.rows >= threads:
            return [_Part(begin, end, 0, vectors, WIDTH) for begin, end in _shares(self.rows, threads)]
        return [_Part(0, self.rows, begin, end, WIDTH) for begin, end in _shares(vectors, min(threads, vectors))]


def _shares(total: int, parts: int) -> list[tuple[int, int]]:
    bounds = [total * i // parts for i in range(parts + 1)]
    return list(pairwise(bounds))


def _each(parts: list[_Part], run: Callable[[_Part], Any]) -> list[Any]:
    """Run every part, in threads if there are several."""
    if len(parts) == 1:
        return [run(parts[0])]
    with ThreadPoolExecutor(len(parts)) as pool:
        return list(pool.map(run, parts))


def _array(values: Tensor) -> Any:
    return values.detach().view(-1).numpy()


def choose_segment(inputs: ScanInputs) -> int:
    """Return the steps per segment, whose decays and states stay in the second-level cache."""
    return SEGMENT


def forward(inputs: ScanInputs, segment: int, reverse: bool) -> tuple[Tensor, Tensor]:
    """Return y and the state before every segment."""
    flat = _Flat(inputs)
    y = torch.empty_like(flat.u)
    carries = y.new_empty(-(-flat.length // segment), flat.rows, flat.channels * flat.states)
    arrays = [_array(one) for one in (flat.u, flat.dt, flat.A, flat.B, flat.C, flat.D, y, carries)]

    def run(part: _Part) -> None:
        state = _array(y.new_empty(WIDTH * flat.states * flat.lanes))
        selective_scan_lanes.forward(*arrays, state, flat.shape, tuple(part), segment, reverse)

    _each(flat.parts(), run)
    return flat.narrow(y), carries


def backward(gradient: Tensor, inputs: ScanInputs, carries: Tensor, segment: int, reverse: bool) -> tuple[Tensor | None, ...]:
    """Return the gradients of u, dt, A, B, C and D."""
    flat = _Flat(inputs)
    of_u, of_dt = torch.empty_like(flat.u), torch.empty_like(flat.dt)
    given = tuple(_array(one) for one in (flat.widen(gradient), flat.u, flat.dt, flat.A, flat.B, flat.C, flat.D))
    kept = _array(carries)
    parts = flat.parts()
    shared = len(parts) > 1 and flat.rows < len(parts)
    of_B, of_C = (gradient.new_zeros(len(parts) if shared else 1, *flat.B.shape) for _ in range(2))

    def run(part: _Part) -> tuple[Tensor, Tensor]:
        of_A, of_D = torch.zeros_like(flat.A), torch.zeros_like(flat.D)
        mine = parts.index(part) if shared else 0
        outputs = tuple(_array(one) for one in (of_u, of_dt, of_A, of_B[mine], of_C[mine], of_D))
        block = flat.states * flat.lanes
        sizes = (segment * WIDTH * block, (segment + 1) * WIDTH * block, WIDTH * block, block, block)
        scratch = tuple(_array(gradient.new_empty(size)) for size in sizes)
        selective_scan_lanes.backward(given, kept, outputs, scratch, flat.shape, tuple(part), segment, reverse)
        return of_A, of_D

    found = _each(parts, run)
    of_A, of_D = (torch.stack(one).sum(0) for one in zip(*found, strict=True))
    of_A = of_A.transpose(1, 2).reshape(-1, flat.states)[: flat.real_channels]
    of_weight = None if inputs.D is None else flat.narrow(of_D)
    return flat.narrow(of_u), flat.narrow(of_dt), of_A, of_B.sum(0), of_C.sum(0), of_weight


KERNEL = Kernel(forward, backward, choose_segment)
