"""All audio of a prepared corpus in one file, and the index that says where each recording lies.

Problem: a training crop is two seconds of a file of eight, and finding, opening and decoding that file takes ten times as long as copying
the samples; a million small files are also slow to list and to move. Choice: `audio.int16` holds the decoded samples of one recording
after the other and nothing else, so a crop is a slice of a memory map, and the page cache is the only cache. `audio.index` has a line
per recording. Integers of 16 bits are what speech corpora publish and come back as the same bits; what they cannot hold is kept in
`audio.float32`. Rejected: a header inside the audio file (a second place for the truth), HDF5 and WebDataset shards (readers of their own,
and shards shuffle only within themselves), storing features (they fix the front-end and are larger).

Index and audio are told apart from those of another preparation by what `corpus.json` says of them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from auscult.audio.plain_wav import scaled
from auscult.errors import UserError

INDEX = "audio.index"
DTYPES = {"int16": "<i2", "float32": "<f4"}
"""Sample formats of a pack, which is called `audio.<format>`, and how NumPy writes them."""


@dataclass(frozen=True)
class Place:
    """Where one channel of a recording lies.

    Attributes:
        offset: of its first sample in the pack.
        samples: how many.
        bytes: size of the file it was decoded from.
    """

    offset: int
    samples: int
    bytes: int


class Pack:
    """The audio file of a pack; every process maps it for itself when it first reads.

    Args:
        path: the file.
        dtype: a key of `DTYPES`.
        samples: how many it must hold.

    Raises:
        UserError: the file is missing or has another size.
    """

    def __init__(self, path: Path, dtype: str, samples: int) -> None:
        self.path, self.dtype, self.samples = path, np.dtype(DTYPES[dtype]), samples
        expected = samples * self.dtype.itemsize
        if not path.is_file():
            raise UserError(f"{path} is missing, and corpus.json says that the audio is there; restore it, or prepare the corpus again")
        status = path.stat()
        if status.st_size != expected:
            raise UserError(
                f"{path} has {status.st_size} bytes, its corpus.json says {expected}; copy it again, or prepare the corpus again"
            )
        self._version = (status.st_size, status.st_mtime_ns)
        self._memory: NDArray[Any] | None = None

    def read(self, offset: int, count: int) -> NDArray[np.float32]:
        """Return (count,) float32, a fresh array.

        Raises:
            UserError: the file has been replaced since the corpus was read.
        """
        if self._memory is None:
            self._memory = self._map()
        stored = self._memory[offset : offset + count]
        return scaled(stored) if stored.dtype == np.int16 else stored.astype(np.float32)

    def _map(self) -> NDArray[Any]:
        status = self.path.stat()
        if (status.st_size, status.st_mtime_ns) != self._version:
            raise UserError(f"{self.path} has changed since its manifests were read; start the command again")
        mapped = np.memmap(self.path, dtype=self.dtype, mode="r") if self.samples else np.zeros(0, self.dtype)
        return mapped.view(np.ndarray)  # slices of a memmap are memmaps, which cost more than the copy

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_memory": None}


def open_pack(folder: Path, stated: Mapping[str, Any]) -> tuple[Pack, dict[tuple[str, int], Place]]:
    """Return the pack of a prepared folder, and the places of its recordings by file and channel.

    Args:
        folder: the folder.
        stated: what its description says of the pack.

    Raises:
        UserError: pack or index are missing, damaged, or not those that the description belongs to.
    """
    index = folder / INDEX
    places: dict[tuple[str, int], Place] = {}
    end, number = 0, 1
    try:
        with index.open("rb") as lines:
            head = json.loads(next(lines))
            if head != stated:
                raise UserError(f"{index} is the index of another pack than corpus.json describes; prepare the corpus again")
            for line in lines:
                number += 1
                row = json.loads(line)
                places[row["audio"], row["channel"]] = place = Place(row["offset"], row["samples"], row["bytes"])
                if place.offset != end or place.samples < 0:
                    raise ValueError(f"its recording starts at sample {place.offset}, the one before ends at {end}")
                end += place.samples
        if (end, len(places)) != (head["samples"], head["recordings"]):
            raise ValueError(f"{len(places)} recordings of {end} samples, expected {head['recordings']} of {head['samples']}")
        return Pack(folder / head["file"], head["dtype"], end), places
    except (OSError, StopIteration, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{index}:{number} is no index of a pack ({str(error) or 'empty'}); prepare the corpus again") from error
