"""A bidirectional GRU layer that trains faster than `nn.GRU` on a CPU, and is twice differentiable faster still.

Problem: at small batches on a CPU `nn.GRU` spends a training step in places that need not cost anything: it accumulates each weight
gradient as one rank-`batch` update of a (3 * hidden, hidden) matrix per frame and direction, and builds an autograd graph of
every frame; a second-order gradient multiplies both. Choice: loops over time that do only what must be done in turn (`gru_sweeps`), all
weight gradients as single matrix products after the loop, and second-order gradients derived by hand (`gru_second_order`). Utterances of
different lengths are reversed within their length, so no packing is needed and padding never enters a state.
Rejected: a compiled loop (minutes of compilation, one per shape), private oneDNN operators (no promise that they stay).

The gate equations are those of `nn.GRU`: r, z = sigmoid(..), n = tanh(W_in x + b_in + r * (W_hn h + b_hn)), h' = n + z * (h - n).
A third-order request is an error that names the way out. `benchmarks/gru.py` measures the speed.
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from auscult.errors import UserError
from auscult.ops.gru_item_gradients import input_products, item_recurrence
from auscult.ops.gru_second_order import GruGradient
from auscult.ops.gru_sweeps import Kept, first_order, forward_sweep
from auscult.ops.item_gradients import ItemGradients
from auscult.ops.wanted_gradients import wanted_gradients


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


def bidirectional_gru(
    values: Tensor, lengths: Tensor | None, weights: GruWeights, initial: Tensor | None = None, gradients: ItemGradients | None = None
) -> Tensor:
    """Return the states of both directions; twice differentiable by every tensor.

    Args:
        values: (frames, batch, inputs), float32 or float64 on the CPU; what is beyond the lengths is not looked at.
        lengths: (batch,) int64, or None if no utterance is padded.
        weights: of both directions, same dtype.
        initial: (2, batch, hidden): the state before the first frame of the forward direction, and after the last true frame for the
            backward direction; None is zero.
        gradients: where the weights' gradients go item by item, differentiable once; None for ordinary ones.

    Returns:
        (frames, batch, 2 * hidden): forward states, then backward states; zero beyond the lengths.
    """
    frames, batch, _ = values.shape
    padding: Tensor | None = None
    order: Tensor | None = None
    if lengths is not None:
        time = torch.arange(frames, device=values.device).unsqueeze(1)
        lengths = lengths.to(values.device)
        padding = (time >= lengths).unsqueeze(2)
        order = torch.where(padding.squeeze(2), time, lengths - 1 - time)
        values = values.masked_fill(padding, 0.0)
    if initial is None:
        initial = values.new_zeros(2, batch, weights.hidden[0].shape[1])
    if gradients is not None:
        from_input = input_products(values, weights.input, weights.input_bias, gradients)
        stacked = torch.stack([from_input[0], reverse(from_input[1], order)], dim=1)
        states = item_recurrence(stacked, initial, weights.hidden, weights.hidden_bias, gradients)
    else:
        states = _recurrence(values, order, weights, initial)
    outputs = torch.cat([states[:, 0], reverse(states[:, 1], order)], dim=2)
    return outputs if padding is None else outputs.masked_fill(padding, 0.0)


def _recurrence(values: Tensor, order: Tensor | None, weights: GruWeights, initial: Tensor) -> Tensor:
    frames, batch, _ = values.shape
    flat = values.reshape(frames * batch, -1)
    from_input = [torch.mm(flat, weight.t()).view(frames, batch, -1) for weight in weights.input]
    if weights.input_bias is not None:
        from_input = [part + bias for part, bias in zip(from_input, weights.input_bias, strict=True)]
    stacked = torch.stack([from_input[0], reverse(from_input[1], order)], dim=1)
    bias = torch.stack(weights.hidden_bias).unsqueeze(1) if weights.hidden_bias is not None else None
    states: Tensor = _Recurrence.apply(stacked, *weights.hidden, initial, bias)  # type: ignore[no-untyped-call]
    return states


def reverse(values: Tensor, order: Tensor | None) -> Tensor:
    """Reverse (frames, batch, size) in time: whole, or by `order` (frames, batch), the frame to read for each frame."""
    return values.flip(0) if order is None else values.gather(0, order.unsqueeze(2).expand_as(values))


class _Recurrence(torch.autograd.Function):
    """Two GRU recurrences side by side, both running forward in the time they are given."""

    @staticmethod
    def forward(ctx: Any, from_input: Tensor, first: Tensor, second: Tensor, initial: Tensor, bias: Tensor | None) -> Tensor:
        """Return states (frames, 2, batch, hidden).

        `from_input` (frames, 2, batch, 3 * hidden) is overwritten with the gates, which its only caller allows: a gradient of second order
        needs to know where it came from, not what it was, and keeping both would keep more than the first order needs.
        """
        kept = forward_sweep(from_input, initial, (first, second), bias)
        outputs = kept.states[1:]
        ctx.save_for_backward(from_input, first, second, initial, outputs, bias, kept.states, kept.candidate_products)
        return outputs

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """Gradient of the states (frames, 2, batch, hidden) -> gradients of the five inputs of `forward`."""
        wanted = wanted_gradients(ctx)
        gates, first, second, initial, outputs, bias, states, candidate_products = ctx.saved_tensors
        kept = Kept(gates, states, candidate_products, (first, second))
        if not torch.is_grad_enabled():
            return first_order(gradients[0], kept, wanted)[0]
        results = GruGradient.apply(gradients[0], gates, first, second, initial, outputs, bias, kept, wanted)  # type: ignore[no-untyped-call]
        return tuple(results)


class BidirectionalGru(nn.GRU):
    """`nn.GRU` of one bidirectional layer, frames first, with the fast kernel where it applies: same call, same state dict, same numbers.

    The kernel runs on the CPU in float32 or float64 while gradients are recorded, and has gradients of first and second order. Everywhere
    else (inference, where it would be slower; CUDA, autocast, export) this is `nn.GRU` itself.

    Args:
        inputs: features per frame.
        hidden: units of each direction.
        bias: as in `nn.GRU`.
        kernel: "torch" always runs `nn.GRU`, which is differentiable any number of times on a CPU.

    Attributes:
        item_gradients: where the gradients of the weights go item by item while somebody sets it, whatever device and kernel.
    """

    item_gradients: ItemGradients | None

    def __init__(self, inputs: int, hidden: int, bias: bool = True, kernel: Literal["auto", "torch"] = "auto") -> None:
        super().__init__(inputs, hidden, bias=bias, bidirectional=True)
        if kernel not in ("auto", "torch"):
            raise UserError(f'GRU kernel is "{kernel}"; use "auto" or "torch"')
        self.kernel = kernel
        self.item_gradients = None

    def forward(self, input: Any, hx: Tensor | None = None) -> Any:
        """(frames, batch, inputs) or a PackedSequence, and initial states (2, batch, hidden) or None for zero.

        Returns:
            Outputs of the same kind as the input, and the last states (2, batch, hidden).
        """
        packed = isinstance(input, PackedSequence)
        if not self._kernel_applies(input.data if packed else input, hx) or (not packed and input.dim() != 3):
            return super().forward(input, hx)
        padded, lengths = pad_packed_sequence(input) if packed else (input, None)
        if hx is not None and hx.shape != (2, padded.shape[1], self.hidden_size):
            return super().forward(input, hx)  # which says what is wrong with it
        outputs = bidirectional_gru(padded, lengths, self._kernel_weights(), hx, self.item_gradients)
        last = self._last_states(outputs, lengths)
        return (pack_padded_sequence(outputs, lengths, enforce_sorted=False) if lengths is not None else outputs), last

    def _kernel_applies(self, data: Tensor, initial: Tensor | None) -> bool:
        if self.item_gradients is not None:
            return True
        if self.kernel == "torch" or data.device.type != "cpu" or data.dtype not in (torch.float32, torch.float64):
            return False
        if torch.is_autocast_enabled("cpu") or torch.compiler.is_compiling() or torch._C._are_functorch_transforms_active():
            return False
        given = (data, *self.parameters()) if initial is None else (data, initial, *self.parameters())
        return torch.is_grad_enabled() and any(tensor.requires_grad for tensor in given)

    def _kernel_weights(self) -> GruWeights:
        def both(name: str) -> tuple[Tensor, Tensor]:
            return getattr(self, f"{name}_l0"), getattr(self, f"{name}_l0_reverse")

        biases = (both("bias_ih"), both("bias_hh")) if self.bias else (None, None)
        return GruWeights(both("weight_ih"), both("weight_hh"), *biases)

    def _last_states(self, outputs: Tensor, lengths: Tensor | None) -> Tensor:
        forward, backward = outputs.chunk(2, dim=2)
        last = forward[-1] if lengths is None else forward[lengths - 1, torch.arange(len(lengths))]
        return torch.stack([last, backward[0]])
