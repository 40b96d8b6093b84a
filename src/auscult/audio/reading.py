"""Reading audio files, and naming what is wrong with the ones that cannot be read.

Problem: one broken file among thousands costs a night. Decoders hide it (libsndfile quietly shortens a truncated WAV, a NaN
in a float file travels into the weights), so a corpus looks fine until the loss does not. Choice: every read checks what the
header promised against what was decoded and every failure is an `AudioError` with one of five problems, so that callers can
count them against an error budget. WAV, FLAC and OGG through soundfile, in NumPy only, so that loader workers need no torch; the WAV
files of 16 bits that most speech lies in by a shorter way (`audio/plain_wav.py`) with the same checks and the same bits.
Rejected: torchaudio (in maintenance), and repairing files silently.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal

import numpy as np
import soundfile
from numpy.typing import NDArray

from auscult.audio.plain_wav import UNSTATED, read_plain_wav, scaled
from auscult.errors import UserError

Problem = Literal["missing", "unreadable", "empty", "truncated", "non_finite"]
PROBLEMS: tuple[Problem, ...] = ("missing", "unreadable", "empty", "truncated", "non_finite")

_UNKNOWN = 2**40
"""A header that claims more samples than this (libsndfile's word for a stream of unknown length) claims nothing."""


class AudioError(UserError):
    """An audio file that cannot be used.

    Attributes:
        path: the file.
        problem: "missing", "unreadable", "empty", "truncated" or "non_finite".
    """

    def __init__(self, path: Path, problem: Problem, detail: str) -> None:
        super().__init__(f"{path}: {detail}")
        self.path = path
        self.problem: Problem = problem


@dataclass(frozen=True)
class AudioInfo:
    """What a header says.

    Attributes:
        path: the file.
        sample_rate: in hertz.
        samples: per channel.
        channels: how many.
        subtype: soundfile's name of the encoding, such as "PCM_16", "FLOAT" or "VORBIS".
    """

    path: Path
    sample_rate: int
    samples: int
    channels: int
    subtype: str

    @property
    def seconds(self) -> float:
        """Duration in seconds."""
        return self.samples / self.sample_rate


def probe(path: Path | str) -> AudioInfo:
    """Read the header of an audio file, without decoding it.

    Raises:
        AudioError: missing, unreadable, empty, or truncated as far as the file's structure shows it.
    """
    with _open(Path(path)) as sound:
        return _info(sound, Path(path))


def read_audio(path: Path | str, start: int = 0, samples: int | None = None, channel: int | None = None) -> tuple[NDArray[np.float32], int]:
    """Decode an audio file, or a part of it.

    Args:
        path: WAV, FLAC or OGG file.
        start: first sample.
        samples: how many samples, to the end if None.
        channel: which channel, counted from 0; the mean of all if None.

    Returns:
        (time,) float32, integer encodings scaled to [-1, 1), and the sample rate in hertz.

    Raises:
        AudioError: missing, unreadable, empty, truncated (fewer samples than the header or the request says) or non-finite.
        UserError: no such channel, or a negative start.
    """
    plain = read_plain_wav(str(path), start, samples, channel)
    if plain is not None:
        return plain
    path = Path(path)
    with _open(path) as sound:
        info = _info(sound, path)
        if channel is not None and not 0 <= channel < info.channels:
            raise UserError(f"{path}: channel {channel} was asked for and the file has {info.channels}, counted from 0")
        if start < 0 or (samples is not None and samples < 0):
            raise UserError(f"{path}: start {start} and samples {samples} must not be negative")
        wanted = info.samples - start if samples is None else samples
        if start + wanted > info.samples or wanted < 0:
            raise AudioError(
                path, "truncated", f"has {info.samples} samples, {start} to {start + max(wanted, 0)} were asked for; is it the right file?"
            )
        decoded = _decode(sound, path, start, wanted, info.subtype)
    if len(decoded) < wanted:
        raise AudioError(path, "truncated", f"ends after {start + len(decoded)} of {start + wanted} samples; copy it again from its source")
    if not np.isfinite(decoded).all():
        bad = int((~np.isfinite(decoded)).any(axis=1).argmax())
        raise AudioError(path, "non_finite", f"sample {start + bad} is NaN or infinite; write the file again from its source")
    if channel is not None:
        return np.ascontiguousarray(decoded[:, channel]), info.sample_rate
    return decoded[:, 0] if info.channels == 1 else decoded.mean(axis=1, dtype=np.float32), info.sample_rate


class _Sound(soundfile.SoundFile):  # type: ignore[misc]
    """A file that is read once from one place.

    soundfile puts a file that can be wound to the place it is at after every read, for which a FLAC decoder decodes a block again.
    """

    def seekable(self) -> bool:
        """Say no; `seek` works all the same."""
        return False


def _open(path: Path) -> soundfile.SoundFile:
    if not path.is_file():
        raise AudioError(path, "missing", "no such file; check the path or the manifest")
    if path.stat().st_size == 0:
        raise AudioError(path, "empty", "the file has no bytes; copy it again from its source")
    try:
        return _Sound(path)
    except (soundfile.LibsndfileError, OSError) as error:
        raise AudioError(path, "unreadable", f"cannot be decoded ({_reason(error)}); expected WAV, FLAC or OGG") from error


def _info(sound: soundfile.SoundFile, path: Path) -> AudioInfo:
    samples = sound.frames
    if not 0 <= samples < _UNKNOWN:
        raise AudioError(path, "unreadable", "its header does not say how long it is (written to a pipe?); encode it again into a file")
    with path.open("rb") as file:
        loss = _structural_loss(file)
    if loss:
        raise AudioError(path, "truncated", f"{loss}; copy it again from its source")
    if samples == 0:
        raise AudioError(path, "empty", "holds no samples; leave it out or record it again")
    return AudioInfo(path, sound.samplerate, samples, sound.channels, sound.subtype)


def _decode(sound: soundfile.SoundFile, path: Path, start: int, samples: int, subtype: str) -> NDArray[np.float32]:
    try:
        if start:
            sound.seek(start)
        if subtype == "PCM_16":  # libsndfile's own conversion to float takes as long as reading
            return scaled(sound.read(samples, dtype="int16", always_2d=True))
        decoded: NDArray[np.float32] = sound.read(samples, dtype="float32", always_2d=True)
    except (soundfile.LibsndfileError, OSError) as error:
        if _has_end(path):
            detail = f"is damaged somewhere from sample {start} on ({_reason(error)})"
            raise AudioError(path, "unreadable", f"{detail}; copy it again from its source") from error
        raise AudioError(path, "truncated", f"breaks off before its end ({_reason(error)}); copy it again from its source") from error
    return decoded


def _has_end(path: Path) -> bool:
    """Whether the last sample can be decoded: a decoder that loses its way says the same of a cut and of a damaged file."""
    try:
        with soundfile.SoundFile(path) as sound:
            sound.seek(sound.frames - 1)
            return len(sound.read(1)) == 1
    except (soundfile.LibsndfileError, OSError):
        return False


def _reason(error: Exception) -> str:
    text = getattr(error, "error_string", None) or str(error)
    return str(text).strip().rstrip(".")


def _structural_loss(file: BinaryIO) -> str | None:
    """Say what is missing at the end of a WAV or OGG file, whose lost tail libsndfile does not report."""
    magic = file.read(4)
    if magic == b"RIFF":
        return _wav_loss(file)
    if magic == b"OggS":
        return _ogg_loss(file)
    return None


def _wav_loss(file: BinaryIO) -> str | None:
    end = file.seek(0, 2)
    position = 12
    while position + 8 <= end:
        file.seek(position)
        name, size = struct.unpack("<4sI", file.read(8))
        if name == b"data":
            present = end - position - 8
            return None if size in UNSTATED or present >= size else f"the header promises {size} bytes of samples and {present} are there"
        position += 8 + size + size % 2
    return None


def _ogg_loss(file: BinaryIO) -> str | None:
    """A whole OGG stream ends with a complete page that carries the end-of-stream flag (RFC 3533, section 6)."""
    end = file.seek(0, 2)
    start = max(0, end - 65_536 - 512)
    file.seek(start)
    tail = file.read()
    page = tail.rfind(b"OggS")
    header = tail[page : page + 27]
    if page < 0 or len(header) < 27:
        return "the last OGG page is cut off"
    segments = tail[page + 27 : page + 27 + header[26]]
    complete = len(segments) == header[26] and page + 27 + header[26] + sum(segments) <= len(tail)
    return None if complete and header[5] & 4 else "the OGG stream has no last page"
