"""A message seen as one long vector, as defences see it.

Problem: a norm, or a share of the largest values, is a statement about all parameters together; taken tensor by tensor it promises another
thing (a clipped norm grows with the root of the number of tensors). And a defence that drops or replaces values can make a message look
healthy whose client has failed: the sign of an infinite gradient is a good 1. Choice: the few operations that several defences share
stand here once, in float64 where they add up, and all refuse values that are not finite.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from auscult.errors import UserError


def total_norm(tensors: Mapping[str, Tensor]) -> float:
    """Return the Euclidean norm of all values together.

    >>> total_norm({"a": torch.tensor([3.0]), "b": torch.tensor([[4.0]])})
    5.0
    """
    return math.sqrt(sum(float(value.double().square().sum()) for value in tensors.values()))


def scaled_to(tensors: Mapping[str, Tensor], norm: float) -> dict[str, Tensor]:
    """Return new tensors, shortened by one factor for all where their norm is above the given one."""
    factor = min(1.0, norm / max(total_norm(tensors), 1e-300))
    return {name: value * factor for name, value in tensors.items()}


def flatten(tensors: Mapping[str, Tensor]) -> Tensor:
    """Return all values in the order of the mapping, (values,)."""
    return torch.cat([value.reshape(-1) for value in tensors.values()])


def unflatten(values: Tensor, like: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return (values,) as new tensors with the names, shapes and dtypes of others."""
    parts = torch.split(values, [value.numel() for value in like.values()])
    return {name: part.reshape(old.shape).to(old.dtype) for part, (name, old) in zip(parts, like.items(), strict=True)}


def check_finite(tensors: Mapping[str, Tensor], defence: str) -> None:
    """Refuse a message whose client has failed, before a defence makes it look healthy.

    Raises:
        UserError: names the tensor.
    """
    for name, value in tensors.items():
        if not bool(torch.isfinite(value).all()):
            raise UserError(f"{defence}: {name} holds values that are not finite; the client's step has failed, nothing can be sent")


def positive(value: float, name: str) -> float:
    """Return a strength that is above 0 and finite.

    Raises:
        UserError: it is not; `name` is said.
    """
    if not (value > 0 and math.isfinite(value)):
        raise UserError(f"{name}: expected a finite number above 0, got {value}")
    return value


def share(value: float, name: str) -> float:
    """Return a share above 0 and up to 1.

    Raises:
        UserError: it is not; `name` is said.
    """
    if not 0 < value <= 1:
        raise UserError(f"{name}: expected a share above 0 and up to 1, got {value}")
    return value


def kept_values(total: int, kept: float) -> int:
    """Return how many values a share is: rounded, at least one.

    >>> kept_values(30, 0.1), kept_values(3, 0.01)
    (3, 1)
    """
    return max(1, round(kept * total))
