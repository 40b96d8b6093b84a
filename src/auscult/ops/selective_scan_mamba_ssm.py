# ruff: noqa: N806
"""The selective scan through mamba_ssm's own CUDA kernel, where a user has managed to build it.

It is the fastest there is on CUDA and the one published models were trained with. It wants channels before time, float32, and knows one
direction only, so this module converts; it has its own autograd, so nothing of ours is around it.
"""

from __future__ import annotations

from mamba_ssm.ops.selective_scan_interface import selective_scan_fn
from torch import Tensor

from auscult.ops.selective_scan_kernel import ScanInputs


def mamba_scan(inputs: ScanInputs, reverse: bool) -> Tensor:
    """Return y (rows, length, channels) of float32 inputs on CUDA."""
    timed = [tensor.flip(1) if reverse else tensor for tensor in (inputs.u, inputs.dt, inputs.B, inputs.C)]
    u, dt, B, C = (tensor.transpose(1, 2).contiguous() for tensor in timed)  # (rows, channels or states, length)
    y: Tensor = selective_scan_fn(u, dt, inputs.A.contiguous(), B, C, inputs.D).transpose(1, 2)
    return y.flip(1) if reverse else y
