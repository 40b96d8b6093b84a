"""One utterance in one HDF5 file: `waveform`, `transcript`, `duration` and what else is known of it.

Problem: data for gradient reconstruction go round as a folder of such files, and two people who say "attributes" mean different things:
attributes of the file, which HDF5 keeps in its header (at most 64 kB in its older format: two seconds of float samples), or datasets.
None of them states a sample rate. Choice: each field is read from either place, and written to datasets unless attributes are asked for
(in HDF5's newer format, which holds them whatever their size). The rate is written, and where a file has none it is taken from the
caller and **tested against the stated duration**, because samples at a wrong rate are a slower voice that trains without complaint.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from auscult.audio.plain_wav import scaled
from auscult.corpora.base import FileProblem
from auscult.errors import UserError
from auscult.runs.files import write_atomic
from auscult.runs.hdf5 import require_h5py

SUFFIXES = (".h5", ".hdf5", ".hdf")
RATE_KEYS = ("sample_rate", "sampling_rate", "sr")
LARGEST_FIELD = 1000
"""Values of a further field that are kept; longer arrays (samples of segments) are left in the file."""
LOUDEST = 2.0
"""Floating samples beyond this were not scaled to [-1, 1]."""

Value = str | int | float | bool | Sequence[str] | Sequence[int] | Sequence[float]


class UnusableFile(UserError):
    """An HDF5 file that is no usable utterance.

    Attributes:
        problem: what is wrong with it.
    """

    def __init__(self, path: Path, problem: str, detail: str) -> None:
        super().__init__(f"{path} {detail}")
        self.problem = FileProblem(path, problem, str(self))


@dataclass(frozen=True)
class StoredUtterance:
    """What a file holds.

    Attributes:
        samples: (time,) float32, integers scaled to [-1, 1).
        sample_rate: in hertz.
        transcript: as written.
        further: plain values of every other field, such as speaker, segment_text, segment_durations and segment_file_paths.
    """

    samples: NDArray[np.float32]
    sample_rate: int
    transcript: str
    further: dict[str, Any] = field(default_factory=dict)


def bucket_of(seconds: float, width: float = 1.0) -> str:
    """Return the name of the folder of a duration; the upper end is not part of it.

    >>> bucket_of(0.4), bucket_of(1.0), bucket_of(3.99), bucket_of(1.2, width=0.5)
    ('0-1', '1-2', '3-4', '1-1.5')
    """
    number = int(np.floor(seconds / width + 1e-9))
    return f"{number * width:g}-{(number + 1) * width:g}"


def write_utterance(
    path: Path,
    samples: NDArray[Any],
    sample_rate: int,
    transcript: str,
    further: Mapping[str, Value] | None = None,
    layout: Literal["datasets", "attributes"] = "datasets",
) -> None:
    """Write an utterance: waveform, transcript, duration in seconds, sample_rate and further fields; missing folders are made.

    Args:
        path: the file, `<folder>/<bucket>/<name>.h5` in the layout that `hdf5_folder` reads; see `bucket_of`.
        samples: (time,) floating point in [-1, 1], kept as float32, or int16, kept as it is.
        sample_rate: in hertz.
        transcript: what is said.
        further: other fields, such as speaker, segment_text, segment_durations and segment_file_paths.
        layout: keep the fields as "datasets", or as "attributes" of the file.

    Raises:
        MissingExtra: h5py is not installed.
        UserError: samples of another shape, type or size, a further field that has the name of one of the others, or a file that
            cannot be written.
    """
    h5py = require_h5py("writing HDF5 utterances")
    path, values = Path(path), np.asarray(samples)
    _scaled(path, values)
    _rate(path, {"sample_rate": sample_rate}, None)
    fixed = {"waveform": values if values.dtype == np.int16 else values.astype(np.float32), "transcript": transcript}
    fixed |= {"duration": values.size / sample_rate, "sample_rate": sample_rate}
    twice = sorted(set(fixed) & set(further or {}))
    if twice:
        raise UserError(f"{path}: the further field {twice[0]} is written from the other arguments; leave it out")
    stream = io.BytesIO()
    with h5py.File(stream, "w", libver="latest" if layout == "attributes" else None) as file:
        for key, value in {**fixed, **(further or {})}.items():
            stored = list(value) if isinstance(value, tuple) else value
            if layout == "attributes":
                file.attrs[key] = stored
            else:
                file.create_dataset(key, data=stored)
    write_atomic(path, stream.getvalue())


def read_utterance(path: Path, sample_rate: int | None = None) -> StoredUtterance:
    """Read an utterance whose fields are datasets or attributes of the file.

    Args:
        path: the file.
        sample_rate: of a file that states none, in hertz.

    Raises:
        MissingExtra: h5py is not installed.
        UnusableFile: it cannot be read, holds no waveform or no transcript, samples that are none, or a rate that does not go with
            its duration.
    """
    h5py = require_h5py("reading HDF5 utterances")
    try:
        with h5py.File(path, "r") as file:
            fields = {key: value[()] for key, value in file.items() if isinstance(value, h5py.Dataset)} | dict(file.attrs)
    except (OSError, RuntimeError) as error:
        raise UnusableFile(path, "unreadable", f"cannot be read as HDF5 ({error})") from error
    if "waveform" not in fields:
        held = ", ".join(sorted(fields)) or "nothing"
        raise UnusableFile(path, "empty", f'holds no "waveform", as a dataset or an attribute (it holds {held})')
    samples = _scaled(path, np.asarray(fields.pop("waveform")))
    further = {key: value for key, found in fields.items() if (value := _plain(found)) is not None}
    transcript = _transcript(path, further)
    rate = _rate(path, further, sample_rate)
    _check_duration(path, further.pop("duration", None), len(samples), rate)
    return StoredUtterance(samples, rate, transcript, further)


def _scaled(path: Path, values: NDArray[Any]) -> NDArray[np.float32]:
    """Return samples (time,) float32, or say why they are none."""
    if values.ndim == 2 and 1 in values.shape:
        values = values.reshape(-1)
    if values.ndim != 1 or not (values.dtype == np.int16 or values.dtype.kind == "f"):
        held = f"{values.shape} {values.dtype}"
        raise UnusableFile(path, "unreadable", f"has a waveform of {held}; expected (time,) int16, or floating point in [-1, 1]")
    if not len(values):
        raise UnusableFile(path, "empty", "has a waveform without samples")
    if values.dtype == np.int16:
        return scaled(values)
    bad = np.flatnonzero(~np.isfinite(values))
    if len(bad):
        raise UnusableFile(path, "non_finite", f"has a waveform whose sample {bad[0]} is NaN or infinite")
    loudest = float(np.abs(values).max())
    if loudest > LOUDEST:
        raise UnusableFile(path, "mismatch", f"has a waveform that reaches {loudest:g}; divide it by 32768, or store it as int16")
    return values.astype(np.float32)


def _transcript(path: Path, further: dict[str, Any]) -> str:
    """Take the transcript out of the fields, or put it together from the texts of the segments, which stay."""
    found = further.pop("transcript", None)
    if found is None:
        texts = further.get("segment_text")
        found = " ".join(texts) if isinstance(texts, list) and all(isinstance(one, str) for one in texts) else texts
    if isinstance(found, list) and len(found) == 1:
        found = found[0]
    if not isinstance(found, str):
        held = ", ".join(sorted(further)) or "nothing else"
        raise UnusableFile(path, "untranscribed", f'holds no "transcript", as a dataset or an attribute (it holds waveform, {held})')
    return found


def _rate(path: Path, further: dict[str, Any], default: int | None) -> int:
    stated = [further.pop(key) for key in RATE_KEYS if key in further]
    rate = _single(stated[0]) if stated else default
    if rate is None:
        raise UnusableFile(path, "mismatch", "states no sample_rate; say which one the files have")
    if not isinstance(rate, int | float) or rate <= 0 or rate != int(rate):
        raise UnusableFile(path, "mismatch", f"states a sample_rate of {rate!r}; expected hertz")
    return int(rate)


def _check_duration(path: Path, found: Any, samples: int, rate: int) -> None:
    stated = _single(found)
    if stated is None:
        return
    if not isinstance(stated, int | float) or not 0 < stated < float("inf"):
        raise UnusableFile(path, "mismatch", f"states a duration of {stated!r}; expected seconds")
    if abs(stated - samples / rate) > max(0.06, 0.01 * stated):  # what corpora.base allows a manifest
        raise UnusableFile(
            path,
            "mismatch",
            f"holds {samples} samples, {samples / rate:.2f} s at {rate} Hz, and states a duration of {stated:.2f} s; "
            f"is its sample rate {samples / stated:.0f} Hz?",
        )


def _single(value: Any) -> Any:
    return value[0] if isinstance(value, list) and len(value) == 1 else value


def _plain(value: Any) -> Any:
    """Return text, numbers, or lists of them as plain values; None for anything else, and for long arrays."""
    array = np.asarray(value)
    if array.size > LARGEST_FIELD or array.dtype.kind not in "SUObiuf":
        return None
    listed = array.tolist()
    return _text(listed)


def _text(value: Any) -> Any:
    if isinstance(value, list):
        return [_text(one) for one in value]
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return value if isinstance(value, str | int | float | bool) else None
