# ruff: noqa: N803, N806
# mypy: disable-error-code="no-untyped-def,untyped-decorator"
"""The selective scan on CUDA without mamba_ssm: Triton, which comes with torch there and needs no compiler at installation.

Problem: mamba_ssm has no wheels, so on many machines the only other choice is a Python loop over thousands of kernel launches. Choice: one
program per row and block of channels walks through time with its states in registers, in float32; the backward pass computes a
segment of states again into a scratch buffer that stays in the second-level cache. Gradients that are sums over programs (A, B, C) are
written per program and added up afterwards, not with atomics, so that two runs agree to the bit.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from auscult.ops.selective_scan_kernel import Kernel, ScanInputs

BLOCK = 32
"""Channels of one program."""
SEGMENT = 32


@triton.jit
def _forward_program(
    u, dt, A, B, C, D, y, carries, length, channels, states, segment, reverse: tl.constexpr, BLOCK: tl.constexpr, N: tl.constexpr
):
    row = tl.program_id(0).to(tl.int64)
    channel = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    n = tl.arange(0, N)
    inside, real = channel < channels, n < states
    both = inside[:, None] & real[None, :]
    place = channel[:, None] * states + n[None, :]
    rates = tl.load(A + place, mask=both, other=0.0)
    weight = tl.load(D + channel, mask=inside, other=0.0)
    state = tl.zeros_like(rates)
    for step in range(length):
        if step % segment == 0:
            kept = (step // segment * tl.num_programs(0) + row) * channels * states
            tl.store(carries + kept + place, state, mask=both)
        now = row * length + (length - 1 - step if reverse else step)
        size = tl.load(dt + now * channels + channel, mask=inside, other=0.0)
        value = tl.load(u + now * channels + channel, mask=inside, other=0.0)
        into = tl.load(B + now * states + n, mask=real, other=0.0)
        out_of = tl.load(C + now * states + n, mask=real, other=0.0)
        state = tl.exp(size[:, None] * rates) * state + (size * value)[:, None] * into[None, :]
        result = tl.sum(state * out_of[None, :], axis=1) + weight * value
        tl.store(y + now * channels + channel, result, mask=inside)


@triton.jit
def _states_again(u, dt, B, scratch, state, rates, begin, steps, channel, channels, states, reverse: tl.constexpr, N: tl.constexpr):
    """Write the states of a segment to the scratch buffer, the one before it first."""
    n = tl.arange(0, N)
    inside, real = channel < channels, n < states
    both = inside[:, None] & real[None, :]
    tl.store(scratch, state, mask=both)
    for i in range(steps):
        now = begin - i if reverse else begin + i
        size = tl.load(dt + now * channels + channel, mask=inside, other=0.0)
        value = tl.load(u + now * channels + channel, mask=inside, other=0.0)
        into = tl.load(B + now * states + n, mask=real, other=0.0)
        state = tl.exp(size[:, None] * rates) * state + (size * value)[:, None] * into[None, :]
        tl.store(scratch + (i + 1) * channels * states, state, mask=both)


@triton.jit
def _backward_program(
    gradient,
    u,
    dt,
    A,
    B,
    C,
    D,
    carries,
    history,
    of_u,
    of_dt,
    of_A,
    of_B,
    of_C,
    length,
    channels,
    states,
    segment,
    reverse: tl.constexpr,
    BLOCK: tl.constexpr,
    N: tl.constexpr,
):
    row, block, rows = tl.program_id(0).to(tl.int64), tl.program_id(1), tl.num_programs(0)
    channel, n = block * BLOCK + tl.arange(0, BLOCK), tl.arange(0, N)
    inside, real = channel < channels, n < states
    both = inside[:, None] & real[None, :]
    place = channel[:, None] * states + n[None, :]
    rates, weight = tl.load(A + place, mask=both, other=0.0), tl.load(D + channel, mask=inside, other=0.0)
    carried, of_rates = tl.zeros_like(rates), tl.zeros_like(rates)
    scratch = history + row * (segment + 1) * channels * states + place
    for later in range(tl.cdiv(length, segment)):
        number = tl.cdiv(length, segment) - 1 - later
        begin = number * segment
        steps = tl.minimum(segment, length - begin)
        state = tl.load(carries + (number * rows + row) * channels * states + place, mask=both, other=0.0)
        start = row * length + (length - 1 - begin if reverse else begin)
        _states_again(u, dt, B, scratch, state, rates, start, steps, channel, channels, states, reverse, N)
        tl.debug_barrier()
        for back in range(steps):
            i = steps - 1 - back
            now = row * length + (length - 1 - begin - i if reverse else begin + i)
            size = tl.load(dt + now * channels + channel, mask=inside, other=0.0)
            value = tl.load(u + now * channels + channel, mask=inside, other=0.0)
            of_y = tl.load(gradient + now * channels + channel, mask=inside, other=0.0)
            into = tl.load(B + now * states + n, mask=real, other=0.0)
            out_of = tl.load(C + now * states + n, mask=real, other=0.0)
            before = tl.load(scratch + i * channels * states, mask=both, other=0.0)
            after = tl.load(scratch + (i + 1) * channels * states, mask=both, other=0.0)
            decay = tl.exp(size[:, None] * rates)
            adjoint = carried + of_y[:, None] * out_of[None, :]
            share = (block.to(tl.int64) * rows * length + now) * states + n
            tl.store(of_C + share, tl.sum(of_y[:, None] * after, axis=0), mask=real)
            tl.store(of_B + share, tl.sum(adjoint * (size * value)[:, None], axis=0), mask=real)
            of_scaled = tl.sum(adjoint * into[None, :], axis=1)
            of_exponent = adjoint * before * decay
            of_size = of_scaled * value + tl.sum(of_exponent * rates, axis=1)
            tl.store(of_u + now * channels + channel, of_scaled * size + of_y * weight, mask=inside)
            tl.store(of_dt + now * channels + channel, of_size, mask=inside)
            of_rates += of_exponent * size[:, None]
            carried = adjoint * decay
        tl.debug_barrier()
    tl.store(of_A + row * channels * states + place, of_rates, mask=both)


def _prepared(inputs: ScanInputs) -> list[Tensor]:
    """Return contiguous u, dt, A, B, C, D, with zeros for a missing D."""
    weight = inputs.u.new_zeros(inputs.u.shape[2]) if inputs.D is None else inputs.D
    return [tensor.contiguous() for tensor in (*inputs[:5], weight)]


def _sizes(inputs: ScanInputs) -> tuple[tuple[int, int], tuple[int, int, int], int]:
    """Return the grid of programs, (length, channels, states), and the states rounded up to a power of two."""
    rows, length, channels = inputs.u.shape
    states = inputs.A.shape[1]
    return (rows, triton.cdiv(channels, BLOCK)), (length, channels, states), triton.next_power_of_2(states)


def forward(inputs: ScanInputs, segment: int, reverse: bool) -> tuple[Tensor, Tensor]:
    """Return y and the state before every segment, (segments, rows, channels, states)."""
    grid, sizes, padded = _sizes(inputs)
    tensors = _prepared(inputs)
    y = torch.empty_like(tensors[0])
    carries = y.new_empty(-(-sizes[0] // segment), grid[0], *inputs.A.shape)
    _forward_program[grid](*tensors, y, carries, *sizes, segment, reverse=reverse, BLOCK=BLOCK, N=padded)
    return y, carries


def backward(gradient: Tensor, inputs: ScanInputs, carries: Tensor, segment: int, reverse: bool) -> tuple[Tensor | None, ...]:
    """Return the gradients of u, dt, A, B, C and D."""
    grid, sizes, padded = _sizes(inputs)
    tensors = _prepared(inputs)
    u, dt, _, B, C, _ = tensors
    rows, blocks = grid
    history = u.new_empty(rows, segment + 1, *inputs.A.shape)
    of_u, of_dt, of_A = torch.empty_like(u), torch.empty_like(dt), u.new_empty(rows, *inputs.A.shape)
    of_B, of_C = (u.new_empty(blocks, *one.shape) for one in (B, C))
    outputs = (of_u, of_dt, of_A, of_B, of_C)
    _backward_program[grid](gradient, *tensors, carries, history, *outputs, *sizes, segment, reverse=reverse, BLOCK=BLOCK, N=padded)
    of_weight = None if inputs.D is None else (gradient * u).sum((0, 1))
    return of_u, of_dt, of_A.sum(0), of_B.sum(0), of_C.sum(0), of_weight


def choose_segment(inputs: ScanInputs) -> int:
    """Return the steps per segment."""
    return SEGMENT


KERNEL = Kernel(forward, backward, choose_segment)
