"""Mixtures whose exact separation is a function of the samples, to test everything around a separator without one.

Two voices in frequency bands that do not touch: a filter takes any stretch of their sum apart exactly, except within a filter's length of
its ends, which separators throw away. What real networks leave free is added on purpose: outputs in any order and at any level, both
drawn from the samples of the window, so that the answer depends on nothing else.
"""

from __future__ import annotations

import zlib

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.signal import fftconvolve, firwin
from torch import Tensor

RATE = 8000
_TAPS = 301
"""Odd; transitions of 300 Hz with 120 dB outside them."""
_EDGES = (1000.0, 2000.0)
"""The first voice ends below, the second begins above, in hertz."""
_MIDDLE = 1500.0
_DUST = 1e-9
"""What rounding leaves where a voice is silent; it would tell the voices apart through any silence."""


def known_voices(seconds: float, seed: int = 0, silent: dict[int, list[tuple[float, float]]] | None = None) -> NDArray[np.float32]:
    """Return two voices (2, time) of filtered noise with syllables.

    Args:
        seconds: duration.
        seed: of the noise.
        silent: begin and end, in seconds, of where each voice is quiet.
    """
    generator = np.random.default_rng(seed)
    time = np.arange(round(seconds * RATE)) / RATE
    voices = []
    for place, band in enumerate(((200.0, _EDGES[0]), (_EDGES[1], 3700.0))):
        loudness = 0.6 + 0.4 * np.sin(2 * np.pi * (3.0 + place) * time + generator.uniform(0, 6))
        for begin, end in (silent or {}).get(place, []):
            loudness[(time >= begin) & (time < end)] = 0.0
        loudness[np.minimum(time, time[-1] - time) < _TAPS / RATE] = 0.0  # a mirror image of anything else at an end leaves the band
        taps = firwin(_TAPS, band, fs=RATE, pass_zero=False, window=("kaiser", 12.0))
        voices.append(0.2 * fftconvolve(generator.standard_normal(len(time)) * loudness, taps, mode="same"))
    found = np.asarray(voices, dtype=np.float32)
    found[np.abs(found) < _DUST] = 0.0
    return found


class KnownSeparator:
    """Takes mixtures of `known_voices` apart exactly, in an order and at levels of its own for every window.

    Args:
        shuffled: draw the order of the outputs.
        levels: draw the level of every output from 0.6 to 2.0, and its sign.
    """

    def __init__(self, shuffled: bool = True, levels: bool = True) -> None:
        self.shuffled, self.levels = shuffled, levels
        self.calls: list[tuple[int, ...]] = []
        self._low = firwin(_TAPS, _MIDDLE, fs=RATE, window=("kaiser", 12.0))

    def __call__(self, mixture: Tensor) -> Tensor:
        """(batch, time) -> (batch, 2, time)."""
        self.calls.append(tuple(mixture.shape))
        samples = mixture.cpu().numpy()
        low = fftconvolve(samples.astype(np.float64), self._low[None], mode="same", axes=1)
        found = np.stack([low, samples - low], axis=1)
        for row, window in enumerate(samples):
            generator = np.random.default_rng(zlib.crc32(window.tobytes()))
            if self.levels:
                found[row] *= (generator.uniform(0.6, 2.0, 2) * generator.choice([-1.0, 1.0], 2))[:, None]
            if self.shuffled and generator.random() < 0.5:
                found[row] = found[row, ::-1].copy()
        return torch.from_numpy(found.astype(np.float32))
