"""Depthwise convolution along time as a few shifted products, on a CPU.

Problem: for one filter of three taps per channel, torch's convolution on a CPU takes several times as long as reading and writing
the tensor would, forward and even more so backward, and longer still when dilated; it is a quarter of a training step of
Conv-TasNet. Choice: one multiply-add per tap on shifted views, a cacheful of channels at a time, with the gradients written the same way.
Elsewhere (GPU, half precision, compilation, export) this is `nn.Conv1d` itself. Only first-order gradients exist.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from auscult.errors import UserError
from auscult.ops.frame_kernels import cached_rows, cpu_kernel_applies


def depthwise(values: Tensor, taps: Tensor, bias: Tensor | None, dilation: int) -> Tensor:
    """Convolve each channel with its own taps; zeros stand outside, and the middle tap on the sample itself.

    Args:
        values: (batch, channels, time) on the CPU.
        taps: (channels, taps), an odd number of them.
        bias: (channels,), or None.
        dilation: frames from one tap to the next.

    Returns:
        (batch, channels, time).

    >>> depthwise(torch.tensor([[[1.0, 2.0, 3.0]]]), torch.tensor([[1.0, 0.0, -1.0]]), None, 1)
    tensor([[[-2., -2.,  2.]]])
    """
    convolved: Tensor = _Depthwise.apply(values, taps, bias, dilation)  # type: ignore[no-untyped-call]
    return convolved


def _joined(shift: int, time: int) -> tuple[slice, slice] | None:
    """Return the frames of output and input that a tap `shift` frames away joins; None if it reaches outside everywhere."""
    if abs(shift) >= time:
        return None
    return slice(max(0, -shift), time - max(0, shift)), slice(max(0, shift), time + min(0, shift))


def _convolve(values: Tensor, taps: Tensor, bias: Tensor | None, dilation: int, out: Tensor) -> None:
    """Write the convolution of (channels, time) into `out`."""
    middle = taps.shape[1] // 2
    torch.mul(values, taps[:, middle, None], out=out)
    for place in range(taps.shape[1]):
        joined = _joined((place - middle) * dilation, values.shape[1])
        if place != middle and joined is not None:
            out[:, joined[0]].addcmul_(values[:, joined[1]], taps[:, place, None])
    if bias is not None:
        out.add_(bias[:, None])


class _Depthwise(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, taps: Tensor, bias: Tensor | None, dilation: int) -> Tensor:
        """Return the convolved values."""
        values = values.contiguous()
        ctx.save_for_backward(values, taps)
        ctx.dilation, ctx.has_bias = dilation, bias is not None
        out = torch.empty_like(values)
        for item, result in zip(values, out, strict=True):
            for part in cached_rows(*item.shape):
                _convolve(item[part], taps[part], None if bias is None else bias[part], dilation, result[part])
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, Tensor | None, None]:
        """Return the gradients of values, taps and bias."""
        values, taps = ctx.saved_tensors
        of_values, of_taps, of_bias = torch.empty_like(values), torch.zeros_like(taps), taps.new_zeros(len(taps))
        flipped, middle = taps.flip(1), taps.shape[1] // 2
        for item, given, result in zip(values, gradients[0].contiguous(), of_values, strict=True):
            for part in cached_rows(*item.shape):
                _convolve(given[part], flipped[part], None, ctx.dilation, result[part])
                for place in range(taps.shape[1]):
                    joined = _joined((place - middle) * ctx.dilation, item.shape[1])
                    if joined is not None:
                        of_taps[part, place] += (given[part, joined[0]] * item[part, joined[1]]).sum(1)
                if ctx.has_bias:
                    of_bias[part] += given[part].sum(1)
        return of_values, of_taps, of_bias if ctx.has_bias else None, None


class DepthwiseConv(nn.Conv1d):
    """A depthwise `nn.Conv1d` that keeps the length: same state dict, same numbers.

    Args:
        channels: in and out.
        taps: of each filter, odd.
        dilation: frames from one tap to the next.
        bias: whether there is one.

    Raises:
        UserError: an even number of taps, which has no middle.
    """

    def __init__(self, channels: int, taps: int, dilation: int = 1, bias: bool = True) -> None:
        if taps % 2 == 0:
            raise UserError(f"a depthwise convolution of {taps} taps has no middle; use {taps + 1}")
        super().__init__(channels, channels, taps, padding=dilation * (taps // 2), dilation=dilation, groups=channels, bias=bias)

    def forward(self, input: Tensor) -> Tensor:
        """(batch, channels, time) -> (batch, channels, time)."""
        if not cpu_kernel_applies(input) or torch.is_autocast_enabled("cpu"):
            return super().forward(input)
        return depthwise(input, self.weight.squeeze(1), self.bias, self.dilation[0])
