# ruff: noqa: N806
"""The selective scan as its equations stand: what the fast kernels are tested against, and the only one that is twice differentiable.

Choice: one Python step per time step under plain autograd, with inputs split by `unbind`. Rejected: indexing `x[:, t]` in the loop, whose
backward writes a full-size gradient per step and so grows with the square of the length.
"""

from __future__ import annotations

import torch
from torch import Tensor

from auscult.ops.selective_scan_kernel import ScanInputs


def reference_scan(inputs: ScanInputs, reverse: bool = False) -> Tensor:
    """Return y (rows, length, channels); memory grows with rows * length * channels * states once gradients are recorded."""
    u, dt, A, B, C, D = inputs
    steps = list(zip(*(tensor.unbind(1) for tensor in (u, dt, B, C)), strict=True))
    state = u.new_zeros(len(u), *A.shape)
    outputs: list[Tensor] = []
    for input_, step, into, out_of in reversed(steps) if reverse else steps:
        decay = torch.exp(step.unsqueeze(2) * A)  # (rows, channels, states)
        state = decay * state + (step * input_).unsqueeze(2) * into.unsqueeze(1)
        outputs.append((state * out_of.unsqueeze(1)).sum(2))
    y = torch.stack(outputs[::-1] if reverse else outputs, dim=1)
    return y if D is None else y + u * D
