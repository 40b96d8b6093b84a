"""What every fast selective scan shares: the record of its inputs, and the one autograd function around a forward and a backward kernel.

Problem: four kernels (torch, numba, Triton, and mamba_ssm's own) must have the same gradients, the same refusal of second-order requests
and the same care about inputs without gradient. Choice: a kernel is a pair of plain functions over tensors that know nothing of
autograd, and this module holds the only autograd function. Rejected: one autograd function per kernel, whose small differences
nobody would test.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor


class ScanInputs(NamedTuple):
    """The tensors of one scan, all of one floating dtype on one device; names as in `selective_scan`.

    Attributes:
        u: (rows, length, channels), input.
        dt: (rows, length, channels), positive step sizes.
        A: (channels, states), negative.
        B: (rows, length, states).
        C: (rows, length, states).
        D: (channels,), or None.
    """

    u: Tensor
    dt: Tensor
    A: Tensor
    B: Tensor
    C: Tensor
    D: Tensor | None


class Kernel(NamedTuple):
    """One implementation of the scan.

    Attributes:
        forward: (inputs, segment, reverse) -> y (rows, length, channels) and what backward needs besides the inputs: the state
            before every segment.
        backward: (gradient of y, inputs, carries, segment, reverse) -> gradients of u, dt, A, B, C and D (None without D).
        segment: (inputs) -> steps between two kept states if the caller does not say.
    """

    forward: Callable[[ScanInputs, int, bool], tuple[Tensor, Tensor]]
    backward: Callable[[Tensor, ScanInputs, Tensor, int, bool], tuple[Tensor | None, ...]]
    segment: Callable[[ScanInputs], int]


def run_kernel(kernel: Kernel, inputs: ScanInputs, segment: int | None, reverse: bool) -> Tensor:
    """Return y of a kernel, with first-order gradients."""
    steps = min(segment or kernel.segment(inputs), inputs.u.shape[1])
    y: Tensor = _Scan.apply(kernel, steps, reverse, *inputs)  # type: ignore[no-untyped-call]
    return y


class _Scan(torch.autograd.Function):
    """A kernel with its adjoint: keeps the inputs and one state per segment, never a state per step."""

    @staticmethod
    def forward(ctx: Any, kernel: Kernel, segment: int, reverse: bool, *tensors: Tensor | None) -> Tensor:
        """Return y, (rows, length, channels)."""
        inputs = ScanInputs(*tensors)  # type: ignore[arg-type]
        y, carries = kernel.forward(inputs, segment, reverse)
        ctx.save_for_backward(carries, *tensors)
        ctx.kernel, ctx.segment, ctx.reverse = kernel, segment, reverse
        return y

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Any, ...]:
        """Gradient of y -> gradients of the inputs."""
        if torch.is_grad_enabled():
            raise RuntimeError('the fast selective scans have no second-order gradient; call selective_scan with backend="reference"')
        carries, *tensors = ctx.saved_tensors
        inputs = ScanInputs(*tensors)
        found = ctx.kernel.backward(gradients[0].contiguous(), inputs, carries, ctx.segment, ctx.reverse)
        return (None, None, None, *found)
