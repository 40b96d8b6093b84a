"""Running recurrent layers on padded batches.

Problem: a backward recurrence that starts in the padding carries it into every true frame. Choice: pack whenever some
utterance is padded; where none is, call the layer on the plain tensor, which is what an unmasked model does, bit for bit.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence


def run_recurrent(layer: nn.Module, values: Tensor, lengths: Tensor | None) -> Tensor:
    """Return the outputs of a recurrent layer, zero on padded frames.

    Args:
        layer: RNN, GRU or LSTM (`nn.RNNBase`) of one layer, frames first.
        values: (frames, batch, inputs).
        lengths: (batch,) int64 on the CPU; None runs over every frame, padding included.

    Returns:
        (frames, batch, directions * hidden).
    """
    if lengths is None or bool((lengths >= values.shape[0]).all()):
        outputs: Tensor = layer(values)[0]
        return outputs
    packed: PackedSequence = layer(pack_padded_sequence(values, lengths, enforce_sorted=False))[0]
    return pad_packed_sequence(packed, total_length=values.shape[0])[0]


def merge_directions(values: Tensor, merge: str) -> Tensor:
    """Return (frames, batch, hidden) for merge "sum", (frames, batch, 2 * hidden) unchanged for "concat"."""
    if merge == "concat":
        return values
    forward, backward = values.chunk(2, dim=-1)
    return forward + backward
