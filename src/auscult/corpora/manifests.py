"""lhotse manifests: what `prepare` wrote, or any CutSet somebody already has.

A prepared folder is trusted (its files were decoded when it was made); each file is only looked for again. In a foreign
CutSet a cut may hold several supervisions, and which of their texts belongs to the audio is then a decision: this corpus
refuses such cuts unless `supervisions: split` asks for one cut per supervision, or `supervisions: many` says that they are turns of a
conversation or voices of a mixture, which stays whole. The description of a prepared folder says so itself. Mixed cuts are read where
every track is a plain file, offset, scaled or padded; cuts of several channels, and mixtures that are changed by transforms or made of
anything else, are refused with their id: what would be read is not what lhotse would give.

A prepared folder that holds a pack (`packs/pack.py`) is read from it, and the files it was made of are not looked for.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from auscult.corpora.base import DESCRIPTION, Corpus, FileProblem, Utterance, check_budget, check_ids, resolve
from auscult.corpora.decoding import recordings_of
from auscult.corpora.folder import find_audio
from auscult.errors import UserError
from auscult.registry import register

if TYPE_CHECKING:
    from lhotse import CutSet, MonoCut
    from lhotse.cut import Cut

SUFFIXES = (".jsonl", ".jsonl.gz")


@register("corpus", "manifests")
class Manifests(Corpus):
    """Existing lhotse cuts.

    Args:
        path: a folder with one CutSet per split (`<split>.jsonl.gz`), or a single CutSet, which becomes the split "all".
        supervisions: "one" refuses cuts with several supervisions, except in a folder prepared from a corpus of conversations;
            "many" keeps them as turns of a conversation or voices of a mixture; "split" makes a cut of each, which keeps
            neighbours that overlap in the audio.
        error_budget: number of unusable files that may be left out.
    """

    name = "manifests"

    def __init__(
        self, path: str, supervisions: Literal["one", "many", "split"] = "one", error_budget: Annotated[int, Field(ge=0)] = 0
    ) -> None:
        super().__init__()
        self.path = path
        self.supervisions = supervisions
        self.error_budget = error_budget

    def utterances(self) -> Iterable[Utterance]:
        """Return nothing: the cuts exist already, see `splits`."""
        return ()

    def _read(self) -> dict[str, CutSet]:
        from lhotse import CutSet

        self.problems = []
        splits: dict[str, CutSet] = {}
        path = resolve(self.path)
        description = _description(path)
        many = self.supervisions == "one" and description.get("supervisions") == "many"
        place = _packer(path, description["pack"]) if "pack" in description else self._usable
        for file, split in _files(path):
            cuts = [place(cut, file) for cut in _arranged(file, "many" if many else self.supervisions)]
            splits[split] = CutSet.from_cuts(cut for cut in cuts if cut is not None)
        check_ids((cut.id for cuts in splits.values() for cut in cuts), self.name)
        check_budget(self.problems, self.error_budget, self.name)
        splits = {split: cuts for split, cuts in splits.items() if len(cuts)}
        if not splits:
            raise UserError(f"{self.path} holds no usable cut; {len(self.problems)} unusable files were left out")
        return splits

    def _usable(self, cut: Cut, file: Path) -> Cut | None:
        for source in [source for recording in recordings_of(cut) for source in recording.sources]:
            if source.type != "file":
                raise UserError(f'{file}: cut "{cut.id}" reads from a source of type "{source.type}"; expected audio files')
            path = _absolute(source.source, file)
            if not path.is_file():
                self.problems.append(FileProblem(path, "missing", f'{path} of cut "{cut.id}" does not exist'))
                return None
            source.source = str(path)
        return cut


def _arranged(file: Path, mode: str) -> Iterable[Cut]:
    """Yield the cuts of a file with exactly one supervision each, or with as many as they have if the mode is "many"."""
    from lhotse import MonoCut, SupervisionSegment

    for cut in _load(file):
        mixed = _check_kind(cut, file, mode)
        count = len(cut.supervisions)
        if mode == "many" or count == 1:
            yield cut
        elif count == 0 and not mixed:
            cut.supervisions = [SupervisionSegment(cut.id, cut.recording_id, start=0.0, duration=cut.duration, channel=cut.channel)]
            yield cut
        elif mode == "split" and isinstance(cut, MonoCut):
            yield from cut.trim_to_supervisions(keep_overlapping=False, keep_all_channels=False)
        else:
            raise UserError(
                f'{file}: cut "{cut.id}" has {count} supervisions, expected one; set supervisions: '
                f"{'' if mixed else 'split to make a cut of each, or '}many if they are turns of a conversation or voices of a mixture"
            )


def _check_kind(cut: Cut, file: Path, mode: str) -> bool:
    """Return whether a cut is mixed, and refuse it if it is not of plain files, or is to be split."""
    from lhotse.cut import MixedCut, MonoCut, PaddingCut

    if isinstance(cut, MonoCut) and cut.recording is not None:
        return False
    place = f'{file}: cut "{cut.id}" is a {type(cut).__name__}'
    if not isinstance(cut, MixedCut):
        raise UserError(f"{place}; expected a MonoCut with a recording, or a mixture of such; save its audio first")
    if mode == "split":
        raise UserError(f"{place}, which cannot be split into its supervisions; set supervisions: many")
    tracks = [track.cut for track in cut.tracks if not isinstance(track.cut, PaddingCut)]
    plain = all(isinstance(one, MonoCut) and one.recording is not None and not one.recording.transforms for one in tracks)
    if cut.transforms or not tracks or not plain:
        raise UserError(f"{place} with transforms, or not of plain recordings only; save its audio first")
    return True


def _description(path: Path) -> dict[str, Any]:
    """Return what a prepared folder says of itself; nothing of any other folder or file."""
    description = path / DESCRIPTION
    if not description.is_file():
        return {}
    try:
        content = json.loads(description.read_text(encoding="utf-8"))
        return {**content}
    except (OSError, ValueError, TypeError) as error:
        raise UserError(f"{description} is not the description of a prepared corpus ({error}); prepare the corpus again") from error


def _packer(folder: Path, stated: Mapping[str, Any]) -> Callable[[MonoCut, Path], MonoCut | None]:
    """Return what gives a cut its place in the pack of a folder."""
    from auscult.corpora.packs.pack import open_pack
    from auscult.corpora.packs.source import packed

    pack, places = open_pack(folder, stated)

    def place(cut: MonoCut, _: Path) -> MonoCut:
        cut.recording = packed(cut, pack, places, stated["sample_rate"])
        return cut

    return place


def _files(path: Path) -> list[tuple[Path, str]]:
    if path.is_file():
        if not path.name.endswith(SUFFIXES):
            raise UserError(f"{path} is no CutSet; expected a .jsonl or .jsonl.gz file")
        return [(path, "all")]
    found = sorted(file for file in path.iterdir() if file.name.endswith(SUFFIXES))
    if not found:
        raise UserError(f"{path} holds no CutSet; expected <split>.jsonl.gz as written by auscult prepare")
    return [(file, file.name.removesuffix(".gz").removesuffix(".jsonl")) for file in found]


def _load(file: Path) -> Iterable[Any]:
    from lhotse.serialization import deserialize_item, load_jsonl

    try:
        for record in load_jsonl(file):
            if "Cut" not in record.get("type", ""):
                raise UserError(f"{file} is a manifest of another kind ({record.get('type', 'no type')}); expected lhotse cuts")
            yield deserialize_item(record)
    except (OSError, EOFError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{file} cannot be read as a lhotse CutSet ({type(error).__name__}: {error}); write it again") from error


def _absolute(source: str, file: Path) -> Path:
    """Return where a source lies: lhotse's own relative paths start at the current folder, those of others at the manifest."""
    here = Path(source).resolve()
    return here if Path(source).is_absolute() or here.is_file() else find_audio(source, file)
