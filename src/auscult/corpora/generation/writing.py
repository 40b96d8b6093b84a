"""Mixtures as files: names, 16-bit samples and the row of the table.

The layout is that of PolSESS, so that code written for it reads what is made here: a folder per layer, ids of 16 letters and digits, a
table of 34 columns. Ids are hashes of seed, split, index and role, where the original draws them from the operating system: the same
settings give the same bytes. Starts and ends count samples of the original recording at its own rate, from 0, the end excluded; where
recordings were joined, samples of what they make together. The three columns of the scene's level hold what was drawn, what brings the
scene to the level of the speech, both in dB, and the factor that both make. Columns of rooms are empty outdoors, and the drawn cut-off is
kept where the rate cannot hold it.

The table has no column for the speaker, and paths need not show him, so `speakers.csv` beside the splits does.
"""

from __future__ import annotations

import csv
import hashlib
import io
import wave
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from auscult.corpora.generation.mixing import STEPS, Mixture, quantised
from auscult.corpora.polsess_columns import COLUMNS, FOLDER_OF_COLUMN, FOLDERS

ALPHABET = "0123456789abcdefghijklmnopqrstuvwxyz"
ID_LENGTH = 16
COLUMN_OF_LAYER = {
    "speaker1": "speaker1File",
    "speaker2": "speaker2File",
    "scene": "sceneFile",
    "event": "eventFile",
    "reverb1": "reverbForSpeaker1",
    "reverb2": "reverbForSpeaker2",
    "event_reverb": "reverbForEvent",
}
COLUMNS_OF_CROP = {"speaker1": "speech1", "speaker2": "speech2", "scene": "scene", "event": "event"}

Cell = str | int | float


@dataclass(frozen=True)
class Written:
    """What is left of a mixture after it was written.

    Attributes:
        row: its 34 cells by column; "" where there is nothing.
        indoor: it has a room.
        same_speaker: both sources are of one speaker.
        speakers: of both sources, by the name in the table.
        redraws: how often it was drawn again, by reason.
        residual: largest difference between the stored mixture and the sum of its stored layers.
    """

    row: dict[str, Cell]
    indoor: bool
    same_speaker: bool
    speakers: dict[str, str]
    redraws: dict[str, int]
    residual: float


def file_id(seed: int, split: str, index: int, role: str) -> str:
    """Return 16 letters and digits that no other seed, split, index or role has (36**16 is 2**82).

    >>> file_id(0, "train", 0, "scene") == file_id(0, "train", 1, "scene")
    False
    """
    number = int.from_bytes(hashlib.blake2b(f"{seed}|{split}|{index}|{role}".encode(), digest_size=32).digest(), "big")
    letters = []
    for _ in range(ID_LENGTH):
        number, letter = divmod(number, len(ALPHABET))
        letters.append(ALPHABET[letter])
    return "".join(letters)


def file_names(seed: int, split: str, index: int, indoor: bool) -> dict[str, str]:
    """Return the names of the files of a mixture by column."""
    ids = {role: file_id(seed, split, index, role) for role in ("speaker1", "speaker2", "scene", "event")}
    names = {f"{role}File": f"{one}.wav" for role, one in ids.items()}
    reverb = {"reverbForSpeaker1": f"sp1_{ids['speaker1']}.wav", "reverbForSpeaker2": f"sp2_{ids['speaker2']}.wav"}
    reverb["reverbForEvent"] = f"ev_{ids['event']}.wav"
    mixture = "-".join([*ids.values(), *(["reverb"] if indoor else [])])
    return {**names, **(reverb if indoor else dict.fromkeys(reverb, "")), "mixFile": f"{mixture}.wav"}


def make_folders(root: Path, split: str) -> None:
    """Make the folders of a split."""
    for name in FOLDERS:
        (root / split / name).mkdir(parents=True, exist_ok=True)


def write_mixture(root: Path, split: str, index: int, seed: int, rate: int, mixture: Mixture) -> Written:
    """Write the layers of a mixture and their sum.

    Args:
        root: of the corpus; the folders are there.
        split: of the mixture.
        index: of the mixture within the split.
        seed: of the corpus.
        rate: in hertz.
        mixture: to be written.
    """
    names = file_names(seed, split, index, mixture.room is not None)
    total = quantised(mixture.total)
    difference = total.astype(np.int64)
    for layer, samples in mixture.layers.items():
        column, whole = COLUMN_OF_LAYER[layer], quantised(samples)
        difference -= whole
        write_samples(root / split / FOLDER_OF_COLUMN[column] / names[column], whole, rate)
    write_samples(root / split / FOLDER_OF_COLUMN["mixFile"] / names["mixFile"], total, rate)
    crops = mixture.crops
    return Written(
        row=_row(split, names, mixture),
        indoor=mixture.room is not None,
        same_speaker=mixture.same_speaker,
        speakers={crops[name].label: crops[name].group for name in ("speaker1", "speaker2")},
        redraws=mixture.redraws,
        residual=float(np.abs(difference).max()) / STEPS,
    )


def _row(split: str, names: Mapping[str, str], mixture: Mixture) -> dict[str, Cell]:
    row: dict[str, Cell] = {**dict.fromkeys(COLUMNS, ""), "subset": split, "SSR": mixture.ratio, **names}
    for source, column in COLUMNS_OF_CROP.items():
        crop = mixture.crops[source]
        row |= {f"{column}OryginalPath": crop.label, f"{column}Start": crop.start, f"{column}End": crop.end}
    row |= {"sceneRandomDB": mixture.scene_level, "sceneOffsetDB": mixture.scene_offset, "sceneVolumeGain": mixture.scene_gain}
    row |= {"sceneClass": mixture.crops["scene"].group, "eventClass": mixture.crops["event"].group}
    if mixture.room is not None:
        plate, (first, second, event) = mixture.room.plate, mixture.room.pre_delays
        row |= {"preDelay1": first, "preDelay2": second, "preDelayForEvent": event}
        row |= {"highCut": plate.high_cut, "diffusion": plate.diffusion, "decay": plate.decay, "freqDamp": plate.damping}
    return row


def write_samples(path: Path, samples: NDArray[np.int16], rate: int) -> None:
    """Write one channel of 16-bit samples after a header of 44 bytes: soundfile syncs every file to the disk, which takes longer."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(samples.astype("<i2").tobytes())


def table(columns: Iterable[str], rows: Iterable[Mapping[str, Cell]]) -> bytes:
    """Return a table as CSV."""
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(columns), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()
