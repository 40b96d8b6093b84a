"""The Triton kernel without a GPU, in Triton's interpreter: `TRITON_INTERPRET=1 pytest tests/ops/test_selective_scan_triton.py`."""

from __future__ import annotations

import os

import pytest
import torch

pytest.importorskip("triton")
if os.environ.get("TRITON_INTERPRET") != "1":
    pytest.skip("set TRITON_INTERPRET=1 to run the kernel in Triton's interpreter", allow_module_level=True)

from auscult.ops.selective_scan_kernel import ScanInputs, run_kernel
from auscult.ops.selective_scan_reference import reference_scan
from auscult.ops.selective_scan_triton import KERNEL


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("segment", [None, 3])
@pytest.mark.parametrize("with_skip", [False, True])
@pytest.mark.parametrize("shape", [(1, 1, 3, 2), (2, 7, 5, 3), (2, 11, 40, 16)])
def test_agrees_with_the_reference(shape: tuple[int, int, int, int], with_skip: bool, segment: int | None, reverse: bool) -> None:
    rows, length, channels, states = shape
    random = torch.Generator().manual_seed(0)
    u, dt, into, out_of = (torch.randn(rows, length, size, generator=random) for size in (channels, channels, states, states))
    weight = torch.randn(channels, generator=random)
    given = [u, dt.sigmoid(), -torch.rand(channels, states, generator=random) * 4, into, out_of, *([weight] if with_skip else [])]
    given = [one.requires_grad_() for one in given]
    inputs = ScanInputs(*given) if with_skip else ScanInputs(*given, None)  # type: ignore[call-arg]
    found, expected = (
        [y, *torch.autograd.grad(y.square().sum(), given)]
        for y in (run_kernel(KERNEL, inputs, segment, reverse), reference_scan(inputs, reverse))
    )
    for one, other in zip(found, expected, strict=True):
        assert (one - other).abs().max() < 1e-5 * max(1.0, other.detach().abs().max().item())
