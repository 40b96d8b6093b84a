"""The bidirectional GRU whose weight gradients are kept item by item.

Problem: differentially private training clips the gradient of every utterance, and recurrent layers made for it are loops of small modules
over time, several times slower than the layer they replace. Choice: the sweeps of `gru_sweeps` already compute, for every frame, the
gradients of the products W h and W x, and multiply them with states and inputs after the loop; here the two factors are handed over
instead (`item_gradients`). Weights, gate equations and state dict are those of `BidirectionalGru`, and a step costs what a plain one
costs.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from auscult.ops.gru_sweeps import Kept, backward_sweep, forward_sweep
from auscult.ops.item_gradients import ItemGradients, item_copies, item_product

Pair = tuple[Tensor, Tensor]


class _ItemRecurrence(torch.autograd.Function):
    """Two GRU recurrences side by side, as `gru._Recurrence`, differentiable once."""

    @staticmethod
    def forward(
        ctx: Any,
        from_input: Tensor,
        initial: Tensor,
        first: Tensor,
        second: Tensor,
        bias: Pair | None,
        gradients: ItemGradients,
    ) -> Tensor:
        """Return states (frames, 2, items, hidden); `from_input` (frames, 2, items, 3 * hidden) is overwritten."""
        stacked = None if bias is None else torch.stack([one.detach() for one in bias]).unsqueeze(1)
        kept = forward_sweep(from_input, initial, (first, second), stacked)
        ctx.save_for_backward(kept.gates, kept.states, kept.candidate_products)
        ctx.weights, ctx.bias, ctx.gradients = (first, second), bias, gradients
        return kept.states[1:]

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *arriving: Tensor) -> tuple[Tensor | None, ...]:
        """Hand over the factors of the weights' gradients; return those of the first two arguments."""
        gates, states, candidate_products = ctx.saved_tensors
        kept = Kept(gates, states, candidate_products, ctx.weights)
        slopes, to_candidate = kept.slopes()
        of_states, of_initial = backward_sweep(arriving[0], slopes, kept.update, kept.weights)
        of_products = slopes.flatten(3)  # (frames, 2, items, 3 * hidden)
        for direction, weight in enumerate(ctx.weights):
            ctx.gradients.outer(weight, of_products[:, direction].transpose(0, 1), kept.states[:-1, direction].transpose(0, 1))
            if ctx.bias is not None:
                ctx.gradients.whole(ctx.bias[direction], of_products[:, direction].sum(0))
        size = of_states.shape[3]
        of_input = torch.cat([of_products[..., : 2 * size], to_candidate.mul_(of_states)], dim=3)
        return of_input, of_initial, None, None, None, None


def input_products(values: Tensor, weights: Pair, bias: Pair | None, gradients: ItemGradients) -> list[Tensor]:
    """Return W x + b of both directions, two of (frames, items, 3 * hidden).

    Args:
        values: (frames, items, inputs), zero beyond the lengths.
        weights: two of (3 * hidden, inputs).
        bias: two of (3 * hidden,), or None.
        gradients: receives the gradients of weights and biases.
    """
    products = [item_product(values, weight, gradients) for weight in weights]
    if bias is None:
        return products
    return [product + item_copies(one, values.shape[1], gradients) for product, one in zip(products, bias, strict=True)]


def item_recurrence(stacked: Tensor, initial: Tensor, weights: Pair, bias: Pair | None, gradients: ItemGradients) -> Tensor:
    """Return the states (frames, 2, items, hidden) of both recurrences, each running forward in the time it is given.

    Args:
        stacked: what the input gives, (frames, 2, items, 3 * hidden); overwritten.
        initial: (2, items, hidden).
        weights: two of (3 * hidden, hidden).
        bias: two of (3 * hidden,), or None.
        gradients: receives the gradients of weights and biases.
    """
    states: Tensor = _ItemRecurrence.apply(stacked, initial, *weights, bias, gradients)  # type: ignore[no-untyped-call]
    return states
