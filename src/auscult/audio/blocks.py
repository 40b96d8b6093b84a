"""Audio in blocks, at another rate, without ever holding a recording: files of hours, and pipes.

Problem: an hour at 48 kHz is 700 MB as float32, and resampling it needs as much again; a pipe has no length and cannot be wound back,
which libsndfile asks for. Choice: iterators over blocks of one channel; files through soundfile with the checks of `audio/reading.py`,
pipes through a parser of the few bytes a WAV file begins with, or as bare 16-bit integers; the rate is changed by soxr's streaming
resampler, whose result has the same bits as that of the whole recording, whatever the blocks. Rejected: ffmpeg as a process (a second
program to install).
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from auscult.audio.plain_wav import UNSTATED, scaled
from auscult.audio.reading import AudioError, probe
from auscult.errors import UserError

BLOCK = 65_536
"""Samples per channel read at a time."""
_FORMATS = {(1, 16): ("<i2", 2.0**-15), (1, 32): ("<i4", 2.0**-31), (3, 32): ("<f4", 1.0), (3, 64): ("<f8", 1.0)}
"""NumPy type and scale of the encodings a pipe may have, by WAV's format code and bits."""
_EXTENSIBLE = 0xFFFE


@dataclass(frozen=True)
class PipeFormat:
    """What the samples of a pipe are.

    Attributes:
        sample_rate: in hertz.
        channels: interleaved.
        code: WAV's format: 1 integers, 3 floating point.
        bits: per sample.
        length: bytes of samples, None to the end of the pipe.
    """

    sample_rate: int
    channels: int = 1
    code: int = 1
    bits: int = 16
    length: int | None = None


def file_blocks(path: Path | str, block: int = BLOCK) -> Iterator[NDArray[np.float32]]:
    """Yield a file's samples (time,), the mean of its channels, a block at a time.

    Raises:
        AudioError: missing, unreadable, empty, truncated or not finite, when the place is reached.
    """
    info = probe(path)
    read = 0
    try:
        with soundfile.SoundFile(info.path) as sound:
            while len(values := sound.read(block, dtype="float32", always_2d=True)):
                samples = _one_channel(values)
                if not np.isfinite(samples).all():
                    bad = read + int((~np.isfinite(samples)).argmax())
                    raise AudioError(info.path, "non_finite", f"sample {bad} is NaN or infinite; write the file again from its source")
                read += len(samples)
                yield samples
    except (soundfile.LibsndfileError, OSError) as error:
        detail = f"is damaged somewhere from sample {read} on ({str(error).strip().rstrip('.')}); copy it again from its source"
        raise AudioError(info.path, "unreadable", detail) from error
    if read < info.samples:
        raise AudioError(info.path, "truncated", f"ends after {read} of {info.samples} samples; copy it again from its source")


def read_pipe_header(pipe: BinaryIO) -> PipeFormat:
    """Read what a WAV file begins with, up to its first sample.

    Raises:
        UserError: it is no WAV file, or one of an encoding other than integers of 16 or 32 bits or floating point.
    """
    if (head := pipe.read(12))[:4] != b"RIFF" or head[8:12] != b"WAVE":
        raise UserError("the input is no WAV file; send WAV, or 16-bit samples without a header with --rate HERTZ")
    layout: tuple[int, int, int, int] | None = None
    while len(chunk := pipe.read(8)) == 8:
        name, length = struct.unpack("<4sI", chunk)
        if name == b"data":
            break
        content = pipe.read(length + length % 2)
        if name == b"fmt " and len(content) >= 16:
            code, channels, rate, _, _, bits = struct.unpack_from("<HHIIHH", content)
            layout = struct.unpack_from("<H", content, 24)[0] if code == _EXTENSIBLE and len(content) >= 26 else code, channels, rate, bits
    else:
        raise UserError("the input ends before its first sample; is it whole?")
    if layout is None or layout[1] < 1 or layout[2] < 1 or (layout[0], layout[3]) not in _FORMATS:
        raise UserError(f"a WAV file of format {layout} comes in; expected integers of 16 or 32 bits, or floating point")
    return PipeFormat(layout[2], layout[1], layout[0], layout[3], None if length in UNSTATED else length)


def pipe_blocks(pipe: BinaryIO, layout: PipeFormat, block: int = BLOCK) -> Iterator[NDArray[np.float32]]:
    """Yield the samples (time,) that come through a pipe, the mean of their channels, as soon as they are there.

    Raises:
        UserError: the pipe ends before the length its header states.
    """
    kind, scale = _FORMATS[layout.code, layout.bits]
    step = layout.channels * layout.bits // 8
    left, rest = layout.length, b""
    read = getattr(pipe, "read1", pipe.read)  # what is there, without waiting for a full block
    while left is None or left > 0:
        content = read(block * step if left is None else min(block * step, left))
        if not content:
            break
        left = None if left is None else left - len(content)
        content = rest + content
        whole = len(content) // step * step
        rest = content[whole:]
        if whole:
            values = np.frombuffer(content[:whole], dtype=kind).reshape(-1, layout.channels)
            yield _one_channel(scaled(values) if kind == "<i2" else np.asarray(values * scale, dtype=np.float32))
    if left:
        raise UserError(f"the input ends {left} bytes before the length its header states; is it whole?")


def resampled(blocks: Iterable[NDArray[np.float32]], from_rate: int, to_rate: int) -> Iterator[NDArray[np.float32]]:
    """Yield blocks at another rate; together they have the bits of `resample` of all of it.

    >>> parts = resampled([np.ones(100, np.float32), np.ones(60, np.float32)], 16000, 8000)
    >>> sum(len(part) for part in parts)
    80
    """
    if from_rate == to_rate:
        yield from blocks
        return
    stream = soxr.ResampleStream(from_rate, to_rate, 1, dtype="float32", quality="HQ")
    for samples in blocks:
        if len(found := stream.resample_chunk(samples)):
            yield np.asarray(found)
    if len(found := stream.resample_chunk(np.zeros(0, dtype=np.float32), last=True)):
        yield np.asarray(found)


def _one_channel(values: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.ascontiguousarray(values[:, 0]) if values.shape[1] == 1 else values.mean(axis=1, dtype=np.float32)
