"""Mixtures with their sources in folders side by side: LibriMix, WHAM!, WSJ0-2mix and what is made in their image.

    <split>/mix_clean/ID.wav   <split>/s1/ID.wav   <split>/s2/ID.wav   <split>/noise/ID.wav

Problem: LibriMix holds three mixtures of the same sources (`mix_clean`, `mix_both`, `mix_single`) at two rates and two lengths, so "the
corpus" is one of twelve, and an evaluation on another one than it says is the usual reason why numbers differ. Choice: the folders of
splits must lie side by side, so rate and length are in the path that the recipe names, and where there are several mixtures the recipe
names one. The noise of every mixture but `mix_clean` is its layer "scene", `mix_single` has the first source only; that the mixture is the
sum of its layers is measured by `auscult audit`. A file without counterpart in another folder is a problem that is counted, because
a corpus half of which was copied would otherwise just be smaller.

Speakers stand in the names: `1034-121119-0049_3436-172171-0021` (LibriMix) are readers 1034 and 3436, `011a0101_1.27_20ta0108_-1.27`
(WSJ0: utterance and level in turn) are 011 and 20t. LibriMix: Cosentino et al. 2020, https://github.com/JorisCos/LibriMix.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from auscult.corpora.base import Corpus, FileProblem, Utterance, find_recordings, resolve
from auscult.corpora.folder import read_rows
from auscult.errors import UserError, did_you_mean
from auscult.registry import register

MIXTURES = ("mix", "mix_both", "mix_clean", "mix_single")
SOURCE = re.compile(r"s([1-9])")
NOISE = "noise"
DEPTH = 4
"""How many folders below the source the splits are looked for."""
LIBRISPEECH = re.compile(r"(\d+)-\d+-\d+")
WSJ = re.compile(r"([0-9a-z]{3})[0-9a-z]{5}", re.IGNORECASE)
LEVEL = re.compile(r"-?\d+(\.\d+)?")


@dataclass(frozen=True)
class _Split:
    """A folder with a mixture folder and its sources.

    Attributes:
        folder: it.
        mixture: name of the mixture folder.
        layers: folder of each layer, by the layer's name.
    """

    folder: Path
    mixture: str
    layers: Mapping[str, Path]


@register("corpus", "mixture_folder")
class MixtureFolder(Corpus):
    """Mixtures with a folder for each source; a split for every folder that holds them.

    `custom` holds the speakers, speech_files (the utterances that were mixed), and scene_file where the metadata name it.

    Args:
        source: the folder whose folders are the splits, such as Libri2Mix/wav8k/min, or one split.
        mixture: the folder of the mixtures, such as mix_both; null takes the only one there is.
        speakers_from: "name" reads LibriMix and WSJ0 file names; "metadata" the columns speaker_1_ID, ... of `metadata`; "nowhere" leaves
            the speakers unknown.
        metadata: a CSV of LibriMix, or a folder with such, whose mixture_ID is the name of a mixture.
        error_budget: number of unusable files that may be left out.
    """

    name = "mixture_folder"

    def __init__(
        self,
        source: str,
        mixture: Annotated[str, Field(min_length=1)] | None = None,
        speakers_from: Literal["name", "metadata", "nowhere"] = "name",
        metadata: str | None = None,
        error_budget: Annotated[int, Field(ge=0)] = 0,
    ) -> None:
        super().__init__()
        self.source = source
        self.mixture = mixture
        self.speakers_from = speakers_from
        self.metadata = metadata
        self.error_budget = error_budget
        if speakers_from == "metadata" and metadata is None:
            raise UserError("mixture_folder: speakers_from is metadata, so metadata must name a CSV of LibriMix, or a folder with such")

    def utterances(self) -> Iterable[Utterance]:
        """Yield the mixtures in the order of split and path.

        Raises:
            UserError: no such folders, several mixtures to choose from, or names or metadata that do not say who speaks.
        """
        root = resolve(self.source)
        rows = {} if self.metadata is None else _metadata(resolve(self.metadata))
        for folder in _split_folders(root):
            yield from self._utterances(self._layout(folder), rows)

    def _layout(self, folder: Path) -> _Split:
        names = sorted(one.name for one in folder.iterdir() if one.is_dir())
        found = [name for name in names if name in MIXTURES or name == self.mixture]
        if self.mixture is not None and self.mixture not in names:
            raise UserError(f'{folder} has no folder "{self.mixture}"{did_you_mean(self.mixture, names)}; it has {", ".join(names)}')
        if self.mixture is None and len(found) > 1:
            raise UserError(f"{folder} holds several mixtures ({', '.join(found)}); set mixture to one of them")
        mixture = self.mixture or found[0]
        numbers = [int(match.group(1)) for match in map(SOURCE.fullmatch, names) if match]
        if numbers != list(range(1, len(numbers) + 1)):
            raise UserError(f"{folder} has the sources {', '.join(f's{one}' for one in numbers)}; expected s1, s2 and so on without a gap")
        wanted = numbers[:1] if mixture == "mix_single" else numbers
        layers = {f"source{number}": folder / f"s{number}" for number in wanted}
        if NOISE in names and mixture != "mix_clean":
            layers["scene"] = folder / NOISE
        elif mixture in ("mix_both", "mix_single"):
            raise UserError(f"{folder} has {mixture} and no folder noise, which is part of it; restore it, or set mixture: mix_clean")
        return _Split(folder, mixture, layers)

    def _utterances(self, split: _Split, rows: Mapping[str, Mapping[str, str]]) -> Iterator[Utterance]:
        every = {name: _files(folder) for name, folder in {"mixture": split.folder / split.mixture, **split.layers}.items()}
        mixtures = every.pop("mixture")
        if not mixtures:
            raise UserError(f"{split.folder / split.mixture} holds no .wav, .flac or .ogg file")
        for name, files in every.items():
            strays = [identity for identity in files if identity not in mixtures]
            self.problems += [
                FileProblem(files[one], "missing", f"{files[one]} has no mixture in {split.folder / split.mixture}") for one in strays
            ]
            if len(strays) == len(files):
                raise UserError(
                    f"{split.layers[name]} and {split.folder / split.mixture} have no file name in common; are they one corpus?"
                )
        for identity, path in mixtures.items():
            absent = [split.layers[name] / f"{identity}{path.suffix}" for name, files in every.items() if identity not in files]
            self.problems += [FileProblem(one, "missing", f"{path} needs {one}, which does not exist") for one in absent]
            if not absent:
                sources = sum(name.startswith("source") for name in every)
                custom = self._custom(path, identity, rows.get(identity.rpartition("/")[2]), sources)
                layers = {name: files[identity] for name, files in every.items()}
                yield Utterance(f"{split.folder.name}/{identity}", path, split.folder.name, custom=custom, layers=layers)

    def _custom(self, path: Path, identity: str, row: Mapping[str, str] | None, sources: int) -> dict[str, Any]:
        custom: dict[str, Any] = {}
        heard = _speakers_of_name(identity.rpartition("/")[2])
        if heard is not None and len(heard) >= sources:
            custom["speech_files"] = [utterance for utterance, _ in heard[:sources]]
        if row is not None:
            speech = [row[f"source_{number}_path"] for number in range(1, sources + 1) if row.get(f"source_{number}_path")]
            custom = {"speech_files": speech, **custom} if len(speech) == sources else custom
            custom |= {"scene_file": row["noise_path"]} if row.get("noise_path") else {}
        if self.speakers_from == "name":
            if heard is None or len(heard) < sources:
                raise UserError(
                    f"{path}: the name does not say who speaks, expected <reader>-<chapter>-<number>_... (LibriMix) or "
                    f"<utterance>_<level>_... (WSJ0) for {sources} speakers; set speakers_from to metadata or nowhere"
                )
            custom["speakers"] = [speaker for _, speaker in heard[:sources]]
        elif self.speakers_from == "metadata":
            names = [(row or {}).get(f"speaker_{number}_ID", "") for number in range(1, sources + 1)]
            if not all(names):
                raise UserError(
                    f"{self.metadata} does not name the {sources} speakers of {path}; it needs its mixture_ID and speaker_1_ID, ..."
                )
            custom["speakers"] = names
        return custom


def _split_folders(root: Path) -> list[Path]:
    """Return the folders that hold a mixture and its sources, all side by side, sorted by name."""
    found = []
    for place, names, _ in os.walk(root):
        depth = len(Path(place).relative_to(root).parts)
        if "s1" in names and any(name in MIXTURES or name.startswith("mix") for name in names):
            found.append(Path(place))
            names.clear()
        elif depth >= DEPTH:
            names.clear()
    if not found:
        raise UserError(f"{root} holds no mixtures; expected <split>/mix*/ with <split>/s1/, <split>/s2/ beside it")
    parents = sorted({folder.parent for folder in found})
    if len(parents) > 1:
        listed = ", ".join(str(parent.relative_to(root)) for parent in parents)
        raise UserError(f"{root} holds the splits of several corpora, in {listed}; name one of these folders as source")
    return sorted(found)


def _files(folder: Path) -> dict[str, Path]:
    """Return the recordings below a folder by their path in it without suffix."""
    files: dict[str, Path] = {}
    for path in find_recordings(folder):
        identity = path.relative_to(folder).with_suffix("").as_posix()
        if identity in files:
            raise UserError(f"{files[identity]} and {path} have one name; keep one of them")
        files[identity] = path
    return files


def _speakers_of_name(name: str) -> list[tuple[str, str]] | None:
    """Return (utterance, speaker) of each source that a mixture's name lists; None if it is no such name."""
    parts = name.split("_")
    libri = [LIBRISPEECH.fullmatch(part) for part in parts]
    if all(libri):
        return [(match.group(), match.group(1)) for match in libri if match]
    voices = [WSJ.fullmatch(part) for part in parts[::2]]
    if len(parts) % 2 == 0 and all(voices) and all(LEVEL.fullmatch(part) for part in parts[1::2]):
        return [(match.group(), match.group(1)) for match in voices if match]
    return None


def _metadata(path: Path) -> dict[str, dict[str, str]]:
    """Return what the tables say of each mixture; several tables may say different things of one."""
    tables = [path] if path.is_file() else sorted(path.rglob("*.csv"))
    rows: dict[str, dict[str, str]] = {}
    for table in tables:
        for line, row in read_rows(table):
            if "mixture_ID" not in row:
                if path.is_dir():
                    break  # a folder of metadata holds other tables too
                raise UserError(
                    f"{table}, line {line}: no column mixture_ID{did_you_mean('mixture_ID', row)}; expected metadata of LibriMix"
                )
            rows.setdefault(row["mixture_ID"], {}).update({key: value for key, value in row.items() if value})
    if not rows:
        raise UserError(f"{path} holds no row with a mixture_ID; expected metadata of LibriMix")
    return rows
