"""Normalising features over the true frames of one utterance.

Problem: statistics over a padded batch leak padding and neighbours into every utterance; a standard deviation of zero (digital
silence) divides by nothing. Choice: sums over true frames only, the unbiased deviation of `torch.std`, never below 1e-5. As in
`short_time`, a masked computation (differentiable, any device) stands beside one that works in place on a CPU.
"utterance" takes one mean and deviation over all frames and bins (it keeps the spectral shape, R0's choice); "bin" takes them
for each bin (it removes the channel as well, and suits cepstra, whose coefficients differ a hundredfold).
"""

from __future__ import annotations

from math import sqrt
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Normalise = Literal["utterance", "bin", "none"]

SMALLEST_DEVIATION = 1e-5


def normalise(values: Tensor, lengths: Tensor, how: Normalise, in_place: bool) -> Tensor:
    """Return normalised features, zero beyond the lengths.

    Args:
        values: (batch, frames, bins) float32; anything, even NaN, beyond `lengths`.
        lengths: (batch,) int64 frames.
        how: over the whole utterance, per bin, or not at all.
        in_place: overwrite `values`, a CPU tensor that no gradient needs.

    Returns:
        (batch, frames, bins) float32.
    """
    if in_place:
        for utterance, length in zip(values.numpy(), lengths.tolist(), strict=True):
            utterance[length:] = 0
            _normalise_array(utterance[:length], how)
        return values
    mask = (torch.arange(values.shape[1], device=values.device) < lengths[:, None])[..., None]
    values = torch.where(mask, values, 0.0)
    if how == "none":
        return values
    axes = (1, 2) if how == "utterance" else (1,)
    count = (lengths * (values.shape[2] if how == "utterance" else 1)).clamp_min(1)[:, None, None]
    centred = torch.where(mask, values - values.sum(axes, keepdim=True) / count, 0.0)
    variance = centred.square().sum(axes, keepdim=True) / (count - 1).clamp_min(1)
    return centred / variance.clamp_min(SMALLEST_DEVIATION**2).sqrt()


def _normalise_array(values: NDArray[np.float32], how: Normalise) -> None:
    """Normalise (frames, bins) in place."""
    if how == "utterance" and values.size:
        flat = values.reshape(-1)
        flat -= flat.mean()
        shared = torch.from_numpy(flat)  # NumPy's dot would start its own threads, whatever torch was told
        flat *= 1 / max(sqrt(float(torch.dot(shared, shared)) / max(1, flat.size - 1)), SMALLEST_DEVIATION)
    elif how == "bin" and values.size:
        values -= values.mean(axis=0)
        variance = np.square(values).sum(axis=0) / max(1, len(values) - 1)
        values /= np.maximum(np.sqrt(variance), SMALLEST_DEVIATION)
