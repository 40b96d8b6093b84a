"""AMI meetings, divided and transcribed as the diarization literature does (BUTSpeechFIT/AMI-diarization-setup, Apache-2.0).

Problem: AMI has three partitions and several references made from the same annotations; a DER without naming them compares nothing, and
references cut at full stops (as in speech recognition recipes) score up to a third apart. Choice: the "Full-corpus-ASR" partition
(136, 18 and 16 meetings, whose speakers are disjoint, which is checked), the `only_words` RTTMs and the UEMs over whole files, read
from a copy of that repository. Rejected: deriving references from the annotations again.

Audio: https://groups.inf.ed.ac.uk/ami/corpus/ (CC BY 4.0), one folder per meeting or all recordings in one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from auscult.corpora.base import AUDIO_SUFFIXES, Corpus, FileProblem, Utterance, resolve
from auscult.corpora.references import References, check_splits_share_no_speaker, read_regions, read_turns
from auscult.errors import UserError
from auscult.registry import register

Part = Literal["train", "dev", "test"]
PARTS: tuple[Part, ...] = ("train", "dev", "test")


@register("corpus", "ami")
class Ami(Corpus):
    """Meetings of three to five people; splits "train", "dev" and "test", no speaker in two.

    Args:
        source: folder of the audio, `<meeting>/audio/<meeting>.<microphone>.wav` or `<meeting>.<microphone>.wav`.
        setup: copy of AMI-diarization-setup, which holds `lists`, `only_words` and `uems`.
        microphone: the recording, such as Mix-Headset (sum of the headsets) or Array1-01 (one distant microphone).
        words: the reference; with or without vocal sounds such as laughter.
        parts: splits to read; null reads all three.
        error_budget: number of unusable files that may be left out.
    """

    name = "ami"

    def __init__(
        self,
        source: str,
        setup: str,
        microphone: str = "Mix-Headset",
        words: Literal["only_words", "word_and_vocalsounds"] = "only_words",
        parts: list[Part] | None = None,
        error_budget: Annotated[int, Field(ge=0)] = 0,
    ) -> None:
        super().__init__()
        self.source = source
        self.setup = setup
        self.microphone = microphone
        self.words = words
        self.parts = parts
        self.error_budget = error_budget

    def utterances(self) -> Iterable[Utterance]:
        """Yield the meetings in the order of the lists.

        Raises:
            UserError: lists or references are missing, a meeting is in two lists, or two splits share a speaker.
        """
        found = list(self._meetings(resolve(self.source), resolve(self.setup)))
        check_splits_share_no_speaker(found, "ami")
        return found

    def _meetings(self, source: Path, setup: Path) -> Iterator[Utterance]:
        owner: dict[str, str] = {}
        for part in PARTS if self.parts is None else [part for part in PARTS if part in self.parts]:
            references = self._references(setup, part)
            for line, meeting in _listed(setup / "lists" / f"{part}.meetings.txt"):
                place = f"{part}.meetings.txt, line {line}"
                if meeting in owner:
                    raise UserError(f"ami: meeting {meeting} stands in {owner[meeting]} and in {place}; a meeting belongs to one split")
                owner[meeting] = place
                if meeting not in references.turns:
                    detail = f"meeting {meeting} ({place}) has no RTTM in {references.source}; complete the setup"
                    self.problems.append(FileProblem(references.source / f"{meeting}.rttm", "untranscribed", detail))
                    continue
                found = references.utterance(meeting, self._audio(source, meeting), part)
                if isinstance(found, Utterance):
                    yield found
                else:
                    self.problems.append(found)

    def _audio(self, source: Path, meeting: str) -> Path:
        """Return where the audio of a meeting lies; the published place if it lies nowhere, to be reported as missing."""
        stems = [f"{meeting}.{self.microphone}"]
        folders = [source / meeting / "audio", source / "amicorpus" / meeting / "audio", source / meeting, source]
        places = [folder / f"{stem}{suffix}" for stem in stems for folder in folders for suffix in AUDIO_SUFFIXES]
        return next((path for path in places if path.is_file()), places[0])

    def _references(self, setup: Path, part: str) -> References:
        turns = _place(setup / self.words / "rttms", part, ".rttm")
        regions = _place(setup / "uems", part, ".uem")
        return References(read_turns(turns), read_regions(regions), turns)


def _place(folder: Path, part: str, suffix: str) -> Path:
    """Return the folder or the file that holds the references of a split."""
    for place in (folder / part, folder / f"{part}{suffix}"):
        if place.exists():
            return place
    raise UserError(f"{folder / part} does not exist; setup must be a copy of AMI-diarization-setup (a folder of {suffix} files per split)")


def _listed(path: Path) -> Iterator[tuple[int, str]]:
    """Yield line number and name of every listed meeting."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read ({error}); setup must be a copy of AMI-diarization-setup") from error
    names = [(number, line.strip()) for number, line in enumerate(lines, start=1) if line.strip()]
    if not names:
        raise UserError(f"{path} lists no meeting; expected one such as ES2011a per line")
    for number, name in names:
        if not name.isalnum():
            raise UserError(f'{path}, line {number}: "{name[:40]}" is no meeting; expected one such as ES2011a per line')
        yield number, name
