"""VoxConverse: conversations from videos, with the published RTTMs (https://github.com/joonson/voxconverse, CC BY 4.0).

The repository holds `dev/*.rttm` and `test/*.rttm` and no audio; the audio comes in archives of other layouts. So recordings are found
by name at any depth. Speakers are numbered anew in every file (`spk00`): they get the file's name before their own, or a model would
learn that all first speakers are one person. There is no UEM, so `evaluated` is absent; scorers name what they take instead.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from auscult.corpora.base import Corpus, FileProblem, Utterance, find_recordings, resolve
from auscult.corpora.references import References, normal, read_turns
from auscult.errors import UserError
from auscult.registry import register

Part = Literal["dev", "test"]
PARTS: tuple[Part, ...] = ("dev", "test")


@register("corpus", "voxconverse")
class VoxConverse(Corpus):
    """Conversations from videos; splits "dev" and "test".

    Args:
        source: folder with `dev` and `test`, which hold the RTTMs.
        audio: folder of the recordings, at any depth; null looks in `source`.
        parts: only these splits are read; null reads what is there.
        error_budget: number of unusable files that may be left out.
    """

    name = "voxconverse"

    def __init__(
        self, source: str, audio: str | None = None, parts: list[Part] | None = None, error_budget: Annotated[int, Field(ge=0)] = 0
    ) -> None:
        super().__init__()
        self.source = source
        self.audio = audio
        self.parts = parts
        self.error_budget = error_budget

    def utterances(self) -> Iterable[Utterance]:
        """Yield the recordings in the order of split and name.

        Raises:
            UserError: a split is not there, or a reference cannot be read.
        """
        root = resolve(self.source)
        present = [part for part in PARTS if (root / part).is_dir() and next((root / part).glob("*.rttm"), None)]
        absent = [part for part in self.parts or () if part not in present]
        if absent or not present:
            raise UserError(f"{root} holds no {' or '.join(absent or PARTS)}/*.rttm; give a copy of the VoxConverse repository")
        folder = resolve(self.audio) if self.audio else root
        recordings: dict[str, list[Path]] = {}
        for recording in find_recordings(folder):
            recordings.setdefault(normal(recording.stem), []).append(recording)
        known: set[str] = set()
        for part in present if self.parts is None else [part for part in present if part in self.parts]:
            references = References(read_turns(root / part), None, root / part)
            known |= set(references.turns)
            for name in sorted(references.turns):
                audio = _of(part, recordings.get(name, []))
                found = references.utterance(name, audio, part, local_speakers=True) if audio else None
                if isinstance(found, Utterance):
                    yield found
                elif found is not None:
                    self.problems.append(found)
            self.problems += references.unused()
        if self.parts is None:
            strays = (path for name in sorted(set(recordings) - known) for path in recordings[name])
            self.problems += [FileProblem(path, "untranscribed", f"{path} has no RTTM in {root}") for path in strays]


def _of(part: str, paths: list[Path]) -> Path | None:
    """Return the recording of a split, where two splits have one of the same name."""
    own = [path for path in paths if any(part in folder.split("_") for folder in path.parts[:-1])]
    return next(iter(own or paths), None)
