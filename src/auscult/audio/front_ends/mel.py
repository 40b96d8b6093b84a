"""Mel filters and the discrete cosine transform, as matrices.

Problem: there are two mel scales, three shapes of filters and four cosine transforms in use, and libraries differ in the last
two digits. Choice: those of Kaldi (and HTK), whose outputs are published as fixtures: mel(f) = 1127 ln(1 + f / 700), triangles
that are straight in mel, zero at the first and the last edge, an orthonormal DCT-II and the sine lifter. Built once in float64
and kept as float32 buffers. Rejected: the Slaney scale with area-normalised filters (librosa's default).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from auscult.audio.front_end import is_transformed
from auscult.errors import UserError

LIFTER = 22.0
"""Kaldi's `--cepstral-lifter`."""

_LEAST_ROWS = 16
"""Matrix products of fewer rows take another path in MKL (below 4 rows, measured) and round otherwise."""


def project(values: Tensor, matrix: Tensor) -> Tensor:
    """Return `values @ matrix`, with the same bits for a row whatever the number of rows: (..., k) by (k, m) -> (..., m)."""
    rows = values.numel() // values.shape[-1] if not is_transformed() else _LEAST_ROWS
    if rows >= _LEAST_ROWS:
        return values @ matrix
    filled = functional.pad(values.reshape(rows, -1), (0, 0, 0, _LEAST_ROWS - rows)) @ matrix
    return filled[:rows].view(*values.shape[:-1], -1)


def mel_filters(sample_rate: int, fft_size: int, mel_bins: int, low: float = 20.0) -> Tensor:
    """Return triangular filters from `low` hertz to half the sample rate: (fft_size // 2 + 1, mel_bins) float32.

    Raises:
        UserError: more filters than the transform can tell apart, so that one would be empty.
    """

    def mel(hertz: Tensor) -> Tensor:
        return 1127.0 * torch.log1p(hertz / 700.0)

    band = mel(torch.tensor([low, sample_rate / 2], dtype=torch.float64))
    edges = torch.linspace(float(band[0]), float(band[1]), mel_bins + 2, dtype=torch.float64)
    position = mel(torch.arange(fft_size // 2 + 1, dtype=torch.float64) * (sample_rate / fft_size))[:, None]
    rising = (position - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - position) / (edges[2:] - edges[1:-1])
    filters = torch.minimum(rising, falling).clamp_min(0)
    empty = (filters.sum(0) == 0).nonzero().flatten().tolist()
    if empty:
        raise UserError(
            f"mel_bins: {mel_bins} filters are too many for a transform of {fft_size} points at {sample_rate} Hz "
            f"(filter {empty[0]} would be empty); choose fewer mel_bins or a longer window"
        )
    return filters.float()


def cosine_transform(mel_bins: int, coefficients: int, lifter: float = LIFTER) -> Tensor:
    """Return the orthonormal DCT-II of log-mel values, liftered: (mel_bins, coefficients) float32; no lifter if it is 0.

    Raises:
        UserError: more coefficients than mel bins.
    """
    if coefficients > mel_bins:
        raise UserError(f"coefficients: {coefficients} cannot be made of {mel_bins} mel_bins; choose at most as many")
    order = torch.arange(coefficients, dtype=torch.float64)
    angle = math.pi / mel_bins * (torch.arange(mel_bins, dtype=torch.float64)[:, None] + 0.5) * order
    scale = torch.full((coefficients,), math.sqrt(2 / mel_bins), dtype=torch.float64)
    scale[0] = math.sqrt(1 / mel_bins)
    if lifter:
        scale = scale * (1 + 0.5 * lifter * torch.sin(math.pi * order / lifter))
    return (torch.cos(angle) * scale).float()
