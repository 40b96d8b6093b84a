# ruff: noqa: N806
"""One direction of a residual Mamba block on a CPU: a few rows at a time, forward and backward written out.

Problem: under autograd a Mamba block of 64 channels keeps some three thousand values per token, and every one of its two dozen
operations walks through memory that has long left the cache; recomputing blocks bounds the memory and costs a second forward pass
with a second scan in it. Choice: one function from the block's input to its output that works on `memory_rows` rows at a time in buffers
that are used again. It keeps the input, the output of the scan and the scan's own few states; the projections before the scan and
the short convolution are computed again in the backward pass, the scan is not. Each matrix product writes into its buffer.
Rejected: keeping what the projections give (six times the memory for a tenth of the time); recomputing the scan's output too (a fifth
of the memory for a tenth more time).

Equations as in `auscult.models.mamba`, which is the same in plain operations and what this file is tested against. First-order
gradients only.
"""

from __future__ import annotations

from typing import Any, NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor

from auscult.ops import selective_scan_torch
from auscult.ops.selective_scan_kernel import Kernel, ScanInputs


class MambaWeights(NamedTuple):
    """The weights of one direction, all float32 or all float64.

    Attributes:
        norm: (size,), gain of the root mean square norm in front.
        into: (2 * inner, size), to what is scanned and to the gate.
        taps: (inner, taps) of the depthwise convolution, the last for the step itself.
        bias: (inner,) of the convolution.
        select: (rank + 2 * states, inner), to step sizes, B and C.
        step: (inner, rank).
        step_bias: (inner,).
        A: (inner, states), negative.
        D: (inner,).
        out: (size, inner).
    """

    norm: Tensor
    into: Tensor
    taps: Tensor
    bias: Tensor
    select: Tensor
    step: Tensor
    step_bias: Tensor
    A: Tensor
    D: Tensor
    out: Tensor


def mamba_direction(values: Tensor, weights: MambaWeights, epsilon: float, reverse: bool, memory_rows: int) -> Tensor:
    """Return values + mamba(norm(values)).

    Args:
        values: (rows, length, size) on the CPU, of the dtype of the weights.
        weights: of the block.
        epsilon: added to the mean square.
        reverse: the block reads from the last step to the first.
        memory_rows: rows at a time; the result does not depend on it.

    Returns:
        (rows, length, size).
    """
    result: Tensor = _Direction.apply(  # type: ignore[no-untyped-call]
        values, epsilon, reverse, memory_rows, torch.is_grad_enabled(), *weights
    )
    return result


class _Buffers:
    """What a slice of rows passes through, (rows, length, ...) each, used again by the next slice."""

    def __init__(self, values: Tensor, weights: MambaWeights, rows: int) -> None:
        inner, taps = weights.taps.shape
        self.weights, self.taps = weights, taps
        shape = (rows, values.shape[1])
        self._whole = [values.new_empty(*shape, size) for size in (inner, inner, inner, inner, len(weights.select))]

    def fill(self, values: Tensor, epsilon: float, reverse: bool) -> ScanInputs:
        """Compute everything up to the scan for some rows; return what the scan takes."""
        weights = self.weights
        self.inner, self.gate, self.scanned, self.step_input, self.selected = (one[: len(values)] for one in self._whole)
        self.scale = values.square().mean(2, keepdim=True).add_(epsilon).rsqrt_()
        self.plain = values * self.scale
        self.normed = self.plain * weights.norm
        for part, out in zip(weights.into.chunk(2), (self.inner, self.gate), strict=True):
            torch.mm(_flat(self.normed), part.t(), out=_flat(out))
        self.before = short_convolution(self.inner, weights.taps, weights.bias, reverse)
        torch.ops.aten.silu.out(self.before, out=self.scanned)
        torch.mm(_flat(self.scanned), weights.select.t(), out=_flat(self.selected))
        rank, states = weights.step.shape[1], weights.A.shape[1]
        self.low, into, out_of = torch.split(self.selected, [rank, states, states], dim=2)
        torch.addmm(weights.step_bias, _flat(self.low), weights.step.t(), out=_flat(self.step_input))
        steps = F.softplus(self.step_input)
        return ScanInputs(self.scanned, steps, weights.A, into.contiguous(), out_of.contiguous(), weights.D)


def short_convolution(values: Tensor, taps: Tensor, bias: Tensor | None, reverse: bool) -> Tensor:
    """`shifted_convolution` of the model for contiguous values, through the library's kernel for images with channels last.

    That kernel is four times as fast as shifted products forward, and several times slower backward, so only its forward is used: the
    gradient of a convolution that looks back is the convolution with the same taps that looks ahead.
    """
    length, count = values.shape[1], taps.shape[1]
    image = values.unsqueeze(1).permute(0, 3, 1, 2)  # (rows, channels, 1, length), channels last in memory
    filters = (taps.flip(1) if reverse else taps)[:, None, None]
    convolved = F.conv2d(image, filters, bias, padding=(0, count - 1), groups=len(taps)).permute(0, 2, 3, 1).squeeze(1)
    return convolved.narrow(1, count - 1 if reverse else 0, length)


class _Direction(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, epsilon: float, reverse: bool, memory_rows: int, keeps: bool, *tensors: Tensor) -> Tensor:
        """Return the block's output; keep what a backward pass needs."""
        weights, kernel = MambaWeights(*tensors), scan_kernel()
        result = torch.empty_like(values, memory_format=torch.contiguous_format)
        buffers = _Buffers(values, weights, min(memory_rows, len(values)))
        kept: list[Tensor] = []
        for rows, out in zip(*(torch.split(one, memory_rows) for one in (values, result)), strict=True):
            inputs = buffers.fill(rows, epsilon, reverse)
            segment = min(kernel.segment(inputs), inputs.u.shape[1])
            read, carries = kernel.forward(inputs, segment, reverse)
            if keeps:
                kept += [read, carries]
            gated = F.silu(buffers.gate).mul_(read)
            torch.add(torch.mm(_flat(gated), weights.out.t()).view(rows.shape), rows, out=out)
        if keeps:
            ctx.save_for_backward(values, *tensors, *kept)
        ctx.kernel, ctx.segment = kernel, segment
        ctx.epsilon, ctx.reverse, ctx.memory_rows = epsilon, reverse, memory_rows
        return result

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradients of the values and of the weights."""
        if torch.is_grad_enabled():
            raise RuntimeError(
                "auscult's kernel for Mamba blocks has no second-order gradient; plain operations around the reference scan have"
            )
        values, *others = ctx.saved_tensors
        count = len(MambaWeights._fields)
        weights, kept = MambaWeights(*others[:count]), others[count:]
        of_values = torch.empty_like(values, memory_format=torch.contiguous_format)
        of_weights = MambaWeights(*(torch.zeros_like(one, memory_format=torch.contiguous_format) for one in weights))
        buffers = _Buffers(values, weights, min(ctx.memory_rows, len(values)))
        slices = zip(*(torch.split(one, ctx.memory_rows) for one in (values, gradients[0].contiguous(), of_values)), strict=True)
        for number, (rows, given, out) in enumerate(slices):
            inputs = buffers.fill(rows, ctx.epsilon, ctx.reverse)
            read, carries = kept[2 * number : 2 * number + 2]
            of_read, of_gate = _gate_backward(given, buffers, read, of_weights)
            of_inputs = ctx.kernel.backward(of_read, inputs, carries, ctx.segment, ctx.reverse)
            of_scanned = _selection_backward(of_inputs, buffers, of_weights)
            of_inner = _convolution_backward(of_scanned, buffers, of_weights, ctx.reverse)
            _input_backward(given, buffers, (of_inner, of_gate), of_weights, out)
        return of_values, None, None, None, None, *of_weights


def _flat(values: Tensor) -> Tensor:
    return values.view(-1, values.shape[-1]) if values.is_contiguous() else values.flatten(0, 1)


def scan_kernel() -> Kernel:
    """Return the compiled kernel of the scan where numba is installed, else the one in torch."""
    try:
        from auscult.ops import selective_scan_numba
    except ImportError:
        return selective_scan_torch.KERNEL
    return selective_scan_numba.KERNEL


def _gate_backward(given: Tensor, buffers: _Buffers, read: Tensor, of_weights: MambaWeights) -> tuple[Tensor, Tensor]:
    """Gradient of the output -> gradients of what the scan gave and of the gate; adds that of the last projection."""
    opened = F.silu(buffers.gate)
    of_gated = torch.mm(_flat(given), buffers.weights.out).view(opened.shape)
    of_weights.out.addmm_(_flat(given).t(), _flat(opened * read))
    of_gate = torch.ops.aten.silu_backward(read.mul(of_gated), buffers.gate)
    return of_gated.mul_(opened), of_gate


def _selection_backward(of_inputs: tuple[Tensor | None, ...], buffers: _Buffers, of_weights: MambaWeights) -> Tensor:
    """Gradients of the scan's inputs -> gradient of what the convolution gave; adds those of the weights between."""
    of_scanned, of_step, of_A, of_B, of_C, of_D = cast(tuple[Tensor, ...], of_inputs)  # there is a D, so none of them is None
    of_scanned = of_scanned.contiguous()
    of_weights.A.add_(of_A)
    of_weights.D.add_(of_D)
    of_step = torch.ops.aten.softplus_backward(of_step, buffers.step_input, 1.0, 20.0)
    of_weights.step_bias.add_(of_step.sum((0, 1)))
    of_weights.step.addmm_(_flat(of_step).t(), _flat(buffers.low))
    of_low = torch.mm(_flat(of_step), buffers.weights.step).view(buffers.low.shape)
    of_selected = torch.cat([of_low, of_B, of_C], dim=2)
    of_weights.select.addmm_(_flat(of_selected).t(), _flat(buffers.scanned))
    _flat(of_scanned).addmm_(_flat(of_selected), buffers.weights.select)
    return of_scanned


def _convolution_backward(of_scanned: Tensor, buffers: _Buffers, of_weights: MambaWeights, reverse: bool) -> Tensor:
    """Gradient of what follows the convolution -> gradient of what it takes; adds those of taps and bias."""
    of_before = torch.empty_like(of_scanned)
    torch.ops.aten.silu_backward.grad_input(of_scanned, buffers.before, grad_input=of_before)
    of_weights.bias.add_(of_before.sum((0, 1)))
    rows, length, inner = of_before.shape
    for distance in range(min(buffers.taps, length)):
        late, early = slice(distance, length), slice(0, length - distance)
        here, there = (early, late) if reverse else (late, early)
        size = rows * (length - distance)
        product = _flat(buffers.scanned)[:size].view(rows, -1, inner)  # contiguous, as sums over other memory take ten times as long
        torch.mul(of_before[:, here], buffers.inner[:, there], out=product)
        of_weights.taps[:, buffers.taps - 1 - distance] += product.sum((0, 1))
    return short_convolution(of_before, buffers.weights.taps, None, not reverse)


def _input_backward(given: Tensor, buffers: _Buffers, parts: tuple[Tensor, Tensor], of_weights: MambaWeights, out: Tensor) -> None:
    """Write the gradient of the rows: through the first projection and the norm, and past them."""
    of_normed = torch.zeros_like(buffers.normed)
    pieces = zip(parts, of_weights.into.chunk(2), buffers.weights.into.chunk(2), strict=True)
    for of_part, of_weight, weight in pieces:
        flat = _flat(of_part)
        of_weight.addmm_(flat.t(), _flat(buffers.normed))
        _flat(of_normed).addmm_(flat, weight)
    of_weights.norm.add_((of_normed * buffers.plain).sum((0, 1)))
    of_plain = of_normed.mul_(buffers.weights.norm)
    shared = (of_plain * buffers.plain).mean(2, keepdim=True)
    torch.add(of_plain.addcmul_(buffers.plain, shared, value=-1).mul_(buffers.scale), given, out=out)
