"""The recordings that mixtures are cut from, and which split each belongs to.

Problem: the catalogue that the original generator reads names files of one machine, shares all its validation scenes with its test scenes
and cuts speakers between splits. Choice: recordings come from any corpus the package reads (speech) and from folders or the computed
library (scenes, events); each is known by a label without the machine's part of its path, and what no folder or corpus has divided is
divided here: speakers as a whole, scenes and events by recording within their class, from the seed alone. Recordings shorter than a
mixture are left out and counted, because zeros at an edge are a cue that no real mixture has.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from os.path import commonpath
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from auscult.audio.reading import probe, read_audio
from auscult.corpora.base import find_recordings, resolve
from auscult.corpora.generation import built_in
from auscult.corpora.generation.settings import GeneratorSettings, RecordingSource
from auscult.errors import UserError
from auscult.streams import Streams

if TYPE_CHECKING:
    from lhotse import CutSet

SPLIT_NAMES = {"train": "train", "val": "val", "validation": "val", "dev": "val", "test": "test"}


@dataclass(frozen=True)
class Recording:
    """A recording to cut from.

    Attributes:
        label: its name in the corpus's table; no path of a machine.
        group: speaker, or class of scene or event.
        path: the file; empty for a computed one.
        sample_rate: in hertz.
        samples: length at that rate.
        start: first sample in the file.
        number: of a computed recording.
        split: of a computed recording.
    """

    label: str
    group: str
    path: str
    sample_rate: int
    samples: int
    start: int = 0
    number: int = 0
    split: str = ""

    def renamed(self, group: str) -> Recording:
        """Return the recording under another spelling of its class."""
        return replace(self, group=group)

    def read(self, kind: str, start: int, count: int) -> NDArray[np.float32]:
        """Return the mean of all channels from a sample on, (count,).

        Raises:
            AudioError: the file cannot be read.
        """
        if self.path:
            return read_audio(self.path, self.start + start, count)[0]
        make = built_in.scene if kind == "scene" else built_in.event
        whole = make(self.group, self.split, self.number, self.samples / self.sample_rate, self.sample_rate)
        return whole[start : start + count].astype(np.float32)


@dataclass(frozen=True)
class Found:
    """Recordings by split, and how many were too short to be used."""

    splits: dict[str, list[Recording]]
    short: int = 0


def find_speech(settings: GeneratorSettings) -> Found:
    """Return the recordings of speakers by split.

    Raises:
        UserError: the corpus holds conversations or recordings without speaker, or its splits do not fit the settings.
    """
    corpus = settings.speech.build()
    found = {name: _speech(cuts, settings.speech.name) for name, cuts in corpus.splits().items()}
    root = _common_folder(one.path for members in found.values() for one in members)
    named = {name: [_labelled(one, root) for one in members] for name, members in found.items()}
    enough = 0 if settings.join_short else settings.seconds
    kept = {name: [one for one in members if one.samples / one.sample_rate >= enough] for name, members in named.items()}
    short = sum(map(len, named.values())) - sum(map(len, kept.values()))
    if not any(kept.values()):
        raise UserError(
            f"speech: all {short} recordings are shorter than {settings.seconds:g} s; set join_short: true to append others of the same "
            "speaker, or lower seconds"
        )
    return Found(_speech_splits(kept, settings), short)


def _speech(cuts: CutSet, corpus: str) -> list[Recording]:
    found = []
    for cut in cuts:
        speakers = sorted({str(one.speaker) for one in cut.supervisions if one.speaker})
        source = cut.recording.sources[0]
        if len(speakers) != 1 or source.type != "file":
            has = f"{len(speakers)} speakers" if source.type == "file" else f'a source of type "{source.type}"'
            raise UserError(f"speech: {corpus}: {cut.id} has {has}; mixtures are made of files of one speaker each")
        rate = cut.recording.sampling_rate
        found.append(Recording(cut.id, speakers[0], str(source.source), rate, round(cut.duration * rate), round(cut.start * rate)))
    return found


def _common_folder(paths: Iterable[str]) -> str:
    folders = sorted({str(Path(path).parent) for path in paths})
    return commonpath(folders) if folders else ""


def _labelled(one: Recording, root: str) -> Recording:
    label = Path(root).name + "/" + Path(one.path).relative_to(root).as_posix()
    where = f"#{one.start}" if one.start else ""
    return replace(one, label=label + where)


def _speech_splits(found: Mapping[str, Sequence[Recording]], settings: GeneratorSettings) -> dict[str, list[Recording]]:
    everything = [one for name in sorted(found) for one in found[name]]
    splits: dict[str, list[Recording]]
    if settings.speech_splits is not None:
        patterns = settings.speech_splits
        splits = {
            split: [one for name in sorted(found) if any(fnmatchcase(name, pattern) for pattern in patterns[split]) for one in found[name]]
            for split in settings.splits
        }
        empty = [split for split in settings.splits if not splits[split]]
        if empty:
            raise UserError(f"speech_splits: {empty[0]}: nothing is chosen; the corpus has the splits {', '.join(sorted(found))}")
    elif set(settings.splits) <= {SPLIT_NAMES.get(name, "") for name, members in found.items() if members}:
        splits = {
            split: [one for name in sorted(found) if SPLIT_NAMES.get(name) == split for one in found[name]] for split in settings.splits
        }
    elif settings.speaker_disjoint:
        owner = divide(sorted({one.group for one in everything}), settings, "speakers", least=1 if settings.same_speaker else 2)
        splits = {split: [one for one in everything if owner[one.group] == split] for split in settings.splits}
    else:
        owner = divide([one.label for one in everything], settings, "speech files", least=2)
        splits = {split: [one for one in everything if owner[one.label] == split] for split in settings.splits}
    if settings.speaker_disjoint:
        _refuse_shared_speakers(splits)
    return splits


def find_recordings_of(kind: str, settings: GeneratorSettings, sources: Sequence[RecordingSource]) -> Found:
    """Return scenes or events by split.

    Args:
        kind: "scene" or "event".
        settings: of the corpus.
        sources: `settings.scenes` or `settings.events`.

    Raises:
        UserError: a folder holds nothing of use, or a split would remain without recordings.
    """
    free: list[Recording] = []
    splits: dict[str, list[Recording]] = {split: [] for split in settings.splits}
    short = 0
    for source in sources:
        for split, one in _computed(kind, source, settings) if source.folder is None else _files(kind, source):
            if one.samples / one.sample_rate < settings.seconds:
                short += 1
            elif split is None:
                free.append(one)
            elif split in splits:
                splits[split].append(one)
    _refuse_repeated([*free, *(one for members in splits.values() for one in members)], kind)
    disjoint = settings.scene_disjoint if kind == "scene" else settings.event_disjoint
    for group in sorted({one.group for one in free}):
        members = [one for one in free if one.group == group]
        owner = divide([one.label for one in members], settings, f"{kind}s of {group}", least=0) if disjoint else {}
        for split in settings.splits:
            splits[split] += [one for one in members if not disjoint or owner[one.label] == split]
    empty = [split for split in settings.splits if not splits[split]]
    if empty:
        left = f" ({short} are shorter than {settings.seconds:g} s)" if short else ""
        raise UserError(
            f"{kind}s: no recordings for {', '.join(empty)}{left}; add a source, such as built_in: 8, or set {kind}_disjoint: false"
        )
    return Found(splits, short)


def _computed(kind: str, source: RecordingSource, settings: GeneratorSettings) -> Iterable[tuple[str | None, Recording]]:
    known: Iterable[str] = built_in.SCENES if kind == "scene" else built_in.EVENTS
    samples = built_in.LENGTHS * settings.samples
    for split in settings.splits:
        for name in source.only or known:
            for number in range(source.built_in or 0):
                label = f"built_in/{kind}/{name}/{split}-{number:04d}"
                yield split, Recording(label, name, "", settings.rate, samples, number=number, split=split)


def _files(kind: str, source: RecordingSource) -> Iterable[tuple[str | None, Recording]]:
    folder = resolve(source.folder or "")
    found = 0
    for path in find_recordings(folder):
        inside = path.relative_to(folder).as_posix()
        place = _place(inside, source)
        if place is None:
            continue
        found += 1
        info = probe(path)
        yield place[0], Recording(f"{folder.name}/{inside}", place[1], str(path), info.sample_rate, info.samples)
    if not found:
        how = "`classes`" if source.classes else "`pattern`" if source.pattern else "<class>/<name> or <split>/<class>/<name>"
        raise UserError(f"{kind}s: {folder} holds no .wav, .flac or .ogg file that fits {how}")


def _place(inside: str, source: RecordingSource) -> tuple[str | None, str] | None:
    """Return split and class of a file, or None where it is not used."""
    if source.classes:
        name = next((name for pattern, name in source.classes.items() if fnmatchcase(inside, pattern)), None)
        return None if name is None else (None, name)
    if source.pattern:
        match = re.search(source.pattern, inside)
        if match is None or not match["class"]:
            return None
        split = match.groupdict().get("split")
        return (SPLIT_NAMES.get(split, split) if split else None), match["class"]
    parts = inside.split("/")[:-1]
    if len(parts) > 1 and parts[0] in SPLIT_NAMES:
        return SPLIT_NAMES[parts[0]], parts[1]
    return (None, parts[0]) if parts else None


def divide(names: Sequence[str], settings: GeneratorSettings, what: str, least: int) -> dict[str, str]:
    """Give each name to one split, by the shares of the settings and the seed.

    Args:
        names: different from one another.
        settings: which splits there are, their shares, and the seed.
        what: is divided; part of the random stream's name, so that further scenes change nothing about the speakers.
        least: names that each split must get.

    Raises:
        UserError: there are too few names.
    """
    if len(names) < least * len(settings.splits):
        raise UserError(f"{len(names)} {what} are too few for {', '.join(settings.splits)}: each needs {least}; ask for fewer splits")
    shares = [settings.shares[split] for split in settings.splits]
    counts = _apportioned(len(names), [share / sum(shares) for share in shares], max(least, 1))
    order = Streams(settings.seed).generator("division", what).permutation(len(names))
    ends = np.cumsum(counts)
    return {names[int(name)]: settings.splits[int(np.searchsorted(ends, place, side="right"))] for place, name in enumerate(order)}


def _apportioned(total: int, shares: Sequence[float], least: int) -> list[int]:
    """Return whole numbers by largest remainder, each at least `least` where the total allows it.

    >>> _apportioned(100, [0.8, 0.1, 0.1], 2), _apportioned(4, [0.8, 0.1, 0.1], 1), _apportioned(2, [0.8, 0.1, 0.1], 1)
    ([80, 10, 10], [2, 1, 1], [1, 1, 0])
    """
    largest_first = sorted(range(len(shares)), key=lambda place: (-shares[place], place))
    if total < least * len(shares):
        return [sum(1 for given in range(total) if largest_first[given % len(shares)] == place) for place in range(len(shares))]
    exact = [share * total for share in shares]
    counts = [max(least, math.floor(value + 1e-9)) for value in exact]
    while sum(counts) != total:
        step = 1 if sum(counts) < total else -1
        able = [place for place in largest_first if step > 0 or counts[place] > least]
        counts[max(able, key=lambda place: step * (exact[place] - counts[place]))] += step
    return counts


def _refuse_shared_speakers(splits: Mapping[str, Sequence[Recording]]) -> None:
    owner: dict[str, str] = {}
    for split, members in splits.items():
        for one in members:
            first = owner.setdefault(one.group, split)
            if first != split:
                raise UserError(f'speaker "{one.group}" is in {first} and in {split}; choose other splits, or set speaker_disjoint: false')


def _refuse_repeated(found: Sequence[Recording], kind: str) -> None:
    seen: set[str] = set()
    for one in found:
        if one.label in seen:
            raise UserError(f'{kind}s: "{one.label}" is named by two sources; name each folder once')
        seen.add(one.label)
