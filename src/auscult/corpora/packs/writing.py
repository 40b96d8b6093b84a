"""Write a pack: every recording that the cuts need, decoded once, checked as `prepare` checks.

16-bit files become integers of 16 bits, which is exact; as soon as one recording holds more than that (24 bits, floating point, a lossy
code, another sample rate), all are stored in float32, because rounding somebody's audio is not ours to decide. A pack has one rate:
recordings of several are refused unless a rate is asked for, since a change of rate changes the data.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from auscult.audio.reading import AudioError, probe
from auscult.audio.resampling import resample
from auscult.corpora.base import FileProblem
from auscult.corpora.decoding import Progress, decode
from auscult.corpora.packs.pack import DTYPES, INDEX
from auscult.errors import UserError

if TYPE_CHECKING:
    from lhotse import CutSet, Recording
    from lhotse.cut import MonoCut

EXACT = ("PCM_16", "PCM_S8", "PCM_U8")
"""Encodings whose samples are integers of at most 16 bits."""


@dataclass
class Packing:
    """What `write_pack` found and wrote.

    Attributes:
        stated: what the description says of the pack, and the first line of its index.
        lengths: samples in the pack, by file.
        problems: unusable recordings, by file; they are not in the pack.
    """

    stated: dict[str, Any] = field(default_factory=dict)
    lengths: dict[str, int] = field(default_factory=dict)
    problems: dict[str, FileProblem] = field(default_factory=dict)

    def adapted(self, splits: Mapping[str, CutSet]) -> dict[str, CutSet]:
        """Return the cuts with the rate and length that their recordings have in the pack."""
        from lhotse import CutSet

        return {split: CutSet.from_cuts(self._adapted(cut) for cut in cuts) for split, cuts in splits.items()}

    def _adapted(self, cut: MonoCut) -> MonoCut:
        recording, rate = cut.recording, self.stated["sample_rate"]
        if recording.sampling_rate == rate:
            return cut
        samples = self.lengths[recording.sources[0].source]
        changed = replace(recording, sampling_rate=rate, num_samples=samples, duration=samples / rate)
        whole = cut.start == 0 and abs(cut.duration - recording.duration) < 1e-6
        duration = changed.duration if whole else min(cut.duration, changed.duration - cut.start)
        return replace(cut, recording=changed, duration=duration)


def write_pack(splits: Mapping[str, CutSet], folder: Path, rate: int | None = None, progress: Progress | None = None) -> Packing:
    """Decode the recordings of all splits into `audio.int16` (or `audio.float32`) and write its index.

    Args:
        splits: cuts of single recordings in files.
        folder: where to write; half-written files are the caller's to remove.
        rate: sample rate of the pack in hertz; None keeps the one of the recordings.
        progress: called after every recording.

    Raises:
        UserError: cuts that are not plain recordings, several sample rates and no `rate`, or too little space.
        OSError: the files cannot be written.
    """
    wanted = _recordings(cut for cuts in splits.values() for cut in cuts)
    rate = _one_rate(wanted.values()) if rate is None else rate
    reason = _reason_for_float(wanted, rate)
    dtype = np.dtype(DTYPES["int16" if reason is None else "float32"])
    _check_space(wanted.values(), rate, dtype.itemsize, folder)
    packing, rows, digest, offset = Packing(), [], hashlib.sha256(), 0
    name = f"audio.{dtype.name}"
    with (folder / name).open("wb") as file:
        for done, ((path, channel), recording) in enumerate(wanted.items(), start=1):
            samples = decode(path, (recording.sampling_rate, recording.num_samples), channel)
            if isinstance(samples, FileProblem):
                packing.problems[path] = samples
            else:
                samples = resample(samples, recording.sampling_rate, rate)
                content = _stored(samples, dtype).tobytes()
                digest.update(content)
                file.write(content)
                rows.append(
                    {"id": recording.id, "audio": path, "channel": channel, "offset": offset, "samples": len(samples), "bytes": _size(path)}
                )
                packing.lengths[path] = len(samples)
                offset += len(samples)
            if progress is not None:
                progress(done, len(wanted))
        file.flush()
        os.fsync(file.fileno())
    packing.stated = {
        "file": name, "dtype": dtype.name, "sample_rate": rate, "samples": offset, "recordings": len(rows), "sha256": digest.hexdigest(),
    }  # fmt: skip
    if reason is not None:
        packing.stated["float32_because"] = reason
    _write_lines(folder / INDEX, [packing.stated, *rows])
    return packing


def _recordings(cuts: Iterable[MonoCut]) -> dict[tuple[str, int], Recording]:
    """Return what has to be decoded, by file and channel, in the order of the cuts."""
    from lhotse.cut import MonoCut

    wanted: dict[tuple[str, int], Recording] = {}
    for cut in cuts:
        recording = cut.recording if isinstance(cut, MonoCut) else None
        if recording is None or recording.transforms or len(recording.sources) != 1 or recording.sources[0].type != "file":
            raise UserError(
                f'cut "{cut.id}" is not of one audio file as it is (a mixture is not), which is all a pack can hold; '
                "save its audio first, or leave --pack out"
            )
        wanted.setdefault((str(recording.sources[0].source), cut.channel), recording)
    return wanted


def _one_rate(recordings: Iterable[Recording]) -> int:
    rates = {recording.sampling_rate: recording.id for recording in recordings}
    if len(rates) > 1:
        (low, first), *_, (high, last) = sorted(rates.items())
        raise UserError(
            f'the recordings have {len(rates)} sample rates, from {low} Hz ("{first}") to {high} Hz ("{last}"), and a pack has one; '
            f"say --pack-rate {low} to have them resampled once, or leave --pack out"
        )
    (rate,) = rates
    return int(rate)


def _reason_for_float(wanted: Mapping[tuple[str, int], Recording], rate: int) -> str | None:
    """Say why integers of 16 bits are not enough, None if they are."""
    for (path, _), recording in wanted.items():
        if recording.sampling_rate != rate:
            return f"{path} is resampled from {recording.sampling_rate} to {rate} Hz"
        try:
            encoding = probe(path).subtype
        except AudioError:
            continue  # decoding will name it
        if encoding not in EXACT:
            return f"{path} is stored as {encoding}, which 16 bits cannot hold"
    return None


def _check_space(recordings: Iterable[Recording], rate: int, itemsize: int, folder: Path) -> None:
    needed = sum(round(recording.num_samples * rate / recording.sampling_rate) for recording in recordings) * itemsize
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise UserError(
            f"{folder.parent}: the pack needs {needed / 1e9:.1f} GB and {free / 1e9:.1f} GB are free; free some space, or leave --pack out"
        )


def _stored(samples: NDArray[np.float32], dtype: np.dtype[Any]) -> NDArray[Any]:
    return (samples * np.float32(32768)).astype(dtype) if dtype.kind == "i" else samples.astype(dtype, copy=False)


def _size(path: str) -> int:
    return Path(path).stat().st_size


def _write_lines(path: Path, values: Iterable[Mapping[str, Any]]) -> None:
    with path.open("wb") as file:
        for value in values:
            file.write(json.dumps(value, ensure_ascii=False).encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())
