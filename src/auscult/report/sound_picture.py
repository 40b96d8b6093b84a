"""Pictures of sounds that are compared with one another: spectrograms in dB, on one scale of colours.

Problem: a picture scaled by its own extremes shows an estimate that is silent, or that is a faint copy of the wrong voice, as brightly as
the voice itself. Choice: a spectrum in dB of full scale, and limits that the caller takes from the loudest of the pictures that stand
together; what lies `RANGE` dB below is the darkest colour everywhere. Frequencies are linear: separation errors above 2 kHz are as
audible as those below.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import ArrayLike, NDArray

from auscult.report.figure import SEQUENTIAL

Floats = NDArray[np.float64]
RANGE = 65.0
"""dB from the brightest to the darkest colour."""
WINDOW = 0.032
"""Seconds of a window."""
MOST_COLUMNS = 900
"""Columns of a picture; a longer sound gets a wider step."""
_FLOOR = 1e-7


def spectrum(samples: ArrayLike, sample_rate: float) -> Floats:
    """Return the level of a sound over time and frequency, (frames, bins) in dB of full scale; a sine of amplitude 1 reaches 0.

    Args:
        samples: (time,), shorter than a window are padded.
        sample_rate: in hertz.

    >>> moment = np.arange(8000) / 8000
    >>> f"{abs(spectrum(np.sin(2 * np.pi * 1000 * moment), 8000).max()):.1f}"
    '0.0'
    """
    values = np.asarray(samples, dtype=np.float64)
    length = max(2, round(WINDOW * sample_rate))
    hop = max(length // 4, -(-len(values) // MOST_COLUMNS))
    padded = np.pad(values, (length // 2, length))
    windows = np.lib.stride_tricks.sliding_window_view(padded, length)[: len(values) + 1 : hop]  # (frames, length)
    shape = np.hanning(length)
    found: Floats = 20.0 * np.log10(np.maximum(np.abs(np.fft.rfft(windows * shape)) * 2.0 / shape.sum(), _FLOOR))
    return found


def draw_spectrum(axes: Axes, levels: Floats, seconds: float, sample_rate: float, loudest: float) -> None:
    """Show a spectrum, seconds to the right and kHz upwards; `loudest` has the brightest colour."""
    axes.imshow(
        levels.T,
        origin="lower",
        aspect="auto",
        extent=(0.0, seconds, 0.0, sample_rate / 2000.0),
        cmap=SEQUENTIAL,
        vmin=loudest - RANGE,
        vmax=loudest,
        interpolation="nearest",
    )
    axes.set_xlim(0.0, seconds)
    axes.grid(False)


def loudest_of(pictures: Sequence[Floats]) -> float:
    """Return the level that gets the brightest colour: the 99.9th percentile of the loudest picture, at least -80 dB."""
    return max([-80.0, *(float(np.quantile(picture, 0.999)) for picture in pictures)])
