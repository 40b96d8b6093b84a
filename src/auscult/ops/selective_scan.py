# ruff: noqa: N803
"""The selective scan of Mamba-1, on processors as well as on CUDA, always in full precision.

Problem: the published kernel needs CUDA and a compiler at installation; the substitutes in plain torch hold every state of every step, so
they are slow and need gigabytes; and a state kept in half precision overflows without a word. Choice: one function, several
kernels, of which it takes the best that is there, or the plain equations for export and function transforms. Recurrence and sums are
float32 (float64 for float64 inputs) whatever autocast says, and every kernel keeps one state per segment and computes the others
again in the backward pass.

Equations (Gu and Dao 2023, "Mamba: Linear-Time Sequence Modeling with Selective State Spaces", section 3; dt is already positive):

    h[t, d, n] = exp(dt[t, d] A[d, n]) h[t - 1, d, n] + dt[t, d] u[t, d] B[t, n],    h before the first step = 0
    y[t, d]    = sum over n of C[t, n] h[t, d, n] + D[d] u[t, d]

The recurrence is not symmetric in time; `reverse` runs it from the last step to the first, without flipped copies.
`benchmarks/selective_scan.py` measures the kernels.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable
from functools import cache
from typing import NamedTuple

import torch
from torch import Tensor

from auscult.errors import MissingExtra, UserError, did_you_mean
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
        backend: one of `BACKENDS`; None takes the first of `available_backends`.
        segment: steps between two states that are kept for the backward pass; None lets the kernel choose. It changes speed and memory.
        reverse: the state runs from the last step to the first.

    Returns:
        (rows, length, channels), float64 if `u` is float64, else float32.

    Raises:
        UserError: a shape does not fit, or the backend is unknown, not installed, or not for this device or dtype.

    Example:
        >>> u, dt = torch.tensor([[[1.0], [0.0]]]), torch.full((1, 2, 1), 0.5)
        >>> once = torch.ones(1, 2, 1)
        >>> [round(value, 4) for value in selective_scan(u, dt, torch.tensor([[-2.0]]), once, once).flatten().tolist()]
        [0.5, 0.1839]
    """
    _check_shapes(u, dt, A, B, C, D)
    if segment is not None and segment < 1:
        raise UserError(f"segment of the selective scan is {segment}; it is a number of steps, at least 1")
    dtype = torch.float64 if u.dtype == torch.float64 else torch.float32
    with torch.autocast(u.device.type, enabled=False):
        inputs = ScanInputs(u.to(dtype), dt.to(dtype), A.to(dtype), B.to(dtype), C.to(dtype), None if D is None else D.to(dtype))
        if backend == "reference" or (backend is None and _wants_plain_operations()):
            return reference_scan(inputs, reverse)
        # a compiler cannot look into a kernel, and would unroll a loop over thousands of steps
        run: Callable[..., Tensor] = torch.compiler.disable(_run) if torch.compiler.is_compiling() else _run  # type: ignore[no-untyped-call]
        return run(backend, inputs, segment, reverse)


def _run(backend: str | None, inputs: ScanInputs, segment: int | None, reverse: bool) -> Tensor:
    device, dtype = inputs.u.device.type, inputs.u.dtype
    name = backend or available_backends(device, dtype)[0]
    _check_backend(name, device, dtype)
    module = importlib.import_module(f"auscult.ops.selective_scan_{name}")
    if name == "mamba_ssm":
        y: Tensor = module.mamba_scan(inputs, reverse)
        return y
    return run_kernel(module.KERNEL, inputs, segment, reverse)


def _wants_plain_operations() -> bool:
    """Whether somebody exports or transforms the function, and so needs operations it knows."""
    exporting = torch.compiler.is_exporting() or torch.onnx.is_in_onnx_export()
    return exporting or torch._C._are_functorch_transforms_active()


def available_backends(device: str, dtype: torch.dtype = torch.float32) -> tuple[str, ...]:
    """Return the backends that can run here on a kind of device ("cpu", "cuda", ...), best first; "torch" and "reference" always can.

    Example:
        >>> available_backends("cpu")[-2:]
        ('torch', 'reference')
    """
    return tuple(name for name, needs in BACKENDS.items() if needs.fits(device, dtype) and needs.is_installed())


class _Needs(NamedTuple):
    """What a backend runs on.

    Attributes:
        package: what must be importable, or None.
        device: the kind of device, or None for all.
        float64: whether it takes float64.
        install: what a user without the package does.
    """

    package: str | None = None
    device: str | None = None
    float64: bool = True
    install: str = ""

    def fits(self, device: str, dtype: torch.dtype) -> bool:
        return self.device in (None, device) and (self.float64 or dtype == torch.float32)

    def is_installed(self) -> bool:
        return self.package is None or _importable(self.package)


@cache
def _importable(package: str) -> bool:
    """Return whether a package is there and works; a broken one (numba beside a NumPy too new for it) counts as missing."""
    if importlib.util.find_spec(package) is None:
        return False
    try:
        importlib.import_module(package)
    except ImportError:
        return False
    return True


BACKENDS: dict[str, _Needs] = {
    "mamba_ssm": _Needs("selective_scan_cuda", "cuda", False, "build it with pip install mamba-ssm --no-build-isolation"),
    "triton": _Needs("triton", "cuda", install="pip install triton"),
    "numba": _Needs("numba", "cpu"),
    "torch": _Needs(),
    "reference": _Needs(),
}
"""Best first."""


def _check_backend(name: str, device: str, dtype: torch.dtype) -> None:
    if name not in BACKENDS:
        raise UserError(f'backend of the selective scan is "{name}"; use one of {", ".join(BACKENDS)}{did_you_mean(name, BACKENDS)}')
    needs = BACKENDS[name]
    if not needs.fits(device, dtype):
        others = ", ".join(available_backends(device, dtype))
        raise UserError(f'backend "{name}" of the selective scan does not run {dtype} on "{device}"; use one of {others}')
    if needs.is_installed():
        return
    if name == "numba":
        raise MissingExtra("speed", 'backend "numba" of the selective scan')
    raise UserError(f'backend "{name}" of the selective scan needs the package {needs.package}: {needs.install}')


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
