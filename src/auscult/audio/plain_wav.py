"""Part of a 16-bit WAV file in two system calls.

Problem: two seconds out of eight are read 64 times a batch, and opening a decoder, looking at the file a second time for a lost tail and
converting sample by sample cost three times the read itself. Choice: most speech lies in WAV files of 16-bit integers, whose samples are
where the header says; their header is read here, with the same check that what it promises is there, and the wanted bytes with it.
Whatever is not exactly that (another encoding, a length that is not stated, a chunk too far from the start, a lost tail, a request outside
the file) is left to `audio/reading.py`, which says what is wrong with it; so this path returns the same bits or nothing.
"""

from __future__ import annotations

import os
import struct

import numpy as np
from numpy.typing import NDArray

HEAD = 4096
"""Bytes in which the samples must begin; only files with a long description before them have more."""
UNSTATED = (0, 0x7FFFFFFF, 0xFFFFFFFF)
"""Sizes that a program writes which does not know the length yet."""
_PCM = 1
_SCALE = np.float32(1 / 32768)  # a power of two: multiplying by it is exact


def read_plain_wav(path: str, start: int, samples: int | None, channel: int | None) -> tuple[NDArray[np.float32], int] | None:
    """Return what `read_audio` would, or None where the file or the request is not plain.

    Args:
        path: of a file that may be anything.
        start: first sample.
        samples: how many, to the end if None.
        channel: counted from 0; None takes the only one.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
    except OSError:
        return None
    try:
        layout = _layout(os.read(descriptor, HEAD), os.fstat(descriptor).st_size)
        if layout is None:
            return None
        rate, channels, begin, total = layout
        count = total - start if samples is None else samples
        if not 0 <= start <= start + count <= total or total == 0 or (channels > 1 if channel is None else not 0 <= channel < channels):
            return None
        os.lseek(descriptor, begin + 2 * channels * start, os.SEEK_SET)
        content = os.read(descriptor, 2 * channels * count)
    except OSError:
        return None
    finally:
        os.close(descriptor)
    if len(content) != 2 * channels * count:
        return None
    values = np.frombuffer(content, dtype="<i2").reshape(count, channels)[:, channel or 0]
    return scaled(values), rate


def scaled(values: NDArray[np.int16]) -> NDArray[np.float32]:
    """Return 16-bit integers, (time,) or (time, channels), as float32 in [-1, 1), exactly.

    >>> scaled(np.array([-32768, 16384], np.int16)).tolist()
    [-1.0, 0.5]
    """
    return np.multiply(values, _SCALE, dtype=np.float32)


def _layout(head: bytes, size: int) -> tuple[int, int, int, int] | None:
    """Return rate, channels, first byte of the samples and samples per channel."""
    if head[:4] != b"RIFF" or head[8:12] != b"WAVE":
        return None
    position, rate, channels = 12, 0, 0
    while position + 8 <= len(head):
        name, length = struct.unpack_from("<4sI", head, position)
        if name == b"fmt " and position + 24 <= len(head):
            code, channels, rate, _, block, bits = struct.unpack_from("<HHIIHH", head, position + 8)
            if (code, bits, block) != (_PCM, 16, 2 * channels):
                return None
        elif name == b"data":
            begin = position + 8
            whole = rate > 0 and channels > 0 and length not in UNSTATED and begin + length <= size
            return (rate, channels, begin, length // (2 * channels)) if whole else None
        position += 8 + length + length % 2
    return None
