"""Where hand-written CPU kernels for (batch, channels, time) may stand in for torch's, decided in one place.

Problem: a kernel with a backward pass of its own breaks under autocast, `torch.compile`, export and function transforms, each of
which wants operations it knows. Choice: one question that every such kernel asks, and torch's own operation whenever the answer is no.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

CACHED = 128 * 1024
"""Values worked on at a time: a few tensors of so many float32 fit the second-level cache of a core."""


def cpu_kernel_applies(values: Tensor) -> bool:
    """Whether values are plain float32 or float64 numbers on the CPU, and nobody is tracing."""
    if values.device.type != "cpu" or values.dtype not in (torch.float32, torch.float64) or not values.numel():
        return False
    if torch.compiler.is_compiling() or torch.compiler.is_exporting() or torch.onnx.is_in_onnx_export():
        return False
    return not torch._C._are_functorch_transforms_active()


def cached_rows(rows: int, width: int) -> Iterator[slice]:
    """Yield slices of rows that stay in the cache while they are worked on.

    >>> [(part.start, part.stop) for part in cached_rows(5, CACHED // 2)]
    [(0, 2), (2, 4), (4, 5)]
    """
    size = max(1, CACHED // width)
    for first in range(0, rows, size):
        yield slice(first, min(first + size, rows))
