"""The Triton loops without a GPU, in Triton's interpreter: `TRITON_INTERPRET=1 pytest tests/ops/test_ctc_triton.py`."""

from __future__ import annotations

import os

import numpy as np
import pytest
import torch

pytest.importorskip("triton")
if os.environ.get("TRITON_INTERPRET") != "1":
    pytest.skip("set TRITON_INTERPRET=1 to run the kernels in Triton's interpreter", allow_module_level=True)

from auscult.ops import ctc_frames, ctc_triton
from auscult.ops.ctc_problem import read_problem


@pytest.mark.parametrize("scale", [1.0, 30.0])
@pytest.mark.parametrize("symbols", [[0, 0], [3, 1], [9, 4], [16, 0]])
def test_agrees_with_the_loops_of_numpy(symbols: list[int], scale: float) -> None:
    random = torch.Generator().manual_seed(0)
    x = scale * torch.randn(40, 2, 6, generator=random, dtype=torch.float64)
    targets = torch.randint(1, 6, (2, max(symbols)), generator=random)
    problem = read_problem(x.shape, targets, [40, 23], symbols, 0)
    v = torch.randn(x.shape, generator=random, dtype=torch.float64)
    found, expected = (module.align(x, problem, np.array([0.5, 2.0]), True) for module in (ctc_triton, ctc_frames))
    assert torch.allclose(found.losses, expected.losses, rtol=1e-13)
    assert torch.allclose(found.gradient, expected.gradient, atol=1e-13)
    assert (found.trusted is None) == (expected.trusted is None)
    for one, other in zip(found.curvature(v), expected.curvature(v), strict=True):
        assert torch.allclose(one, other, atol=1e-11)
