"""Any folder of conversations: audio files, each with `<stem>.rttm` beside it, or all of them with one reference file.

`<stem>.uem` states what is evaluated; a folder has it for every recording or for none, because without a UEM scorers take the stretch
that somebody speaks in, which is another protocol. Texts beside the audio (`.seglst.json`) are not read.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Literal

from pydantic import Field

from auscult.corpora.base import Corpus, Utterance, find_recordings, resolve
from auscult.corpora.references import References, read_beside, read_regions, read_turns
from auscult.errors import UserError
from auscult.metrics.rttm import read_rttm, read_uem
from auscult.registry import register


@register("corpus", "rttm_folder")
class RttmFolder(Corpus):
    """Conversations with RTTM references; one split, of the name that `split` gives.

    Args:
        source: folder of audio files, at any depth; the name of a file without suffix is the recording's name.
        rttm: one RTTM file, or a folder of them, for all recordings; null takes `<stem>.rttm` beside each.
        uem: the same of UEM; null takes `<stem>.uem` beside each, where there are any.
        split: name of the split.
        speakers: "global" names mean the same person in every recording; "local" ones (spk00) get the recording's name before them.
        error_budget: number of unusable files that may be left out.
    """

    name = "rttm_folder"

    def __init__(
        self,
        source: str,
        rttm: str | None = None,
        uem: str | None = None,
        split: str = "all",
        speakers: Literal["global", "local"] = "global",
        error_budget: Annotated[int, Field(ge=0)] = 0,
    ) -> None:
        super().__init__()
        self.source = source
        self.rttm = rttm
        self.uem = uem
        self.split = split
        self.speakers = speakers
        self.error_budget = error_budget

    def utterances(self) -> Iterable[Utterance]:
        """Yield the recordings in the order of their paths.

        Raises:
            UserError: no audio, or a reference that cannot be read.
        """
        root = resolve(self.source)
        recordings = find_recordings(root)
        if not recordings:
            raise UserError(f"{root} holds no .wav, .flac or .ogg file; give the folder of the recordings")
        turns = read_turns(resolve(self.rttm)) if self.rttm else read_beside(root, ".rttm", lambda path: read_rttm(path).turns)
        if not turns:
            raise UserError(f"{root} holds no .rttm file; set rttm to the reference file or its folder")
        regions = read_regions(resolve(self.uem)) if self.uem else read_beside(root, ".uem", read_uem) or None
        references = References(turns, regions, resolve(self.rttm) if self.rttm else root)
        for path in recordings:
            found = references.utterance(path.stem, path, self.split, self.speakers == "local")
            if isinstance(found, Utterance):
                yield found
            else:
                self.problems.append(found)
        self.problems += references.unused()
