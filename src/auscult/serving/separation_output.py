"""Where separated signals go: a file per speaker, written as they come and in place only when whole, or a pipe.

Problem: the level of separated signals follows the mixture, and where voices cancel each other one of them is louder than the file has
room for; 16-bit files wrap or saturate there, and the peak is known only at the end of a recording that does not fit into memory. Choice:
the samples go to the disk as floating point while they come; at the end they are turned into 16 bits in a second pass, all speakers with
one constant gain, which is 1 unless a sample would be beyond full scale, and is stated. A pipe cannot wait for its end: there, samples
beyond full scale are saturated and counted. Rejected: a limiter (the sum is no longer the mixture), a gain per speaker (loses who is
louder), and dither (the floor of 16 bits is far below any separator's residue).
"""

from __future__ import annotations

import struct
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Literal, Protocol

import numpy as np
import soundfile
from numpy.typing import NDArray

from auscult.errors import UserError
from auscult.runs.files import cannot_write, sync_folder, temporary_name

Encoding = Literal["pcm16", "float32"]
_BLOCK = 65_536
_LOUDEST = 32767 / 32768
_MOST_BYTES = 2**32 - 4096
"""What the header of a WAV file can count."""
_ENDLESS = 0xFFFFFFFF


class Sink(Protocol):
    """Takes separated samples."""

    def write(self, block: NDArray[np.float32]) -> None:
        """Take samples (speakers, time)."""

    def finish(self) -> dict[str, Any]:
        """Say what became of them."""


class SpeakerFiles:
    """`<name>-speaker1.wav` and so on in a folder; a context, whose files appear with `finish` and never otherwise.

    Args:
        folder: made if missing.
        name: of the recording.
        speakers: how many.
        sample_rate: in hertz.
        encoding: "pcm16", or "float32", which needs no gain.
    """

    def __init__(self, folder: Path, name: str, speakers: int, sample_rate: int, encoding: Encoding = "pcm16") -> None:
        self.paths = output_paths(folder, name, speakers)
        self.sample_rate, self.encoding = sample_rate, encoding
        self.peak = 0.0
        self._samples = 0
        self._scratch = temporary_name(Path(folder) / f"{name}-speakers")
        self._temporary = [temporary_name(path) for path in self.paths]

    def __enter__(self) -> SpeakerFiles:
        try:
            self._scratch.parent.mkdir(parents=True, exist_ok=True)
            self._stream = self._scratch.open("xb")
        except OSError as error:
            raise cannot_write(self._scratch.parent, error) from error
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        self._stream.close()
        for path in (self._scratch, *self._temporary):
            path.unlink(missing_ok=True)

    def write(self, block: NDArray[np.float32]) -> None:
        """Add samples (speakers, time).

        Raises:
            UserError: the disk is full or the folder cannot be written.
        """
        if block.size:
            self.peak = max(self.peak, float(np.abs(block).max()))
        self._samples += block.shape[1]
        try:
            self._stream.write(np.ascontiguousarray(block.T, dtype="<f4").tobytes())
        except OSError as error:
            raise cannot_write(self._scratch, error) from error

    def finish(self) -> dict[str, Any]:
        """Put the files in place.

        Returns:
            `outputs`, their paths, and `gain`, by which all of them were multiplied.

        Raises:
            UserError: as `write`, or a file would be larger than WAV allows.
        """
        if self._samples * (2 if self.encoding == "pcm16" else 4) > _MOST_BYTES:
            raise UserError(f"{self.paths[0]}: would be larger than the 4 GB of a WAV file; separate the recording in parts")
        gain = 1.0 if self.encoding == "float32" or self.peak <= _LOUDEST else _LOUDEST / self.peak
        try:
            self._stream.flush()
            self._convert(gain)
            for temporary, path in zip(self._temporary, self.paths, strict=True):
                temporary.replace(path)
            sync_folder(self.paths[0].parent)
        except (OSError, soundfile.LibsndfileError) as error:
            raise cannot_write(self.paths[0], error if isinstance(error, OSError) else OSError(str(error))) from error
        return {"outputs": [str(path) for path in self.paths], "gain": gain}

    def _convert(self, gain: float) -> None:
        kind, subtype = ("int16", "PCM_16") if self.encoding == "pcm16" else ("float32", "FLOAT")
        for speaker, temporary in enumerate(self._temporary):
            with (
                self._scratch.open("rb") as source,
                soundfile.SoundFile(temporary, "w", self.sample_rate, 1, subtype, format="WAV") as target,
            ):
                while len(values := np.frombuffer(source.read(_BLOCK * 4 * len(self.paths)), dtype="<f4").reshape(-1, len(self.paths))):
                    chosen = values[:, speaker]
                    target.write(chosen.astype(kind) if subtype == "FLOAT" else to_integers(chosen * np.float32(gain))[0])


class SpeakerPipe:
    """A pipe that carries one channel per speaker, interleaved, as 16-bit integers; WAV of unstated length, or bare.

    Args:
        pipe: binary stream.
        speakers: how many.
        sample_rate: in hertz.
        bare: write no header.
    """

    def __init__(self, pipe: BinaryIO, speakers: int, sample_rate: int, bare: bool) -> None:
        self.pipe, self.saturated = pipe, 0
        if not bare:
            layout = struct.pack("<HHIIHH", 1, speakers, sample_rate, sample_rate * speakers * 2, speakers * 2, 16)
            header = struct.pack("<4sI4s4sI", b"RIFF", _ENDLESS, b"WAVE", b"fmt ", len(layout))
            pipe.write(header + layout + struct.pack("<4sI", b"data", _ENDLESS))

    def write(self, block: NDArray[np.float32]) -> None:
        """Send samples (speakers, time) on at once."""
        values, beyond = to_integers(block.T)
        self.saturated += beyond
        self.pipe.write(values.tobytes())
        self.pipe.flush()

    def finish(self) -> dict[str, Any]:
        """Return `outputs`, "-", and `saturated`, the number of samples that were beyond full scale."""
        return {"outputs": ["-"], "saturated": self.saturated}


def output_paths(folder: Path, name: str, speakers: int) -> list[Path]:
    """Return the files of a recording's speakers.

    >>> [path.name for path in output_paths(Path("out"), "talk", 2)]
    ['talk-speaker1.wav', 'talk-speaker2.wav']
    """
    return [Path(folder) / f"{name}-speaker{place + 1}.wav" for place in range(speakers)]


def to_integers(samples: NDArray[np.float32]) -> tuple[NDArray[np.int16], int]:
    """Return samples as little-endian 16-bit integers, rounded, and how many were beyond full scale and are saturated.

    >>> values, beyond = to_integers(np.array([0.5, -1.0, 1.5], np.float32))
    >>> values.tolist(), beyond
    ([16384, -32768, 32767], 1)
    """
    scaled = np.rint(samples * np.float32(32768))
    beyond = int(((scaled > 32767) | (scaled < -32768)).sum())
    return np.clip(scaled, -32768, 32767).astype("<i2"), beyond
