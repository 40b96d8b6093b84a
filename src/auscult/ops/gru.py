"""A bidirectional GRU layer that trains faster than `nn.GRU` on a CPU.

Problem: at small batches on a CPU `nn.GRU` spends a training step in places that need not cost anything: it accumulates each weight
gradient as one rank-`batch` update of a (3 * hidden, hidden) matrix per frame and direction, and builds an autograd graph of
every frame. Choice: both directions advance in one batched product per frame (in turn for a batch of one, whose two matrices would
push each other out of the cache), the backward loop is one product and three
elementwise operations per frame, and all weight gradients are single matrix products after the loop. Utterances of different
lengths are reversed within their length, so no packing is needed and padding never enters a state.
Rejected: a compiled loop (minutes of compilation, one per shape), private oneDNN operators (no promise that they stay).

The gate equations are those of `nn.GRU`: r, z = sigmoid(..), n = tanh(W_in x + b_in + r * (W_hn h + b_hn)), h' = n + z * (h - n).
Only first-order gradients exist; a second-order request is an error that names the way out. `benchmarks/gru.py` measures it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from auscult.errors import UserError


class GruWeights(NamedTuple):
    """Weights of the two directions, forward first, laid out as in `nn.GRU` (gates r, z, n).

    Attributes:
        input: two of (3 * hidden, inputs).
        hidden: two of (3 * hidden, hidden).
        input_bias: two of (3 * hidden,), or None.
        hidden_bias: two of (3 * hidden,), or None.
    """

    input: tuple[Tensor, Tensor]
    hidden: tuple[Tensor, Tensor]
    input_bias: tuple[Tensor, Tensor] | None = None
    hidden_bias: tuple[Tensor, Tensor] | None = None


def bidirectional_gru(values: Tensor, lengths: Tensor | None, weights: GruWeights) -> Tensor:
    """Return the states of both directions, starting from zero.

    Args:
        values: (frames, batch, inputs), float32 or float64 on the CPU; what is beyond the lengths is not looked at.
        lengths: (batch,) int64, or None if no utterance is padded.
        weights: of both directions, same dtype.

    Returns:
        (frames, batch, 2 * hidden): forward states, then backward states; zero beyond the lengths.
    """
    frames, batch, _ = values.shape
    padding: Tensor | None = None
    order: Tensor | None = None
    if lengths is not None:
        time = torch.arange(frames).unsqueeze(1)
        padding = (time >= lengths).unsqueeze(2)
        order = torch.where(padding.squeeze(2), time, lengths - 1 - time)
        values = values.masked_fill(padding, 0.0)
    flat = values.reshape(frames * batch, -1)
    from_input = [torch.mm(flat, weight.t()).view(frames, batch, -1) for weight in weights.input]
    if weights.input_bias is not None:
        from_input = [part + bias for part, bias in zip(from_input, weights.input_bias, strict=True)]
    stacked = torch.stack([from_input[0], reverse(from_input[1], order)], dim=1)
    bias = torch.stack(weights.hidden_bias).unsqueeze(1) if weights.hidden_bias is not None else None
    states: Tensor = _Recurrence.apply(stacked, *weights.hidden, bias)  # type: ignore[no-untyped-call]
    outputs = torch.cat([states[:, 0], reverse(states[:, 1], order)], dim=2)
    return outputs if padding is None else outputs.masked_fill(padding, 0.0)


def reverse(values: Tensor, order: Tensor | None) -> Tensor:
    """Reverse (frames, batch, size) in time: whole, or by `order` (frames, batch), the frame to read for each frame."""
    return values.flip(0) if order is None else values.gather(0, order.unsqueeze(2).expand_as(values))


class _Recurrence(torch.autograd.Function):
    """Two GRU recurrences side by side, both running forward in the time they are given."""

    @staticmethod
    def forward(ctx: Any, from_input: Tensor, first: Tensor, second: Tensor, bias: Tensor | None) -> Tensor:
        """Return states (frames, 2, batch, hidden) from from_input (frames, 2, batch, 3 * hidden), weights, and bias (2, 1, 3 * hidden)."""
        frames, _, batch, _ = from_input.shape
        size = first.shape[1]
        states = from_input.new_zeros(frames + 1, 2, batch, size)
        gates = torch.empty_like(from_input)  # r, z, n of every frame
        from_state = torch.empty_like(from_input)
        for side in _sides(batch):
            multiply = _multiplier([first.t(), second.t()][side])
            parts = (from_input, gates, from_state, states[:-1], states[1:])
            for given, gate, product, before, after in zip(*(part[:, side] for part in parts), strict=True):
                multiply(before, product)
                if bias is not None:
                    product.add_(bias[side])
                open_gates, candidate = gate[..., : 2 * size], gate[..., 2 * size :]
                torch.add(given[..., : 2 * size], product[..., : 2 * size], out=open_gates).sigmoid_()
                torch.addcmul(given[..., 2 * size :], gate[..., :size], product[..., 2 * size :], out=candidate).tanh_()
                torch.lerp(candidate, before, gate[..., size : 2 * size], out=after)
        ctx.save_for_backward(first, second, states, gates, from_state)
        ctx.has_bias = bias is not None
        return states[1:].clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
        """Gradient of the states (frames, 2, batch, hidden) -> gradients of the four inputs of `forward`."""
        if torch.is_grad_enabled():
            raise RuntimeError(
                "auscult's GRU kernel has no second-order gradient; build the model with kernel: torch (nn.GRU has one on a CPU)"
            )
        first, second, states, gates, from_state = ctx.saved_tensors
        size = first.shape[1]
        reset, update, candidate = gates.split(size, dim=3)
        to_candidate = (1 - update) * (1 - candidate.square())
        slopes = torch.stack(
            [
                to_candidate * from_state[..., 2 * size :] * reset * (1 - reset),
                (states[:-1] - candidate) * update * (1 - update),
                to_candidate * reset,
            ],
            dim=3,
        )  # (frames, 2, batch, 3, hidden): gradient of each pre-activation by the state
        of_states = _run_backward(gradients[0], slopes, update, first, second)
        of_product = slopes.mul_(of_states.unsqueeze(3)).flatten(3)
        of_weights = [_over_time(of_product, i).t() @ _over_time(states[:-1], i) for i in range(2)]
        of_bias = of_product.sum(dim=(0, 2)).unsqueeze(1) if ctx.has_bias else None
        of_input = torch.cat([of_product[..., : 2 * size], of_states * to_candidate], dim=3)
        return of_input, of_weights[0], of_weights[1], of_bias


def _run_backward(gradient: Tensor, slopes: Tensor, update: Tensor, first: Tensor, second: Tensor) -> Tensor:
    """Return the full gradient of every state (frames, 2, batch, hidden): what arrives from outside plus what flows back in time."""
    frames, _, batch, _ = gradient.shape
    of_states = torch.empty_like(gradient, memory_format=torch.contiguous_format)
    for side in _sides(batch):
        multiply = _multiplier([first, second][side])
        of_product = torch.empty_like(slopes[0, side])
        flat = of_product.flatten(2)
        carried, through = torch.zeros_like(of_states[0, side]), torch.empty_like(of_states[0, side])
        for t in range(frames - 1, -1, -1):
            here = torch.add(gradient[t, side], carried, out=of_states[t, side])
            torch.mul(slopes[t, side], here.unsqueeze(2), out=of_product)
            torch.mul(here, update[t, side], out=carried)
            multiply(flat, through)
            carried.add_(through)
    return of_states


def _sides(batch: int) -> tuple[slice, ...]:
    """Return which directions walk through time together: both, as one batched product per step, or one after the other.

    A batch of one only reads weights: two directions in turn push each other's matrix out of the processor's cache at every step.
    """
    return (slice(0, 2),) if batch > 1 else (slice(0, 1), slice(1, 2))


def _multiplier(matrices: Sequence[Tensor]) -> Callable[[Tensor, Tensor], None]:
    """Return a function that writes (matrices, batch, rows) times the matrices (rows, columns) into (matrices, batch, columns).

    One matrix is a matrix-vector product (the batch is one) on the weights as they lie; the batched product wants its own contiguous copy
    and, for a batch of one, falls into a path that is ten times slower for some strides.
    """
    if len(matrices) == 1:
        across = matrices[0].t()

        def multiply_vector(rows: Tensor, out: Tensor) -> None:
            torch.mv(across, rows[0, 0], out=out[0, 0])

        return multiply_vector
    both = torch.stack(list(matrices))

    def multiply_matrices(rows: Tensor, out: Tensor) -> None:
        torch.bmm(rows, both, out=out)

    return multiply_matrices


def _over_time(values: Tensor, direction: int) -> Tensor:
    """(frames, 2, batch, size) -> (frames * batch, size) of one direction."""
    return values[:, direction].reshape(-1, values.shape[-1])


class BidirectionalGru(nn.GRU):
    """`nn.GRU` of one bidirectional layer, frames first, with the fast kernel where it applies: same call, same state dict, same numbers.

    The kernel runs on the CPU in float32 or float64, without an initial state, while gradients are recorded. Everywhere else (inference,
    where it would be slower; CUDA, autocast, export) this is `nn.GRU` itself.

    Args:
        inputs: features per frame.
        hidden: units of each direction.
        bias: as in `nn.GRU`.
        kernel: "torch" always runs `nn.GRU`, which is twice differentiable on a CPU.
    """

    def __init__(self, inputs: int, hidden: int, bias: bool = True, kernel: Literal["auto", "torch"] = "auto") -> None:
        super().__init__(inputs, hidden, bias=bias, bidirectional=True)
        if kernel not in ("auto", "torch"):
            raise UserError(f'GRU kernel is "{kernel}"; use "auto" or "torch"')
        self.kernel = kernel

    def forward(self, input: Any, hx: Tensor | None = None) -> Any:
        """(frames, batch, inputs) or a PackedSequence -> outputs of the same kind and the last states (2, batch, hidden)."""
        data = input.data if isinstance(input, PackedSequence) else input
        if hx is not None or not self._kernel_applies(data):
            return super().forward(input, hx)
        if not isinstance(input, PackedSequence):
            outputs = bidirectional_gru(input, None, self._kernel_weights())
            return outputs, self._last_states(outputs, None)
        padded, lengths = pad_packed_sequence(input)
        outputs = bidirectional_gru(padded, lengths, self._kernel_weights())
        return pack_padded_sequence(outputs, lengths, enforce_sorted=False), self._last_states(outputs, lengths)

    def _kernel_applies(self, data: Tensor) -> bool:
        if self.kernel == "torch" or data.device.type != "cpu" or data.dtype not in (torch.float32, torch.float64):
            return False
        if torch.is_autocast_enabled("cpu") or torch.compiler.is_compiling() or torch._C._are_functorch_transforms_active():
            return False
        return torch.is_grad_enabled() and (data.requires_grad or any(weight.requires_grad for weight in self.parameters()))

    def _kernel_weights(self) -> GruWeights:
        def both(name: str) -> tuple[Tensor, Tensor]:
            return getattr(self, f"{name}_l0"), getattr(self, f"{name}_l0_reverse")

        biases = (both("bias_ih"), both("bias_hh")) if self.bias else (None, None)
        return GruWeights(both("weight_ih"), both("weight_hh"), *biases)

    def _last_states(self, outputs: Tensor, lengths: Tensor | None) -> Tensor:
        forward, backward = outputs.chunk(2, dim=2)
        last = forward[-1] if lengths is None else forward[lengths - 1, torch.arange(len(lengths))]
        return torch.stack([last, backward[0]])
