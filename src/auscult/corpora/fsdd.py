"""The Free Spoken Digit Dataset: single digits at 8 kHz, named `<digit>_<speaker>_<take>`.

Both the published layout (`recordings/*.wav`) and one folder per speaker (`<speaker>/*.flac`) are read
(https://github.com/Jakobovski/free-spoken-digit-dataset, CC BY-SA 4.0). Its authors test on takes 0 to 4; every speaker is then
in training as well, which measures little. With `held_out_speaker` the test is everything of a speaker whom training never
hears.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from auscult.corpora.base import AUDIO_SUFFIXES, Corpus, FileProblem, Utterance, resolve
from auscult.errors import UserError, did_you_mean
from auscult.registry import register

WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
NAME = re.compile(r"(?P<digit>\d)_(?P<speaker>[^_]+)_(?P<take>\d+)")

Split = Literal["train", "validation", "test"]


@register("corpus", "fsdd")
class FreeSpokenDigits(Corpus):
    """Spoken digits; splits "train", "validation", "test"; `custom` holds `digit` and `take`.

    Args:
        source: folder that holds the recordings, at any depth.
        test_takes: takes of every speaker that are "test"; of no effect beside `held_out_speaker`.
        validation_takes: takes that are "validation".
        held_out_speaker: everything of this speaker is "test", everything else "train" or "validation".
        error_budget: number of unusable files that may be left out.
    """

    name = "fsdd"

    def __init__(
        self,
        source: str,
        test_takes: tuple[int, ...] = (0, 1, 2, 3, 4),
        validation_takes: tuple[int, ...] = (5, 6, 7, 8, 9),
        held_out_speaker: str | None = None,
        error_budget: Annotated[int, Field(ge=0)] = 0,
    ) -> None:
        super().__init__()
        self.source = source
        self.test_takes = tuple(test_takes)
        self.validation_takes = tuple(validation_takes)
        self.held_out_speaker = held_out_speaker
        self.error_budget = error_budget
        both = sorted(set(self.test_takes) & set(self.validation_takes))
        if both and held_out_speaker is None:
            raise UserError(f"fsdd: takes {both} are in both test_takes and validation_takes; a recording belongs to one split")

    def utterances(self) -> Iterable[Utterance]:
        """Yield the recordings in the order of speaker, digit and take."""
        root = resolve(self.source)
        named: list[tuple[str, int, int, Path]] = []
        for path in sorted(root.rglob("*")):
            if path.suffix.lower() not in AUDIO_SUFFIXES:
                continue
            match = NAME.fullmatch(path.stem)
            if match is None:
                self.problems.append(FileProblem(path, "misnamed", f"{path} is not named <digit>_<speaker>_<take>"))
            else:
                named.append((match["speaker"], int(match["digit"]), int(match["take"]), path))
        if not named:
            raise UserError(f"{root} holds no recording named <digit>_<speaker>_<take>.wav or .flac")
        speakers = {row[0] for row in named}
        if self.held_out_speaker is not None and self.held_out_speaker not in speakers:
            hint = did_you_mean(self.held_out_speaker, speakers)
            raise UserError(f'fsdd: no speaker "{self.held_out_speaker}"{hint} in {root}; speakers: {", ".join(sorted(speakers))}')
        for speaker, digit, take, path in sorted(named):
            custom = {"digit": digit, "take": take}
            split = self._split(speaker, take)
            yield Utterance(path.stem, path, split, text=WORDS[digit], speaker=speaker, language="en", custom=custom)

    def _split(self, speaker: str, take: int) -> Split:
        held_out = self.held_out_speaker
        if speaker == held_out or (held_out is None and take in self.test_takes):
            return "test"
        return "validation" if take in self.validation_takes else "train"
