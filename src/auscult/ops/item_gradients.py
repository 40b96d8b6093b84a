"""Gradients of each item of a batch, kept as the factors they are products of.

Problem: clipping every utterance by itself needs the norm of its own gradient. Written down, 32 gradients of a DeepSpeech 2 are 5 GB.
Choice: a backward pass hands over what a weight gradient is made of, the gradients that arrive at a layer and the values that entered it.
The gradient of a matrix by item b is L_b^T R_b, so its squared norm is the sum over pairs of frames of (L L^T) (R R^T), frames^2 numbers
instead of rows x columns, and the clipped sum over all items is one ordinary matrix product with the rows of L scaled. One backward pass
gives both. Layers whose gradients are small or no such product (convolutions, norms, biases) hand over the gradients themselves. Rejected:
a second backward pass of a reweighted loss ("fast clipping"), which costs the whole of it again.

The products of frames are summed in float64: where frames cancel, float32 would return a norm too small, and what has too small a norm is
clipped too little. Sources: Goodfellow 2015 (arXiv:1510.01799); Li et al. 2022 (arXiv:2110.05679); without a second pass, Bu et al. 2023
(arXiv:2210.00038).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class _Outer:
    """left (items, frames, rows), right (items, frames, columns): item b's gradient is left_b^T right_b."""

    left: Tensor
    right: Tensor

    def squared_norms(self) -> Tensor:
        frames, rows, columns = self.left.shape[1], self.left.shape[2], self.right.shape[2]
        if frames > 1 and frames * (rows + columns) > rows * columns:
            products = ((one.t() @ other).double() for one, other in zip(self.left, self.right, strict=True))
            return torch.stack([product.square().sum() for product in products])
        left, right = self.left.double(), self.right.double()
        return (torch.bmm(left, left.mT) * torch.bmm(right, right.mT)).sum((1, 2)).clamp_min(0.0)

    def weighted(self, factors: Tensor, used: Tensor) -> Tensor:
        left = torch.where(used[:, None, None], self.left * factors[:, None, None], 0.0)
        right = self.right if bool(used.all()) else torch.where(used[:, None, None], self.right, 0.0)
        return _flat(left).t() @ _flat(right)

    def whole(self) -> Tensor:
        return torch.bmm(self.left.mT, self.right)


def _flat(values: Tensor) -> Tensor:
    """(items, frames, size) -> (frames * items, size), frames first because recurrent layers keep them so and nothing is copied then."""
    return values.transpose(0, 1).reshape(-1, values.shape[2])


@dataclass
class ItemGradients:
    """What one backward pass left for each parameter.

    >>> weight = torch.zeros(1, 2)
    >>> gradients = ItemGradients()
    >>> gradients.outer(weight, torch.ones(2, 1, 1), torch.tensor([[[3.0, 4.0]], [[0.0, 2.0]]]))
    >>> gradients.norms().tolist()
    [5.0, 2.0]
    >>> gradients.weighted_sum(weight, torch.tensor([0.2, 0.5])).tolist()
    [[0.6000000238418579, 1.7999999523162842]]
    """

    _outer: dict[Tensor, _Outer] = field(default_factory=dict)
    _whole: dict[Tensor, Tensor] = field(default_factory=dict)

    def outer(self, parameter: Tensor, left: Tensor, right: Tensor) -> None:
        """Add the gradient of a matrix as factors; a second addition to the same matrix is one more stretch of frames.

        A parameter has one form, factors or whole, because the norm of a sum of both would need the whole.

        Args:
            parameter: (rows, columns).
            left: (items, frames, rows).
            right: (items, frames, columns).
        """
        if parameter in self._whole:
            raise ValueError("a parameter whose gradients are kept whole was handed over as factors; it needs one form")
        left, right = left.detach(), right.detach()
        if parameter in self._outer:
            before = self._outer[parameter]
            left, right = torch.cat([before.left, left], 1), torch.cat([before.right, right], 1)
        self._outer[parameter] = _Outer(left, right)

    def whole(self, parameter: Tensor, gradients: Tensor) -> None:
        """Add the gradients of each item, (items, *shape of the parameter)."""
        if parameter in self._outer:
            raise ValueError("a parameter whose gradients are kept as factors was handed over whole; it needs one form")
        found = gradients.detach()
        self._whole[parameter] = self._whole[parameter] + found if parameter in self._whole else found

    def of(self, parameter: Tensor) -> Tensor | None:
        """Return the gradients of each item written down, (items, *shape); None if the backward pass left nothing for this parameter."""
        return self._outer[parameter].whole() if parameter in self._outer else self._whole.get(parameter)

    def norms(self) -> Tensor:
        """Return the norm of each item's gradient over all parameters together, (items,) float64."""
        squares = [one.squared_norms() for one in self._outer.values()]
        squares += [one.flatten(1).double().square().sum(1) for one in self._whole.values()]
        return torch.stack(squares).sum(0).sqrt()

    def weighted_sum(self, parameter: Tensor, factors: Tensor) -> Tensor:
        """Return the sum of the items' gradients times factors (items,); items of factor 0 are zero whatever they hold, NaN included."""
        used = factors != 0
        if parameter in self._outer:
            return self._outer[parameter].weighted(factors, used)
        if parameter in self._whole:
            kept = torch.where(used.view(-1, *[1] * parameter.dim()), self._whole[parameter], 0.0)
            total: Tensor = torch.tensordot(factors, kept, 1)
            return total
        return torch.zeros_like(parameter)


class _ItemProduct(torch.autograd.Function):
    """values (frames, items, columns) times the transpose of a matrix (rows, columns), whose gradient goes to an `ItemGradients`."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, weight: Tensor, gradients: ItemGradients) -> Tensor:
        """Return (frames, items, rows)."""
        ctx.save_for_backward(values)
        ctx.weight, ctx.gradients = weight, gradients
        return torch.mm(values.reshape(-1, values.shape[2]), weight.t()).view(*values.shape[:2], -1)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *arriving: Tensor) -> tuple[Tensor | None, ...]:
        """Hand over the factors; return the gradient of the values alone."""
        [values], [gradient] = ctx.saved_tensors, arriving
        ctx.gradients.outer(ctx.weight, gradient.transpose(0, 1), values.transpose(0, 1))
        flat = torch.mm(gradient.reshape(-1, gradient.shape[2]), ctx.weight) if ctx.needs_input_grad[0] else None
        return None if flat is None else flat.view_as(values), None, None


def item_product(values: Tensor, weight: Tensor, gradients: ItemGradients) -> Tensor:
    """Return values (frames, items, columns) times weight (rows, columns) transposed; the weight's gradient is kept item by item.

    Args:
        values: frames first.
        weight: receives no `.grad`.
        gradients: where the factors of its gradient go in the backward pass.
    """
    product: Tensor = _ItemProduct.apply(values, weight, gradients)  # type: ignore[no-untyped-call]
    return product


def item_copies(parameter: Tensor, items: int, gradients: ItemGradients) -> Tensor:
    """Return a parameter once per item, (items, *shape), as a view; the gradient of each copy is kept, the parameter receives none."""
    copies = parameter.detach().expand(items, *parameter.shape).requires_grad_()
    keep: Callable[[Tensor], None] = lambda gradient: gradients.whole(parameter, gradient)  # noqa: E731
    copies.register_hook(keep)  # type: ignore[no-untyped-call]
    return copies
