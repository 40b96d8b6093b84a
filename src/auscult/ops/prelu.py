"""PReLU with one slope, whose backward pass costs what a ReLU's does.

Problem: torch's backward pass of `prelu` writes the gradient of the slope as a tensor of the size of the input and adds it up afterwards;
on a CPU that takes several times as long as everything else a PReLU does, and Conv-TasNet has two on its widest tensor in every block.
Choice: the leaky ReLU of the slope's value, and the gradient of the slope as one dot product, a cacheful at a time.
Rejected: a leaky ReLU with a fixed slope, which is another network.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from auscult.ops.frame_kernels import CACHED, cpu_kernel_applies


class _PRelu(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, slope: Tensor) -> Tensor:
        """Return the rectified values."""
        values = values.contiguous()
        ctx.save_for_backward(values)
        ctx.slope = float(slope)
        return F.leaky_relu(values, ctx.slope)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor]:
        """Return the gradients of values and slope."""
        (values,) = ctx.saved_tensors
        gradient, of_values = gradients[0].contiguous(), torch.empty_like(values)
        of_slope = 0.0
        parts = (tensor.view(-1).split(CACHED) for tensor in (gradient, values, of_values))
        for given, seen, out in zip(*parts, strict=True):
            of_slope += float(given.dot(seen.clamp(max=0)))
            torch.ops.aten.leaky_relu_backward.grad_input(given, seen, ctx.slope, False, grad_input=out)
        return of_values, values.new_tensor([of_slope])


class SingleSlopePRelu(nn.PReLU):
    """`nn.PReLU` with one slope: same call, same state dict, same numbers; of any shape and dtype, also under autocast."""

    def __init__(self) -> None:
        super().__init__(num_parameters=1)

    def forward(self, input: Tensor) -> Tensor:
        """Return a tensor of the same shape and dtype."""
        if cpu_kernel_applies(input):
            rectified: Tensor = _PRelu.apply(input, self.weight)  # type: ignore[no-untyped-call]
            return rectified
        return F.prelu(input, self.weight.to(input.dtype))
