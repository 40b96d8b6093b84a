"""A PolSESS corpus in a second: mixtures with layers, for tests and for looking at the format.

Signals are small but have what matters: two voices of different pitch that come and go, a scene under everything, an event somewhere,
and for indoor rows a fully wet tail of each. Layers and mixture are rounded to 16 bits one by one, as real ones are, so the mixture is the
sum of its layers only up to half a bit per file. Same `content`, same samples: a copy is planted by writing a row twice.
"""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from auscult.corpora.polsess import LAYERS
from auscult.corpora.polsess_columns import COLUMNS, FOLDER_OF_COLUMN, FOLDERS, table_name

SAMPLE_RATE = 8000
READERS = ("6892", "1889", "2156", "3283", "4174", "5108", "6057", "7001")
"""Names of readers as MLS has them, which the toy corpus gives to its splits in turn."""
FULL_SCALE = 32768


@dataclass(frozen=True)
class ToyMixture:
    """A row of a toy corpus.

    Attributes:
        split: its folder.
        indoor: whether it has reverberation.
        speakers: names of two readers; the same twice is a mixture nobody can separate.
        scene: name of the recording the scene was cut from.
        content: two rows of one number hold the same samples under other names.
        ratio: decibels by which the first source is louder.
    """

    split: str = "train"
    indoor: bool = False
    speakers: tuple[str, str] = ("6892", "1889")
    scene: str = "park-0.wav"
    content: int = 0
    ratio: int = 0


def toy_mixtures(split: str, count: int, readers: Sequence[str] = READERS, first: int = 0) -> list[ToyMixture]:
    """Return rows that are as they should be: indoor and outdoor in an irregular order, different readers, a scene for each.

    Args:
        split: their folder.
        count: how many.
        readers: at least two, who speak equally often.
        first: number of the first row; rows of other numbers have other content.
    """
    pairs = [
        (one, other) for step in range(1, len(readers)) for one, other in zip(readers, (*readers[step:], *readers[:step]), strict=True)
    ]
    return [
        ToyMixture(
            split,
            indoor=bool((number * 7 // 5 + number // 3) % 2),
            speakers=pairs[number % len(pairs)],
            scene=f"{split}-scene-{number}.wav",
            content=first + number,
            ratio=number % 11 - 5,
        )
        for number in range(count)
    ]


def toy_splits(train: int = 8, judged: int = 4) -> list[ToyMixture]:
    """Return rows of three splits that share no reader, no scene and no content."""
    return [
        *toy_mixtures("train", train, READERS[:4]),
        *toy_mixtures("val", judged, READERS[4:6], 10_000),
        *toy_mixtures("test", judged, READERS[6:], 20_000),
    ]


def write_polsess(
    folder: Path,
    rows: Iterable[ToyMixture] | None = None,
    sample_rate: int = SAMPLE_RATE,
    seconds: float = 0.5,
    delimiter: str = ",",
) -> Path:
    """Write a corpus as PolSESS lies on disk, and return its folder.

    Args:
        folder: where; its name is part of the tables' names.
        rows: `toy_splits()` if None.
        sample_rate: of all files, hertz.
        seconds: length of all files.
        delimiter: of the tables.
    """
    by_split: dict[str, list[dict[str, object]]] = {}
    for row in toy_splits() if rows is None else rows:
        members = by_split.setdefault(row.split, [])
        members.append(_write(folder / row.split, row, len(members), sample_rate, seconds))
    for split, members in by_split.items():
        with (folder / split / table_name(folder.name, split)).open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, COLUMNS, delimiter=delimiter, restval="")
            writer.writeheader()
            writer.writerows(members)
    return folder


def toy_layers(row: ToyMixture, sample_rate: int = SAMPLE_RATE, seconds: float = 0.5) -> dict[str, NDArray[np.float64]]:
    """Return the layers of a row by name, (time,) each, before they are rounded."""
    samples = round(sample_rate * seconds)
    random = np.random.default_rng([row.content, row.indoor])
    first, second = (_voice(name, samples, sample_rate, random) for name in row.speakers)
    second *= np.linalg.norm(first) / np.linalg.norm(second) / 10 ** (row.ratio / 20)
    scene = np.convolve(random.normal(size=samples + 7), np.ones(8) / 8, "valid")
    scene *= 0.4 * np.std(first) / np.std(scene)
    time = np.arange(samples) / sample_rate
    begin = random.uniform(0, 0.6 * seconds)
    event = 0.1 * np.sin(2 * np.pi * random.uniform(600, 3000) * time) * np.exp(-20 * np.maximum(time - begin, 0)) * (time >= begin)
    layers = {"source1": first, "source2": second, "scene": scene, "event": event}
    if row.indoor:
        delay = round(0.004 * sample_rate)
        tail = random.normal(size=round(0.08 * sample_rate)) * np.exp(-np.arange(round(0.08 * sample_rate)) / (0.02 * sample_rate))
        tail = np.concatenate([np.zeros(delay), 0.5 * tail / np.linalg.norm(tail)])
        layers |= {
            name: np.convolve(layers[dry], tail)[:samples]
            for name, dry in (("reverb1", "source1"), ("reverb2", "source2"), ("event_reverb", "event"))
        }
    loudest = float(np.abs(sum(layers.values())).max())
    return {name: layer * min(1.0, 0.9 / loudest) for name, layer in layers.items()}


def _voice(name: str, samples: int, sample_rate: int, random: np.random.Generator) -> NDArray[np.float64]:
    """Return harmonics of a pitch that belongs to the name, in syllables, (time,)."""
    time = np.arange(samples) / sample_rate
    pitch = 90 + int.from_bytes(hashlib.blake2b(name.encode(), digest_size=2).digest(), "big") % 160
    glide = 2 * np.pi * pitch * (time + 0.02 * np.sin(2 * np.pi * random.uniform(1, 3) * time + random.uniform(0, 6)))
    voiced = sum(np.sin(number * glide + random.uniform(0, 6)) / number for number in range(1, 9))
    syllables = np.clip(np.sin(2 * np.pi * (4 * time + random.random())), 0.05, None)
    return np.asarray(0.08 * voiced * syllables)


def _write(folder: Path, row: ToyMixture, number: int, sample_rate: int, seconds: float) -> dict[str, object]:
    """Write the files of a row and return its line of the table."""
    import soundfile

    layers = toy_layers(row, sample_rate, seconds)
    names = {name: _identity(row.split, number, "reverb" if "reverb" in name else name) for name in layers}
    line: dict[str, object] = {LAYERS[name]: f"{one}.wav" for name, one in names.items()}
    parts = [names[name] for name in ("source1", "source2", "scene", "event", "reverb1") if name in names]
    line["mixFile"] = "-".join(parts) + ".wav"
    if row.indoor:
        line |= {f"reverbForSpeaker{place}": f"sp{place}_{parts[-1]}.wav" for place in (1, 2)}
        line |= {"reverbForEvent": f"ev_{parts[-1]}.wav", "preDelay1": 0.02, "preDelay2": 0.018, "preDelayForEvent": 0.03}
        line |= {"highCut": 16000, "diffusion": 0.5, "decay": 0.9, "freqDamp": 0.4}
    for one in FOLDERS:
        (folder / one).mkdir(parents=True, exist_ok=True)
    for column, samples in [(LAYERS[name], layer) for name, layer in layers.items()] + [("mixFile", np.sum(list(layers.values()), axis=0))]:
        stored = np.clip(np.rint(samples * FULL_SCALE), -FULL_SCALE, FULL_SCALE - 1).astype(np.int16)
        soundfile.write(folder / FOLDER_OF_COLUMN[column] / str(line[column]), stored, sample_rate, subtype="PCM_16")
    speech = [f"/korpusy/mls_polish/{row.split}/audio/{one}/10350/{one}_10350_{number:06d}.flac" for one in row.speakers]
    line |= {"subset": row.split, "speech1OryginalPath": speech[0], "speech2OryginalPath": speech[1], "SSR": row.ratio}
    line |= {"sceneOryginalPath": f"/korpusy/TAU/{row.scene}", "eventOryginalPath": f"/korpusy/FSD50K/{row.split}/{row.content}.wav"}
    line |= {
        f"{one}{end}": 1 if end == "Start" else len(stored) for one in ("speech1", "speech2", "scene", "event") for end in ("Start", "End")
    }
    line |= {"sceneRandomDB": 6.0, "sceneOffsetDB": -8.0, "sceneVolumeGain": 0.4, "eventClass": "Dog_bark"}
    return line | {"sceneClass": "home" if row.indoor else "park"}


def _identity(split: str, number: int, role: str) -> str:
    """Return 16 characters, as the files of the corpus are called."""
    return hashlib.blake2b(f"{split}/{number}/{role}".encode(), digest_size=8).hexdigest()
