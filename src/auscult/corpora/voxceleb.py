"""VoxCeleb 1 and 2: `<speaker>/<video>/<number>.wav` below whatever folders the downloads were unpacked into.

Problem: the corpus has no single layout. VoxCeleb1 unpacks to `dev/wav` and `test/wav`, VoxCeleb2 to `dev/aac` with .m4a files, and
most people have `wav` or the speakers alone. Choice: the folders of speakers are looked for in the places that occur, VoxCeleb1 and 2
are told apart by the speakers' numbers (id1.... and id0....), and the id of an utterance is its path without suffix, so that official
trial lists match without a table. Rejected: lhotse's recipe, which puts the VoxCeleb1 *test* speakers into training.

Cost: listing takes 9 us a file (`os.scandir`, no `stat`), of 90 us with header and cut: 100 s of one processor for the 1.09 million of
VoxCeleb2. Prepared manifests take 80 us and open no recording, which counts on disks that seek and on networks. Lists:
https://www.robots.ox.ac.uk/~vgg/data/voxceleb/.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from shlex import quote
from typing import Annotated, Literal

from pydantic import Field

from auscult.corpora.base import AUDIO_SUFFIXES, Corpus, FileProblem, Utterance, resolve
from auscult.errors import UserError, did_you_mean
from auscult.metrics.trial_lines import LABELS, read_lines
from auscult.registry import register

Part = Literal["vox1_dev", "vox1_test", "vox2_dev", "vox2_test", "all"]
SPEAKER = re.compile(r"id\d{5}")
DOWNLOADS = ("", "voxceleb1", "voxceleb2", "VoxCeleb1", "VoxCeleb2", "vox1", "vox2")
PLACES = (
    ("", "all"),
    ("wav", "all"),
    ("aac", "all"),
    *((f"{part}{inner}", part) for part in ("dev", "test") for inner in ("", "/wav", "/aac")),
)
"""Where folders of speakers lie below a download, and the part they are."""


@register("corpus", "voxceleb")
class VoxCeleb(Corpus):
    """Celebrities in interviews; splits "vox1_dev", "vox1_test", "vox2_dev", "vox2_test", or "all" where the layout does not tell.

    `custom` holds `session`, the video: utterances of one video share microphone, room and day.

    Args:
        source: folder that holds `voxceleb1` and `voxceleb2`, one of them, a `wav` folder, or the speakers.
        parts: only these splits are read; null reads what is there.
        train_list: file with lines `id00012 id00012/21Uxsk56VDQ/00001.wav`; what it names becomes the split "train".
        trials: trial lists, `1 id10270/x/00001.wav id10270/y/00008.wav` a line; `auscult prepare` checks and copies them.
        error_budget: number of unusable files that may be left out.
    """

    name = "voxceleb"

    def __init__(
        self,
        source: str,
        parts: list[Part] | None = None,
        train_list: str | None = None,
        trials: list[str] = [],  # noqa: B006 (the recipe's default must be a plain list; it is copied)
        error_budget: Annotated[int, Field(ge=0)] = 0,
    ) -> None:
        super().__init__()
        self.source = source
        self.parts = parts
        self.train_list = train_list
        self.trials = list(trials)
        self.error_budget = error_budget
        names = [Path(one).name for one in self.trials]
        if len(set(names)) < len(names):
            raise UserError(f"voxceleb: two trial lists have the same file name ({', '.join(sorted(names))}); rename one")

    def utterances(self) -> Iterable[Utterance]:
        """Yield the recordings in the order of split, speaker, video and number.

        Raises:
            UserError: no speakers, only .m4a files, a part that is not there, or a list with a line that is not as described.
        """
        root = resolve(self.source)
        found = self._found(root)
        listed = {} if self.train_list is None else read_train_list(resolve(self.train_list))
        known = {identity for rows in found.values() for identity, _ in rows}
        for identity, line in listed.items():
            if identity not in known:
                detail = f"{self.train_list}, line {line}, names {identity}, which is not in {root}"
                self.problems.append(FileProblem(root / identity, "missing", detail))
        for trial_list in self.trials:
            check_trials(resolve(trial_list), known)
        for split, rows in found.items():
            for identity, path in rows:
                speaker, video, _ = identity.split("/")
                yield Utterance(identity, path, "train" if identity in listed else split, speaker=speaker, custom={"session": video})

    def attachments(self) -> Mapping[str, Path]:
        """Return the trial lists by file name."""
        paths = [resolve(one) for one in self.trials]
        return {path.name: path for path in paths}

    def _found(self, root: Path) -> dict[str, list[tuple[str, Path]]]:
        """Return (id, path) by split."""
        found: dict[str, list[tuple[str, Path]]] = {}
        compressed: list[Path] = []
        for folder, part in _speaker_folders(root):
            for speaker in _names(folder, SPEAKER):
                split = part if part == "all" else f"vox{1 if speaker[2] == '1' else 2}_{part}"
                if self.parts is None or split in self.parts:
                    rows, left = _recordings(folder, speaker)
                    found.setdefault(split, []).extend(rows)
                    compressed += left
        known = {identity for rows in found.values() for identity, _ in rows}
        compressed = [path for path in compressed if "/".join((*path.parts[-3:-1], path.stem)) not in known]  # converted to elsewhere
        if compressed and not known:
            folder = compressed[0].parents[2]
            raise UserError(
                f"{folder} holds .m4a files, which are not read; convert them once, for example with: "
                f"find {quote(str(folder))} -name '*.m4a' "
                '-exec sh -c \'ffmpeg -nostdin -v error -i "$1" -ac 1 -ar 16000 "${1%.m4a}.wav"\' _ {} \\;'
            )
        self.problems += [FileProblem(path, "unreadable", f"{path} is AAC; convert it to .wav as the others") for path in compressed]
        absent = [part for part in self.parts or () if not found.get(part)]
        if absent or not found:
            wanted = (
                f"{', '.join(absent)} in {root}" if absent else f"<speaker>/<video>/<number>.wav below {root}, nor in dev/wav or test/wav"
            )
            raise UserError(
                f"voxceleb: found no {wanted}; give the folder that holds voxceleb1 and voxceleb2, a wav folder, or the speakers"
            )
        return {split: rows for split, rows in sorted(found.items()) if rows}


def _speaker_folders(root: Path) -> Iterator[tuple[Path, str]]:
    """Yield each folder that holds speakers, and "dev", "test" or "all"."""
    seen: list[Path] = []
    for download in DOWNLOADS:
        for place, part in PLACES:
            folder = root / download / place
            if not any(_names(folder, SPEAKER)) or any(folder.samefile(other) for other in seen):
                continue  # samefile: VoxCeleb1 and voxceleb1 are one folder where the file system ignores case
            seen.append(folder)
            yield folder, part


def _names(folder: Path, pattern: re.Pattern[str] | None = None) -> list[str]:
    """Return the sorted names of the folders in a folder that match; none if it does not exist."""
    entries = _entries(folder) if folder.is_dir() else ()
    return sorted(one.name for one in entries if (pattern is None or pattern.fullmatch(one.name)) and one.is_dir())


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except OSError as error:
        raise UserError(f"{folder} cannot be listed ({error.strerror}); check its permissions") from error


def _recordings(folder: Path, speaker: str) -> tuple[list[tuple[str, Path]], list[Path]]:
    """Return (id, path) of a speaker's recordings, and the .m4a files that have no readable twin."""
    rows: list[tuple[str, Path]] = []
    compressed: list[Path] = []
    for video in _names(folder / speaker):
        place = folder / speaker / video
        files = sorted((*_stem_and_suffix(one.name), one.name) for one in _entries(place))
        readable = [(stem, name) for stem, suffix, name in files if suffix.lower() in AUDIO_SUFFIXES]
        rows += [(f"{speaker}/{video}/{stem}", place / name) for stem, name in readable]
        stems = {stem for stem, _ in readable}
        compressed += [place / name for stem, suffix, name in files if suffix.lower() == ".m4a" and stem not in stems]
    return rows, compressed


def _stem_and_suffix(name: str) -> tuple[str, str]:
    """Split at the last dot; text operations, because a million `Path`s take seconds."""
    stem, dot, suffix = name.rpartition(".")
    return (stem, dot + suffix) if stem else (name, "")


def read_train_list(path: Path) -> dict[str, int]:
    """Return the utterance ids of a train list and their line numbers.

    Raises:
        UserError: a line is not `<speaker> <speaker>/<video>/<number>.wav`, or names a file again; with the line's number.
    """
    listed: dict[str, int] = {}
    for number, fields in _lines(path):
        identity = _identity(fields[-1])
        if len(fields) != 2 or identity is None or identity.split("/")[0] != fields[0]:
            raise UserError(
                f'{path}, line {number}: "{" ".join(fields)}" is not of the form id00012 id00012/21Uxsk56VDQ/00001.wav, '
                "with the same speaker twice; is it a train list?"
            )
        if identity in listed:
            raise UserError(f"{path}, line {number}: {identity} stands in line {listed[identity]} already; name every file once")
        listed[identity] = number
    return listed


def check_trials(path: Path, known: set[str]) -> None:
    """Check that a trial list names only known utterances; contradictions are found when `auscult.data.trials` reads it for a task.

    Raises:
        UserError: with the number of the first line that is wrong.
    """
    for number, columns in read_lines(path, "trial list"):
        labelled_first = columns[0] in LABELS
        files = columns[1:] if labelled_first else columns[:-1]
        if len(columns) != 3 or not (labelled_first or columns[-1] in LABELS):
            raise UserError(
                f'{path}:{number}: "{" ".join(columns)[:80]}" is no trial; expected 1 or 0 and two files such as '
                "id10270/x6uYqmx31kE/00001.wav"
            )
        for file in files:
            identity = _identity(file)
            if identity is None or identity not in known:
                near = did_you_mean(identity or file, [one for one in known if one.startswith(file.split("/")[0])])
                raise UserError(f"{path}:{number}: the corpus has no utterance {file}{near}; does the list belong to this corpus?")


def _lines(path: Path) -> Iterator[tuple[int, list[str]]]:
    try:
        with path.open(encoding="utf-8-sig") as file:
            for number, line in enumerate(file, start=1):
                if line.strip():
                    yield number, line.split()
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8 text ({error.reason} at byte {error.start}); is it a list?") from error


def _identity(path: str) -> str | None:
    """Return `<speaker>/<video>/<number>` of a listed path; None if it is not one."""
    stem, _ = _stem_and_suffix(path)
    return stem if len(stem.split("/")) == 3 and all(stem.split("/")) else None
