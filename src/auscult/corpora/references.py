"""Who spoke when: references of recordings as utterances with turns, and back as RTTM and UEM beside the manifests.

Problem: a reference that is paired with the wrong recording, or with none, gives a score and no message. Choice: every reference finds
its recording and every recording its reference, or the file is a `FileProblem`; names are compared in one Unicode form (NFC), because
macOS writes another one to disk than people type; a field of RTTM ends at a blank, so names with blanks are refused where they are
read. `prepare` writes the references from the supervisions, so that other scorers judge exactly what a model was trained on.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from auscult.corpora.base import FileProblem, Segment, Utterance
from auscult.errors import UserError
from auscult.metrics.rttm import read_rttm, read_uem, rttm_text, uem_text
from auscult.metrics.segments import Turn

if TYPE_CHECKING:
    from lhotse import CutSet


@dataclass(frozen=True)
class References:
    """Turns and evaluated regions by recording (NFC).

    Attributes:
        turns: as read; a recording that only `evaluated` names is one in which nobody speaks.
        evaluated: None where no UEM was given.
        source: where it was read from, for messages.
    """

    turns: Mapping[str, Sequence[Turn]]
    evaluated: Mapping[str, Sequence[tuple[float, float]]] | None
    source: Path
    used: set[str] = field(default_factory=set)

    def utterance(self, name: str, audio: Path, split: str, local_speakers: bool = False) -> Utterance | FileProblem:
        """Return a recording with its turns, or why it has none.

        Args:
            name: of the recording, as the references may have it; becomes the utterance's id.
            audio: absolute path.
            split: name of the split.
            local_speakers: speakers of different recordings are different people although their names are the same ("spk00"); the
                name of the recording is put before theirs.
        """
        name = normal(name)
        self.used.add(name)
        if any(character.isspace() for character in name):
            return FileProblem(audio, "misnamed", f'{audio}: RTTM has no way to write the blank in "{name}"; rename it with underscores')
        if name not in self.turns and name not in (self.evaluated or {}):
            return FileProblem(audio, "untranscribed", f"{audio} has no turns in {self.source}; add its reference or remove it")
        if self.evaluated is not None and name not in self.evaluated:
            return FileProblem(audio, "untranscribed", f"{audio} has turns and no evaluated region; add a line to its UEM")
        prefix = f"{name}/" if local_speakers else ""
        segments = tuple(Segment(one.start, one.end, prefix + one.speaker) for one in self.turns.get(name, ()))
        regions = None if self.evaluated is None else tuple(sorted(self.evaluated[name]))
        return Utterance(id=name, audio=audio, split=split, segments=segments, evaluated=regions)

    def unused(self) -> list[FileProblem]:
        """Return a problem for every recording in the references that no audio was found for."""
        names = sorted({*self.turns, *(self.evaluated or {})} - self.used)
        place = self.source if self.source.is_dir() else self.source.parent
        return [
            FileProblem(place / one, "missing", f'"{one}" has a reference in {self.source} and no audio was found for it') for one in names
        ]


def read_turns(path: Path) -> dict[str, Sequence[Turn]]:
    """Read one RTTM file, or all of a folder, by recording (NFC).

    Raises:
        UserError: the folder holds none, two files describe one recording, or a line cannot be read.
    """
    turns: dict[str, Sequence[Turn]] = {}
    for file in _files(path, ".rttm"):
        _add(turns, read_rttm(file).turns, file)
    return turns


def read_regions(path: Path) -> dict[str, Sequence[tuple[float, float]]]:
    """Read one UEM file, or all of a folder; like `read_turns`."""
    regions: dict[str, Sequence[tuple[float, float]]] = {}
    for file in _files(path, ".uem"):
        _add(regions, read_uem(file), file)
    return regions


def read_beside(folder: Path, suffix: str, read: Callable[[Path], Mapping[str, Any]]) -> dict[str, Any]:
    """Read every file of a suffix below a folder, each of which belongs to the recording of its own name.

    A file with one recording may call it otherwise (plain letters for accents), unless it has the name of another file here.

    Raises:
        UserError: a file describes several recordings and not its own, or one whose name another file has.
    """
    files = sorted(folder.rglob(f"*{suffix}"))
    stems = {normal(file.stem) for file in files}
    found: dict[str, Any] = {}
    for file in files:
        stem, content = normal(file.stem), {normal(name): value for name, value in read(file).items()}
        if stem not in content:
            others = sorted(content)
            if len(others) > 1 or others[0] in stems:
                raise UserError(f'{file} describes "{others[0]}", not "{stem}"; rename the file, or give one reference for all recordings')
            content = {stem: content[others[0]]}
        _add(found, {stem: content[stem]}, file)
    return found


def _files(path: Path, suffix: str) -> list[Path]:
    if not path.is_dir():
        return [path]
    found = sorted(one for one in path.rglob(f"*{suffix}") if one.is_file())
    if not found:
        raise UserError(f"{path} holds no {suffix} file; give the file with the references, or their folder")
    return found


def _add(known: dict[str, Any], new: Mapping[str, Any], path: Path) -> None:
    for name, value in new.items():
        if normal(name) in known:
            raise UserError(f'{path} describes "{name}", which another file describes too; every recording needs exactly one reference')
        known[normal(name)] = value


def normal(name: str) -> str:
    """Return a name in the one Unicode form that names are compared in.

    >>> normal("n\\u0303") == "\\u00f1"
    True
    """
    return unicodedata.normalize("NFC", name)


def check_splits_share_no_speaker(utterances: Iterable[Utterance], corpus: str) -> None:
    """Refuse a speaker who speaks in two splits.

    Raises:
        UserError: names up to three speakers with the recordings.
    """
    first: dict[str, Utterance] = {}
    shared: dict[str, str] = {}
    for one in utterances:
        for speaker in sorted({segment.speaker for segment in one.segments or ()}):
            other = first.setdefault(speaker, one)
            if other.split != one.split:
                shared.setdefault(speaker, f"{speaker} ({other.id} of {other.split}, {one.id} of {one.split})")
    if shared:
        listed = ", ".join(list(shared.values())[:3])
        more = f" and {len(shared) - 3} more" if len(shared) > 3 else ""
        raise UserError(f"{corpus}: splits share speakers: {listed}{more}; scores would be of known voices: use lists that divide speakers")


def write_references(cuts: CutSet, base: Path) -> None:
    """Write `<base>.rttm` and `<base>.uem` of a split of conversations; nothing for utterances of a single supervision and mixtures.

    The UEM is written only where every cut states its evaluated regions: a UEM that lists some of the recordings excludes the others.

    Raises:
        UserError: the name of a recording or speaker holds a blank.
    """
    if all((cut.custom or {}).get("layers") or (len(cut.supervisions) == 1 and cut.supervisions[0].id == cut.id) for cut in cuts):
        return
    turns = {cut.id: [Turn(one.start, one.end, one.speaker or "unknown") for one in cut.supervisions] for cut in cuts}
    base.with_name(f"{base.name}.rttm").write_text(rttm_text(turns), encoding="utf-8")
    if all("evaluated" in (cut.custom or {}) for cut in cuts):
        regions = {cut.id: [(start, end) for start, end in cut.custom["evaluated"] if start < end] for cut in cuts}
        base.with_name(f"{base.name}.uem").write_text(uem_text(regions), encoding="utf-8")
