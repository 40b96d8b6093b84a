"""LibriSpeech in the layout in which it is unpacked.

`<subset>/<speaker>/<chapter>/<speaker>-<chapter>-<nnnn>.flac` with `<speaker>-<chapter>.trans.txt` beside it; sex from
`SPEAKERS.TXT` where that file is present (Panayotov et al. 2015; https://www.openslr.org/12). The text stays as the corpus gives
it (capitals): case is the alphabet's business, and a manifest should hold what was published.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from auscult.corpora.base import Corpus, FileProblem, Utterance, resolve
from auscult.errors import UserError, did_you_mean
from auscult.registry import register

Sex = Literal["female", "male"]


@register("corpus", "librispeech")
class LibriSpeech(Corpus):
    """LibriSpeech; splits are the subsets, `custom` holds `session` (the chapter).

    Args:
        source: the folder with the subsets, the folder it was unpacked in, or one subset.
        subsets: which ones; all that are on disk if left out.
        error_budget: number of unusable files that may be left out.
    """

    name = "librispeech"

    def __init__(self, source: str, subsets: list[str] | None = None, error_budget: Annotated[int, Field(ge=0)] = 0) -> None:
        super().__init__()
        self.source = source
        self.subsets = subsets
        self.error_budget = error_budget

    def utterances(self) -> Iterable[Utterance]:
        """Yield the utterances in the order of subset, speaker, chapter and number."""
        root = resolve(self.source)
        found = _find_subsets(root) or _find_subsets(root / "LibriSpeech") or ({root.name: root} if _chapters(root) else {})
        if not found:
            raise UserError(
                f"{root} holds no LibriSpeech subset; expected <subset>/<speaker>/<chapter>/<speaker>-<chapter>.trans.txt below it"
            )
        for subset in self.subsets or sorted(found):
            if subset not in found:
                raise UserError(f'{root} holds no subset "{subset}"{did_you_mean(subset, found)}; on disk: {", ".join(sorted(found))}')
            sexes = _read_sexes(found[subset].parent / "SPEAKERS.TXT")
            for chapter in _chapters(found[subset]):
                yield from self._chapter(subset, chapter, sexes)

    def _chapter(self, subset: str, folder: Path, sexes: dict[str, Sex]) -> Iterator[Utterance]:
        speaker, chapter = folder.parent.name, folder.name
        transcripts = folder / f"{speaker}-{chapter}.trans.txt"
        listed = set()
        for line in transcripts.read_text(encoding="utf-8").splitlines() if transcripts.is_file() else ():
            identity, _, text = line.strip().partition(" ")
            if not identity:
                continue
            listed.add(f"{identity}.flac")
            yield Utterance(
                id=identity,
                audio=folder / f"{identity}.flac",
                split=subset,
                text=text.strip(),
                speaker=speaker,
                language="en",
                sex=sexes.get(speaker),
                custom={"session": chapter},
            )
        for path in sorted(folder.glob("*.flac")):
            if path.name not in listed:
                self.problems.append(FileProblem(path, "untranscribed", f"{path} has no line in {transcripts.name}"))


def _find_subsets(root: Path) -> dict[str, Path]:
    if not root.is_dir():
        return {}
    return {folder.name: folder for folder in sorted(root.iterdir()) if folder.is_dir() and not folder.name.isdigit() and _chapters(folder)}


def _chapters(subset: Path) -> list[Path]:
    folders = [chapter for chapter in subset.glob("*/*") if chapter.name.isdigit() and chapter.parent.name.isdigit() and chapter.is_dir()]
    return sorted(folders, key=lambda chapter: (int(chapter.parent.name), int(chapter.name)))


def _read_sexes(path: Path) -> dict[str, Sex]:
    """Return sex by speaker from the lines "speaker | F or M | subset | minutes | name"."""
    if not path.is_file():
        return {}
    sexes: dict[str, Sex] = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        fields = [field.strip() for field in line.split("|")]
        if not line.startswith(";") and len(fields) >= 2 and fields[1] in ("F", "M"):
            sexes[fields[0]] = "female" if fields[1] == "F" else "male"
    return sexes
