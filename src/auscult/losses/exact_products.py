"""Inner products of long signals in float32 that keep seven digits, whatever the program has allowed matrix products to lose.

Problem: the energy of an error is the small difference of large inner products, so their rounding decides how well a level of 25 dB is
known: one float32 sum over 32,000 samples errs by 4e-3 dB there. And a program that allows TensorFloat-32 or bfloat16 inside matrix
products (`torch.set_float32_matmul_precision`), which is usual for models, would leave three digits. Choice: products over stretches of
500 samples, added up in float64: ten times more exact at the same speed, because they stay in the cache; and plain
multiplications wherever torch may not keep float32 in a matrix product. Rejected: converting the signals to float64 (three times slower);
switching torch's settings for the moment (they are global, and other threads compute).
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

STRETCH = 500
"""Samples that are added up in the signals' own format; whole seconds of usual sample rates leave no rest."""


def inner_products(first: Tensor, second: Tensor) -> NDArray[np.float64]:
    """Return the inner products of the rows of each item: (batch, m, time) and (batch, n, time) -> (batch, m, n).

    >>> inner_products(torch.tensor([[[3.0, 4.0]]]), torch.tensor([[[3.0, 4.0], [1.0, 0.0]]]))
    array([[[25.,  3.]]])
    """
    inner = _matrix_products if keeps_float32() or first.dtype == torch.float64 else _plain_products
    whole = first.shape[2] - first.shape[2] % STRETCH
    if whole == 0:
        return numbers(inner(first, second))
    stretches = (_stretches(signals, whole).transpose(1, 2) for signals in (first, second))
    # item by item: torch copies signals of four dimensions before it multiplies them
    total: NDArray[np.float64] = numbers(torch.stack([inner(one, other) for one, other in zip(*stretches, strict=True)])).sum(axis=1)
    return total if whole == first.shape[2] else total + numbers(inner(first[:, :, whole:], second[:, :, whole:]))


def energies(signals: Tensor) -> NDArray[np.float64]:
    """Return the sum of squares over time: (batch, rows, time) -> (batch, rows)."""
    whole = signals.shape[2] - signals.shape[2] % STRETCH
    total: NDArray[np.float64] = (numbers(torch.linalg.vector_norm(_stretches(signals, whole), dim=-1)) ** 2).sum(axis=2)
    return total if whole == signals.shape[2] else total + numbers(torch.linalg.vector_norm(signals[..., whole:], dim=-1)) ** 2


def numbers(values: Tensor) -> NDArray[np.float64]:
    """Return values in float64 where arithmetic on a handful of numbers is cheap, which is not on an accelerator, nor in torch."""
    return values.detach().cpu().numpy().astype(np.float64)


def add_products(total: Tensor, weights: Tensor, signals: Tensor) -> Tensor:
    """Add weighted rows in place: (batch, outputs, time) += (batch, outputs, rows) @ (batch, rows, time)."""
    if keeps_float32() or signals.dtype == torch.float64:
        return total.baddbmm_(weights, signals)
    for row in range(signals.shape[1]):
        total.addcmul_(weights[:, :, row : row + 1], signals[:, row : row + 1])
    return total


def keeps_float32() -> bool:
    """Whether matrix products of float32 are computed in float32 on every device."""
    try:
        return torch.get_float32_matmul_precision() == "highest"
    except RuntimeError:  # set through torch's older and its newer interface, between which it does not translate
        return False


def _stretches(signals: Tensor, whole: int) -> Tensor:
    """Return a view of the first samples, (..., stretches, STRETCH)."""
    return signals[..., :whole].view(*signals.shape[:-1], whole // STRETCH, STRETCH)


def _matrix_products(first: Tensor, second: Tensor) -> Tensor:
    return torch.bmm(first, second.mT)


def _plain_products(first: Tensor, second: Tensor) -> Tensor:
    return torch.stack([(first * one[:, None]).sum(-1) for one in second.unbind(1)], dim=2)
