"""A folder of recordings to draw from: noises and room responses.

Problem: an augmentation that lists its folder in directory order draws other files on another machine, and one that decodes
whole files to use two seconds of them makes workers the bottleneck. Choice: sorted paths, found once; a stretch is decoded by
seeking. Rejected: keeping everything in memory, which every worker would repeat.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from auscult.audio.reading import probe, read_audio
from auscult.audio.resampling import resample
from auscult.errors import UserError

SUFFIXES = (".wav", ".flac", ".ogg")


class AudioFolder:
    """The audio files below a folder, sorted by path.

    Args:
        key: recipe key, for messages.
        folder: path; `~` and environment variables are expanded, `${AUSCULT_DATA}` is `../shared/data` where it is not set.

    Raises:
        UserError: no such folder, or no audio file in it.
    """

    def __init__(self, key: str, folder: str) -> None:
        data = os.environ.get("AUSCULT_DATA", "../shared/data")
        self.path = Path(os.path.expandvars(folder.replace("${AUSCULT_DATA}", data))).expanduser()
        if not self.path.is_dir():
            raise UserError(f"{key}: no such folder {self.path}; give a folder of WAV, FLAC or OGG files")
        self.files = sorted(file for file in self.path.rglob("*") if file.suffix.lower() in SUFFIXES)
        if not self.files:
            raise UserError(f"{key}: no WAV, FLAC or OGG file in {self.path}")

    def draw(self, random: np.random.Generator) -> Path:
        """Return a file, each with the same chance."""
        return self.files[int(random.integers(len(self.files)))]

    def draw_stretch(self, samples: int, sample_rate: int, random: np.random.Generator) -> NDArray[np.float32]:
        """Return a random stretch of a random file, repeated from its start if the file is shorter.

        Args:
            samples: length wanted.
            sample_rate: rate wanted, in hertz; other rates are resampled.
            random: decides file and position.

        Returns:
            (samples,) float32.

        Raises:
            AudioError: the file drawn cannot be read.
        """
        info = probe(self.draw(random))
        needed = -(-samples * info.sample_rate // sample_rate) + 1
        start = int(random.integers(max(0, info.samples - needed) + 1))
        stretch, rate = read_audio(info.path, start, min(needed, info.samples))
        return np.resize(resample(stretch, rate, sample_rate), samples)
