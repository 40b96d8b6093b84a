# ruff: noqa: N803
"""The selective scan of Mamba-1, on processors as well as on CUDA, always in full precision.

Problem: the published kernel needs CUDA and a compiler at installation; the substitutes in plain torch hold every state of every step, so
they are slow and need gigabytes; and a state kept in half precision overflows without a word. Choice: one function, several
kernels, of which it takes the best that is there. Recurrence and sums are float32 (float64 for float64 inputs) whatever autocast
says, and every kernel keeps one state per segment and computes the others again in the backward pass.

Equations (Gu and Dao 2023, "Mamba: Linear-Time Sequence Modeling with Selective State Spaces", section 3; dt is already positive):

    h[t, d, n] = exp(dt[t, d] A[d, n]) h[t - 1, d, n] + dt[t, d] u[t, d] B[t, n],    h before the first step = 0
    y[t, d]    = sum over n of C[t, n] h[t, d, n] + D[d] u[t, d]

The recurrence is not symmetric in time; `reverse` runs it from the last step to the first, without flipped copies.
`benchmarks/selective_scan.py` measures the kernels.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from auscult.errors import UserError
from auscult.ops import selective_scan_torch
from auscult.ops.selective_scan_kernel import ScanInputs, run_kernel
from auscult.ops.selective_scan_reference import reference_scan


def selective_scan(
    u: Tensor,
    dt: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None = None,
    *,
    backend: str | None = None,
    segment: int | None = None,
    reverse: bool = False,
) -> Tensor:
    """Return the output of the state space model, with first-order gradients for every tensor.

    Args:
        u: input, (rows, length, channels).
        dt: step sizes after softplus, positive, (rows, length, channels).
        A: decay rates, negative, (channels, states).
        B: how the input enters the state, (rows, length, states).
        C: how the state is read, (rows, length, states).
        D: weight of the input in the output, (channels,), or None.
        backend: "torch" or "reference"; None takes the best that is available.
        segment: steps between two states that are kept for the backward pass; None lets the kernel choose. It changes speed and memory.
        reverse: the state runs from the last step to the first.

    Returns:
        (rows, length, channels), float64 if `u` is float64, else float32.

    Raises:
        UserError: a shape does not fit, or the backend is unknown.

    Example:
        >>> u, dt = torch.tensor([[[1.0], [0.0]]]), torch.full((1, 2, 1), 0.5)
        >>> once = torch.ones(1, 2, 1)
        >>> [round(value, 4) for value in selective_scan(u, dt, torch.tensor([[-2.0]]), once, once).flatten().tolist()]
        [0.5, 0.1839]
    """
    _check_shapes(u, dt, A, B, C, D)
    if segment is not None and segment < 1:
        raise UserError(f"segment of the selective scan is {segment}; it is a number of steps, at least 1")
    name = backend or "torch"
    if name not in BACKENDS:
        raise UserError(f'backend of the selective scan is "{name}"; use one of {", ".join(BACKENDS)}')
    dtype = torch.float64 if u.dtype == torch.float64 else torch.float32
    with torch.autocast(u.device.type, enabled=False):
        inputs = ScanInputs(u.to(dtype), dt.to(dtype), A.to(dtype), B.to(dtype), C.to(dtype), None if D is None else D.to(dtype))
        return BACKENDS[name](inputs, segment, reverse)


def _check_shapes(u: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor | None) -> None:
    if u.dim() != 3 or 0 in u.shape:
        raise UserError(f"u of the selective scan has shape {tuple(u.shape)}; expected (rows, length, channels), none of them zero")
    rows, length, channels = u.shape
    if A.dim() != 2 or A.shape[0] != channels or A.shape[1] == 0:
        raise UserError(f"A of the selective scan has shape {tuple(A.shape)}; expected ({channels}, states) for u {tuple(u.shape)}")
    expected: dict[str, tuple[Tensor, tuple[int, ...]]] = {
        "dt": (dt, (rows, length, channels)),
        "B": (B, (rows, length, A.shape[1])),
        "C": (C, (rows, length, A.shape[1])),
    }
    if D is not None:
        expected["D"] = (D, (channels,))
    for name, (tensor, shape) in expected.items():
        if tensor.shape != shape:
            raise UserError(f"{name} of the selective scan has shape {tuple(tensor.shape)}; expected {shape} for u {tuple(u.shape)}")


BACKENDS: dict[str, Callable[[ScanInputs, int | None, bool], Tensor]] = {
    "torch": lambda inputs, segment, reverse: run_kernel(selective_scan_torch.KERNEL, inputs, segment, reverse),
    "reference": lambda inputs, segment, reverse: reference_scan(inputs, reverse),
}
