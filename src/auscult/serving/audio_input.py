"""From a person's file to what a model takes: its sample rate, one channel, long enough, and said aloud where something is missing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from auscult.audio.reading import read_audio
from auscult.audio.resampling import resample, upsampling_note
from auscult.errors import UserError


def read_at(path: str | Path, sample_rate: int) -> tuple[NDArray[np.float32], list[str]]:
    """Return a file's samples (time,) at a rate, the mean of its channels, and notes for the user.

    Raises:
        AudioError: the file cannot be read.
    """
    samples, found = read_audio(path)
    note = upsampling_note(found, sample_rate)
    return resample(samples, found, sample_rate), [] if note is None else [f"{path}: {note}"]


def check_length(samples: int, shortest: int, sample_rate: int, name: str | Path) -> None:
    """Refuse audio that is too short for a model.

    Args:
        samples: how many there are.
        shortest: how many the model needs.
        sample_rate: of both, in hertz.
        name: of the recording, for the message.

    Raises:
        UserError: says how long it would have to be.
    """
    if samples < shortest:
        raise UserError(
            f"{name}: {samples / sample_rate:.3f} s of audio, the model needs at least {shortest / sample_rate:.3f} s; "
            "give a longer recording"
        )
