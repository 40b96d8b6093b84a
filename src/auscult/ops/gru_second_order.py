"""The gradient of a bidirectional GRU as a function that can be differentiated itself, exactly, once.

Problem: attacks that match gradients differentiate a gradient at every iteration. Torch gets there for `nn.GRU` by recording each operation
of every frame twice, and adds a whole weight matrix per frame. Choice: differentiate by hand. Let y be the gradient that arrives at the
states h of inputs, weights and biases q, and u the cotangents of the gradients this function returned. What is to be differentiated is
S = <u, J^T y> = <y, J u>. So dS/dy = J u is the tangent of the states along u, one sweep forward in time. And dS/dq is the tangent of the
gradient J^T y along u with y held fixed. That tangent obeys the recursion of the gradient itself, only with other sources: so the sources
are handed to autograd as gradients of the states, and the sweep backward in time is the one that the first-order gradient of the same layer
makes anyway. An iteration of an attack has four sweeps, the fewest there can be: states, gradients, tangents, gradients.
Products with the cotangents of weights do not depend on a sweep, so each is one matrix product over all frames. Of the first order's inner
values only the states' gradients are stored; the rest is elementwise and computed again.
Rejected: a sweep of its own for dS/dq (a quarter more time); a third order, which would need every formula once more.
Source of the idea: Pearlmutter 1994, "Fast exact multiplication by the Hessian".
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from auscult.ops.gru_sweeps import Gradients, Kept, first_order, over_time, tangent_sweep
from auscult.ops.wanted_gradients import wanted_gradients


class GruGradient(torch.autograd.Function):
    """`first_order` with a gradient of its own."""

    @staticmethod
    def forward(
        ctx: Any,
        gradient: Tensor,
        gates: Tensor,
        first: Tensor,
        second: Tensor,
        initial: Tensor,
        outputs: Tensor,
        bias: Tensor | None,
        kept: Kept,
        wanted: Sequence[bool],
    ) -> Gradients:
        """Return the gradients of the arguments of `forward_sweep`.

        Args:
            ctx: of autograd.
            gradient: of the states from outside, (frames, 2, batch, hidden).
            gates: stand for what the input gave, because they were written over it.
            first: weights.
            second: weights.
            initial: state.
            outputs: the states as the forward pass returned them.
            bias: or None.
            kept: the same once more as plain values, and the rest.
            wanted: which gradients.
        """
        gradients, of_states = first_order(gradient, kept, wanted)
        ctx.save_for_backward(gates, first, second, kept.states, kept.candidate_products, of_states)
        ctx.set_materialize_grads(False)
        return gradients

    @staticmethod
    def backward(ctx: Any, *cotangents: Tensor | None) -> tuple[Tensor | None, ...]:
        """Cotangents of the five gradients -> gradients of the arguments of `forward`."""
        if torch.is_grad_enabled():
            raise RuntimeError(
                "auscult's GRU kernel has no third-order gradient: differentiate its gradient without create_graph, "
                "or build the model with kernel: torch"
            )
        if all(cotangent is None for cotangent in cotangents):
            return (None,) * 9
        gates, first, second, states, candidate_products, of_states = ctx.saved_tensors
        kept = Kept(gates, states, candidate_products, (first, second))
        return *second_order(Gradients(*cotangents), of_states, kept, wanted_gradients(ctx)), None, None


class SecondGradients(NamedTuple):
    """Gradients of the tensors among the arguments of `GruGradient.forward`; None where nobody asked.

    Those of inputs, weights, initial state and bias hold only what does not pass through the states.
    """

    gradient: Tensor | None
    gates: Tensor | None = None
    first: Tensor | None = None
    second: Tensor | None = None
    initial: Tensor | None = None
    outputs: Tensor | None = None
    bias: Tensor | None = None


class _Tangents(NamedTuple):
    """Along the cotangents: of states (frames + 1, ...), of W h + b, of r, z and n, each (frames, 2, batch, ...)."""

    states: Tensor
    products: Tensor
    reset: Tensor
    update: Tensor
    candidate: Tensor


def second_order(along: Gradients, of_states: Tensor, kept: Kept, wanted: Sequence[bool]) -> SecondGradients:
    """Differentiate <along, first_order(gradient, ...)>.

    Args:
        along: cotangents of what `first_order` returned; None for zero.
        of_states: full gradients of the states, from `first_order`.
        kept: by the forward pass.
        wanted: which gradients, in the order of `SecondGradients`.
    """
    slopes, to_candidate = kept.slopes()
    tangents = _tangents(along, kept, slopes, to_candidate)
    if not any(wanted[1:]):
        return SecondGradients(tangents.states[1:])
    turned_slopes, turned_candidate = _slope_tangents(kept, tangents)
    of_products = slopes.mul_(of_states.unsqueeze(3)).flatten(3)
    turned_products = turned_slopes.mul_(of_states.unsqueeze(3)).flatten(3)
    arriving = tangents.update.mul_(of_states)
    for i, weight in enumerate((along.first, along.second)):
        arriving[:, i] += (over_time(turned_products, i) @ kept.weights[i]).view_as(arriving[:, i])
        if weight is not None:
            arriving[:, i] += (over_time(of_products, i) @ weight).view_as(arriving[:, i])
    parts = [turned_products[..., : 2 * of_states.shape[3]], turned_candidate.mul_(of_states)]
    first, second = (_of_weight(i, turned_products, of_products, kept.states, tangents.states) if wanted[2 + i] else None for i in range(2))
    return SecondGradients(
        tangents.states[1:],
        torch.cat(parts, dim=3) if wanted[1] else None,
        first,
        second,
        arriving[0] if wanted[4] else None,
        torch.cat([arriving[1:], torch.zeros_like(arriving[:1])]) if wanted[5] else None,
        turned_products.sum(dim=(0, 2)).unsqueeze(1) if wanted[6] else None,
    )


def _of_weight(direction: int, turned_products: Tensor, of_products: Tensor, states: Tensor, tangents: Tensor) -> Tensor:
    result = over_time(turned_products, direction).t() @ over_time(states[:-1], direction)
    return result.addmm_(over_time(of_products, direction).t(), over_time(tangents[:-1], direction))


def _tangents(along: Gradients, kept: Kept, slopes: Tensor, to_candidate: Tensor) -> _Tangents:
    """Return the tangents of everything the forward pass computed."""
    frames, _, batch, size = kept.candidate_products.shape
    products = kept.gates.new_zeros(kept.gates.shape)
    for i, weight in enumerate((along.first, along.second)):
        if weight is not None:
            products[:, i] = (over_time(kept.states[:-1], i) @ weight.t()).view(frames, batch, -1)
    if along.bias is not None:
        products += along.bias
    by_gate = products.view(frames, 2, batch, 3, size)
    offset = (slopes * by_gate).sum(3)
    given = None if along.from_input is None else along.from_input.reshape(frames, 2, batch, 3, size)
    if given is not None:
        offset += (slopes[..., :2, :] * given[..., :2, :]).sum(3)
        offset.addcmul_(to_candidate, given[..., 2, :])
    states, from_states = tangent_sweep(offset, slopes, kept.update, kept.weights, along.initial)
    by_gate += from_states
    reset, update, candidate = kept.gates.chunk(3, dim=3)
    into_reset, into_update, _ = (by_gate if given is None else by_gate + given).unbind(3)
    turned_reset = into_reset * reset * (1 - reset)
    turned_update = into_update * update * (1 - update)
    before_tanh = turned_reset * kept.candidate_products + reset * by_gate[..., 2, :]
    if given is not None:
        before_tanh += given[..., 2, :]
    return _Tangents(states, products, turned_reset, turned_update, before_tanh * (1 - candidate.square()))


def _slope_tangents(kept: Kept, tangents: _Tangents) -> tuple[Tensor, Tensor]:
    """Return the tangents of both results of `Kept.slopes`."""
    reset, update, candidate = kept.gates.chunk(3, dim=3)
    by_candidate, open_update = 1 - candidate.square(), 1 - update
    to_candidate = open_update * by_candidate
    turned = -tangents.update * by_candidate - 2 * open_update * candidate * tangents.candidate
    by_reset, by_update = reset * (1 - reset), update * open_update
    product, turned_product = kept.candidate_products, tangents.products.chunk(3, dim=3)[2]
    slopes = [
        (turned * product + to_candidate * turned_product) * by_reset + to_candidate * product * (1 - 2 * reset) * tangents.reset,
        (tangents.states[:-1] - tangents.candidate) * by_update + (kept.states[:-1] - candidate) * (1 - 2 * update) * tangents.update,
        turned * reset + to_candidate * tangents.reset,
    ]
    return torch.stack(slopes, dim=3), turned
