"""The loops over time of a bidirectional GRU: states, their gradients, their tangents; and the first-order gradient made of them.

Problem: at small batches a recurrence does nothing but read its weights, frame after frame. Choice: a loop reads each weight matrix once
per frame and does all else in place on rows that were allocated before; what does not depend on the state before is computed for all frames
at once, outside the loop. Two directions whose matrices fit the processor's cache together advance in one batched product; larger ones go
in turn, or they would push each other out at every frame (at 800 units in turn is twice as fast at any batch).

With slopes s = dh/d(product) of the three gates and the update gate z, a step has one transposed pair of linear maps:
tangents h'[t] = offset[t] + z h'[t-1] + sum_k s_k (W h'[t-1])_k, and gradients d[t-1] = external[t-1] + z d[t] + W^T (s d[t]).
Rejected: compiled loops for the elementwise parts, which are a fiftieth of the time of a product at 800 units.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

CACHE_BYTES = 2 << 20
"""Size of both weight matrices up to which the directions advance together."""
ROWS_FOR_COPY = 4
"""Rows from which a product repays a transposed copy of its matrix."""


class Kept(NamedTuple):
    """What the forward pass keeps for gradients.

    Attributes:
        gates: (frames, 2, batch, 3 * hidden): r, z, n.
        states: (frames + 1, 2, batch, hidden), the initial state first.
        candidate_products: (frames, 2, batch, hidden): W_hn h + b_hn.
        weights: of the two directions, (3 * hidden, hidden).
    """

    gates: Tensor
    states: Tensor
    candidate_products: Tensor
    weights: tuple[Tensor, Tensor]

    @property
    def update(self) -> Tensor:
        """Return z (frames, 2, batch, hidden)."""
        return self.gates.chunk(3, dim=3)[1]

    def slopes(self) -> tuple[Tensor, Tensor]:
        """Return the derivatives of the states by W h (frames, 2, batch, 3, hidden), and by what the input gives the candidate."""
        reset, update, candidate = self.gates.chunk(3, dim=3)
        to_candidate = (1 - update) * (1 - candidate.square())
        slopes = torch.stack(
            [
                to_candidate * self.candidate_products * reset * (1 - reset),
                (self.states[:-1] - candidate) * update * (1 - update),
                to_candidate * reset,
            ],
            dim=3,
        )
        return slopes, to_candidate


def forward_sweep(from_input: Tensor, initial: Tensor, weights: tuple[Tensor, Tensor], bias: Tensor | None) -> Kept:
    """Run both recurrences.

    Args:
        from_input: (frames, 2, batch, 3 * hidden); overwritten with the gates.
        initial: (2, batch, hidden).
        weights: two of (3 * hidden, hidden).
        bias: (2, 1, 3 * hidden), or None.
    """
    frames, _, batch, _ = from_input.shape
    size = initial.shape[2]
    states = from_input.new_empty(frames + 1, 2, batch, size)
    states[0] = initial
    kept = from_input.new_empty(frames, 2, batch, size)
    if bias is not None:
        from_input[..., : 2 * size] += bias[..., : 2 * size]
    for side in _sides(weights):
        multiply = _multiplier((weights[0].t(), weights[1].t()), side, batch)
        product = torch.empty_like(from_input[0, side])
        for_gates, for_candidate = product[..., : 2 * size], product[..., 2 * size :]
        gates = from_input[:, side]
        parts = (gates[..., : 2 * size], *gates.chunk(3, dim=-1), kept[:, side], states[:-1, side], states[1:, side])
        for both_gates, reset, update, candidate, keep, before, after in zip(*(part.unbind() for part in parts), strict=True):
            multiply(before, product, 0)
            both_gates.add_(for_gates).sigmoid_()
            if bias is None:
                keep.copy_(for_candidate)
            else:
                torch.add(for_candidate, bias[side][..., 2 * size :], out=keep)
            candidate.addcmul_(reset, keep).tanh_()
            torch.lerp(candidate, before, update, out=after)
    return Kept(from_input, states, kept, weights)


def backward_sweep(external: Tensor, slopes: Tensor, update: Tensor, weights: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """Carry gradients back in time.

    Args:
        external: (frames, 2, batch, hidden): gradient of each state from outside.
        slopes: (frames, 2, batch, 3, hidden); overwritten with the gradients of the products W h.
        update: z (frames, 2, batch, hidden).
        weights: two of (3 * hidden, hidden).

    Returns:
        Gradients of the states, shaped as `external`, and of the initial state.
    """
    batch = external.shape[2]
    of_states = torch.empty_like(external, memory_format=torch.contiguous_format)
    of_initial = torch.zeros_like(of_states[0])
    for side in _sides(weights):
        multiply = _multiplier(weights, side, batch)
        carried = of_initial[side]
        mine, slope = of_states[:, side], slopes[:, side]
        parts = (external[:, side], mine, mine.unsqueeze(-2), slope, slope.flatten(-2), update[:, side])
        steps = list(zip(*(part.unbind() for part in parts), strict=True))
        for arriving, here, for_gates, of_product, flat, gate in reversed(steps):
            torch.add(arriving, carried, out=here)
            of_product.mul_(for_gates)
            torch.mul(here, gate, out=carried)
            multiply(flat, carried, 1)
    return of_states, of_initial


def tangent_sweep(
    offset: Tensor, slopes: Tensor, update: Tensor, weights: tuple[Tensor, Tensor], initial: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Carry tangents forward in time.

    Args:
        offset: (frames, 2, batch, hidden): tangent of each state that does not come from the state before.
        slopes: (frames, 2, batch, 3, hidden).
        update: z (frames, 2, batch, hidden).
        weights: two of (3 * hidden, hidden).
        initial: tangent of the initial state (2, batch, hidden), or None for zero.

    Returns:
        Tangents of the states (frames + 1, 2, batch, hidden), and W times them, (frames, 2, batch, 3, hidden).
    """
    frames, _, batch, size = offset.shape
    tangents = offset.new_empty(frames + 1, 2, batch, size)
    tangents[0] = 0.0 if initial is None else initial
    products = torch.empty_like(slopes)
    for side in _sides(weights):
        multiply = _multiplier((weights[0].t(), weights[1].t()), side, batch)
        gates = (*slopes[:, side].unbind(-2), *products[:, side].unbind(-2))
        parts = (products[:, side].flatten(-2), offset[:, side], update[:, side], tangents[:-1, side], tangents[1:, side], *gates)
        for product, given, gate, before, after, *pairs in zip(*(part.unbind() for part in parts), strict=True):
            multiply(before, product, 0)
            torch.addcmul(given, gate, before, out=after)
            for slope, change in zip(pairs[:3], pairs[3:], strict=True):
                after.addcmul_(slope, change)
    return tangents, products


class Gradients(NamedTuple):
    """Gradients of what `forward_sweep` was given; None where nobody asked."""

    from_input: Tensor | None
    first: Tensor | None
    second: Tensor | None
    initial: Tensor | None
    bias: Tensor | None


def first_order(gradient: Tensor, kept: Kept, wanted: Sequence[bool]) -> tuple[Gradients, Tensor]:
    """Return the gradients of a GRU's recurrences, and the full gradients of the states, (frames, 2, batch, hidden).

    Args:
        gradient: of the states from outside, (frames, 2, batch, hidden).
        kept: by the forward pass.
        wanted: which of the gradients, in their order.
    """
    slopes, to_candidate = kept.slopes()
    of_states, of_initial = backward_sweep(gradient, slopes, kept.update, kept.weights)
    of_products = slopes.flatten(3)
    size = of_states.shape[3]
    of_input = torch.cat([of_products[..., : 2 * size], to_candidate.mul_(of_states)], dim=3) if wanted[0] else None
    first, second = (over_time(of_products, i).t() @ over_time(kept.states[:-1], i) if wanted[1 + i] else None for i in range(2))
    of_bias = of_products.sum(dim=(0, 2)).unsqueeze(1) if wanted[4] else None
    return Gradients(of_input, first, second, of_initial if wanted[3] else None, of_bias), of_states


def over_time(values: Tensor, direction: int) -> Tensor:
    """(frames, 2, batch, size) -> (frames * batch, size) of one direction."""
    return values[:, direction].reshape(-1, values.shape[-1])


def _sides(weights: tuple[Tensor, Tensor]) -> tuple[int | slice, ...]:
    """Return which directions walk through time together: both, as one batched product per step, or one after the other."""
    together = 2 * weights[0].numel() * weights[0].element_size() <= CACHE_BYTES
    return (slice(0, 2),) if together else (0, 1)


def _multiplier(matrices: tuple[Tensor, Tensor], side: int | slice, batch: int) -> Callable[[Tensor, Tensor, int], None]:
    """Return a function of rows (..., batch, n), out (..., batch, m) and keep: out = keep * out + rows times the matrices (n, m) of a side.

    A matrix alone is used as it lies, because a copy costs as much as a few frames, unless enough rows repay it.
    """
    if isinstance(side, slice):
        both = torch.stack(matrices)

        def multiply_both(rows: Tensor, out: Tensor, keep: int) -> None:
            out.baddbmm_(rows, both, beta=keep)

        return multiply_both
    matrix = matrices[side].contiguous() if batch >= ROWS_FOR_COPY else matrices[side]

    def multiply(rows: Tensor, out: Tensor, keep: int) -> None:
        out.addmm_(rows, matrix, beta=keep)

    return multiply
