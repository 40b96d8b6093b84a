"""The samples of a conversation, whole or a window of it, with the turns they hold.

Problem: training looks at eight seconds of a conversation at a time, and mixing all of it for that wastes most of the work; but a window
that is mixed by itself must be what it would be as a part of the whole, or training and judging hear different audio. Choice:
everything about a simulated conversation is linear and recorded (gain and room per track, place and gain of the noise), so the window
is the sum of the pieces that reach into it, tails of rooms included. Levels were fixed when the conversation was drawn; nothing
is normalised by what happens to be in the window. Recordings of real conversations are read as they are.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np
from lhotse.cut import Cut, MixedCut, MixTrack, MonoCut, PaddingCut
from numpy.typing import NDArray
from scipy.signal import fftconvolve

from auscult.audio.augmentation.reverberation import room_response
from auscult.audio.reading import read_audio
from auscult.audio.resampling import resample
from auscult.data.store import AudioStore
from auscult.data.turns import clipped, turns_of
from auscult.errors import UserError
from auscult.metrics.segments import Turn

FADE_SECONDS = 0.004
"""Length of the ramps at the ends of a piece, which would click where it was cut."""


def mix_conversation(cut: Cut, store: AudioStore, start: int = 0, count: int | None = None) -> tuple[NDArray[np.float32], list[Turn]]:
    """Return the samples of a window and the turns in it.

    Args:
        cut: a recording (MonoCut), or a simulated conversation (`data/conversations.py`).
        store: reads the parts; its sample rate is that of the result.
        start: first sample of the window, at that rate.
        count: samples of the window; None goes to the end.

    Returns:
        (count,) float32, and turns in seconds from the start of the window.

    Raises:
        UserError: the window reaches over the ends of the cut, or a file cannot be read.
    """
    rate = store.sample_rate
    total = round(cut.duration * rate)
    count = total - start if count is None else count
    if start < 0 or count < 1 or start + count > total:
        raise UserError(f"{cut.id}: a window of {count} samples from {start} on does not lie within its {total} samples")
    turns = clipped(turns_of(cut), start / rate, (start + count) / rate)
    if isinstance(cut, MonoCut):
        return store.stretch(cut, start, count), turns
    if not isinstance(cut, MixedCut):
        raise UserError(f"{cut.id}: a {type(cut).__name__} holds no conversation; expected a recording or a simulated conversation")
    mixed = np.zeros(count, dtype=np.float32)
    for track in cut.tracks:
        if isinstance(track.cut, PaddingCut):
            _add_noise(mixed, track.cut, start, rate)
        else:
            _add_piece(mixed, track, start, store)
    return mixed, turns


def _add_piece(mixed: NDArray[np.float32], track: MixTrack, start: int, store: AudioStore) -> None:
    """Add the part of a track that reaches into the window."""
    rate, part = store.sample_rate, track.cut
    custom = part.custom or {}
    response = room_response(Path(custom["room"]), rate) if custom.get("room") else None
    begin = round(track.offset * rate) - start
    longest = round(part.duration * rate) + 1 + (len(response) - 1 if response is not None else 0)
    if begin >= len(mixed) or begin + longest <= 0:
        return
    samples = _faded(store.samples(part), rate) * np.float32(10 ** (custom.get("gain", 0.0) / 20))
    if response is not None:
        samples = np.asarray(fftconvolve(samples, response / np.linalg.norm(response)), np.float32)
    first, last = max(begin, 0), min(begin + len(samples), len(mixed))
    if last > first:
        mixed[first:last] += samples[first - begin : last - begin]


def _faded(samples: NDArray[np.float32], rate: int) -> NDArray[np.float32]:
    length = min(round(FADE_SECONDS * rate), len(samples) // 2)
    ramp = np.arange(1, length + 1, dtype=np.float32) / (length + 1)
    samples[:length] *= ramp
    samples[len(samples) - length :] *= ramp[::-1]
    return samples


def _add_noise(mixed: NDArray[np.float32], padding: PaddingCut, start: int, rate: int) -> None:
    """Add the noise that a conversation names, repeated where its recording is shorter."""
    custom = padding.custom or {}
    if not custom.get("noise"):
        return
    noise = _noise(custom["noise"], rate)
    first = round(custom["noise_start"] * rate) + start
    places = np.arange(first, first + len(mixed)) % len(noise)
    mixed += noise[places] * np.float32(10 ** (custom["noise_gain"] / 20))


@lru_cache(maxsize=16)
def _noise(path: str, rate: int) -> NDArray[np.float32]:
    """Return a whole noise recording; few are in use at a time, and a window may begin anywhere in it."""
    samples, found = read_audio(Path(path))
    noise = resample(samples, found, rate).copy()
    noise.setflags(write=False)
    return noise
