"""Reverberation: the same utterance in another room.

Problem: convolving with a room response delays the speech, lengthens it and changes its level, and each of the three breaks
something (alignments, buckets, thresholds). Choice: the response starts at its strongest sample (the direct sound), the tail
beyond the end of the utterance is cut, and the level of the utterance is restored. Convolution by FFT.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from scipy.signal import fftconvolve

from auscult.audio.augmentation.folder import AudioFolder
from auscult.audio.reading import read_audio
from auscult.audio.resampling import resample
from auscult.errors import UserError
from auscult.registry import register


@register("augmentation", "reverberation")
class Reverberation:
    """Convolve with a room impulse response from a folder.

    Args:
        folder: of WAV, FLAC or OGG files, searched through; the first channel of each is used.
        probability: share of the utterances that are put into a room.
    """

    def __init__(self, folder: str, probability: Annotated[float, Field(ge=0, le=1)] = 1.0) -> None:
        self.responses = AudioFolder("reverberation.folder", folder)
        self.probability = probability

    def __call__(self, samples: NDArray[np.float32], sample_rate: int, random: np.random.Generator) -> NDArray[np.float32]:
        """Return (time,) float32 from samples (time,) float32, as loud as before.

        Raises:
            AudioError: the response drawn cannot be read.
            UserError: the response drawn is silent.
        """
        if random.random() >= self.probability or not len(samples):
            return samples
        response = room_response(self.responses.draw(random), sample_rate)
        wet = fftconvolve(samples, response)[: len(samples)]
        before, after = float(np.linalg.norm(samples)), float(np.linalg.norm(wet))
        return np.asarray(wet * (before / after), np.float32) if after > 0 else samples


@lru_cache(maxsize=256)
def room_response(path: Path, sample_rate: int) -> NDArray[np.float32]:
    """Return a room response that starts at its direct sound: (time,) float32, read-only; rooms are few and short, so they are kept.

    Raises:
        AudioError: the file cannot be read.
        UserError: the response is silent.
    """
    samples, rate = read_audio(path, channel=0)
    response = resample(samples, rate, sample_rate)
    response = response[int(np.abs(response).argmax()) :].copy()
    if not response.any():
        raise UserError(f"{path}: a room response with no sound in it; take it out of the folder")
    response.setflags(write=False)
    return response
