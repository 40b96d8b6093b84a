"""Changing the sample rate, always on purpose.

Problem: a model trained at 16 kHz accepts 8 kHz samples without complaint and hears everything an octave up. Choice: one
explicit function on soxr (band-limited, high quality) and a sentence for people when the rate goes up, because no resampler
brings back what was never recorded. Rejected: linear interpolation (aliases), and resampling hidden in the reader.
"""

from __future__ import annotations

import numpy as np
import soxr
from numpy.typing import NDArray

from auscult.errors import UserError


def resample(samples: NDArray[np.float32], from_rate: int, to_rate: int) -> NDArray[np.float32]:
    """Return the samples at another rate; the same array if the rates are equal.

    Args:
        samples: (time,) float32.
        from_rate: their rate in hertz.
        to_rate: the rate wanted, in hertz.

    Returns:
        (round(time * to_rate / from_rate),) float32.

    Raises:
        UserError: a rate that is not positive, or samples that are not one channel.

    >>> resample(np.zeros(800, np.float32), 8000, 16000).shape
    (1600,)
    """
    if from_rate <= 0 or to_rate <= 0:
        raise UserError(f"cannot resample from {from_rate} Hz to {to_rate} Hz; sample rates are positive")
    if samples.ndim != 1:
        raise UserError(f"cannot resample an array of shape {samples.shape}; expected (time,), one channel")
    if from_rate == to_rate:
        return samples
    return np.asarray(soxr.resample(samples.astype(np.float32, copy=False), from_rate, to_rate, quality="HQ"), np.float32)


def upsampling_note(from_rate: int, to_rate: int) -> str | None:
    """Return a sentence for people when the rate goes up, None otherwise.

    >>> upsampling_note(8000, 16000)
    'recorded at 8000 Hz and resampled to 16000 Hz: there is nothing above 4000 Hz to learn from'
    """
    if from_rate >= to_rate:
        return None
    return f"recorded at {from_rate} Hz and resampled to {to_rate} Hz: there is nothing above {from_rate / 2:g} Hz to learn from"
