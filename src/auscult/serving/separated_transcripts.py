"""Separation as a step before recognition: what each speaker of a mixture says, and whether separating helped.

Problem: a recogniser that hears two people writes down a mixture of both, or the louder one; a separated voice has artefacts it was never
trained on, and the residue of the other voice is still transcribed. Choice: the separated signal is mixed with a share of the recording
it came from ("observation adding"), `(1 - share) * separated + share * mixture`, which trades residue for artefacts. The mixture is read
at the recogniser's rate, so a share of 1 is transcribing without separation. Which share and which separator are best is a question of
word errors on recordings that are not the test: in published work the separator of best SI-SDR was not the one of fewest word errors, and
the best share was 0.3. So several shares are scored in one pass of the separator, by cpWER, which does not care how speakers are called.
Source: Iwamoto et al. 2022 (arXiv 2201.06685), observation adding.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from auscult.audio.resampling import resample
from auscult.errors import UserError
from auscult.metrics.cpwer import speaker_word_errors
from auscult.metrics.edit_distance import EditCounts
from auscult.metrics.error_rate import error_rate
from auscult.serving.audio_input import read_at
from auscult.serving.diarization_files import recording_name
from auscult.serving.recognizer import Recognizer
from auscult.serving.separator import RunSeparator

References = Mapping[str, Mapping[str, str]]
"""Recording to speaker to words."""


@dataclass(frozen=True)
class ShareScore:
    """How a share of the mixture does on all recordings.

    Attributes:
        share: of the mixture, 0 to 1.
        counts: word errors, added up.
    """

    share: float
    counts: EditCounts

    @property
    def cpwer(self) -> float:
        """Errors over words of the references."""
        return error_rate([self.counts])


def check_shares(shares: Iterable[float]) -> list[float]:
    """Return shares without repetition, in order.

    Raises:
        UserError: none, or one outside 0 to 1.
    """
    found = sorted({float(share) for share in shares})
    if not found or not all(0.0 <= share <= 1.0 for share in found):
        raise UserError(f"--observation-mix {','.join(f'{share:g}' for share in found) or '(nothing)'}: expected shares from 0 to 1")
    return found


def transcribe_separated(
    recognizer: Recognizer, separator: RunSeparator, paths: Iterable[str | Path], shares: Sequence[float]
) -> list[dict[str, Any]]:
    """Recognise every speaker of every file, at every share of the mixture.

    Returns:
        One record per file, speaker and share: `path`, `recording`, `speaker`, `observation_mix`, `text`, `seconds`.

    Raises:
        AudioError: a file cannot be read.
        UserError: a file is too short for the recogniser, or a share lies outside 0 to 1.
    """
    wanted = check_shares(shares)
    return [record for path in paths for record in _transcribe(recognizer, separator, Path(path), wanted)]


def _transcribe(recognizer: Recognizer, separator: RunSeparator, path: Path, shares: Sequence[float]) -> list[dict[str, Any]]:
    rate = recognizer.specification.sample_rate
    mixture, _ = read_at(path, rate)
    heard = mixture if rate == separator.sample_rate else read_at(path, separator.sample_rate)[0]
    records = []
    for place, voice in enumerate(separator.separate(heard)):
        separated = _fitted(resample(voice, separator.sample_rate, rate), len(mixture))
        for share in shares:
            text = recognizer.text(observed(separated, mixture, share), path)
            records.append(
                {"path": str(path), "recording": recording_name(path), "speaker": f"speaker{place + 1}", "observation_mix": share,
                 "text": text, "seconds": len(mixture) / rate}
            )  # fmt: skip
    return records


def observed(separated: NDArray[np.float32], mixture: NDArray[np.float32], share: float) -> NDArray[np.float32]:
    """Return `(1 - share) * separated + share * mixture`.

    >>> observed(np.array([1.0], np.float32), np.array([3.0], np.float32), 0.5).tolist()
    [2.0]
    """
    return np.asarray((1.0 - share) * separated + share * mixture, dtype=np.float32)


def _fitted(samples: NDArray[np.float32], length: int) -> NDArray[np.float32]:
    """Return samples of a length; resampling up and down again may differ by one."""
    return np.pad(samples[:length], (0, max(0, length - len(samples))))


def score_shares(records: Iterable[Mapping[str, Any]], references: References) -> list[ShareScore]:
    """Return the word errors of every share, over all recordings.

    Raises:
        UserError: a recording has no reference, or the references have no words.
    """
    said: dict[float, dict[str, dict[str, str]]] = {}
    for record in records:
        said.setdefault(record["observation_mix"], {}).setdefault(record["recording"], {})[record["speaker"]] = record["text"]
    scores = []
    for share, recordings in sorted(said.items()):
        total = EditCounts(0, 0, 0, 0)
        for name, speakers in recordings.items():
            if name not in references:
                raise UserError(f'the references say nothing of "{name}"; name the recording there as the audio file, without its ending')
            total += speaker_word_errors(references[name], speakers).counts
        if not total.length:
            raise UserError("the references of these recordings hold no words; nothing can be scored")
        scores.append(ShareScore(share, total))
    return scores


def read_speaker_texts(path: Path) -> dict[str, dict[str, str]]:
    """Read who says what in which recording; several lines of one speaker are joined in their order.

    Args:
        path: lines of recording, speaker and words with tabs between them, or JSON: {"recording": {"speaker": "words"}}.

    Raises:
        UserError: the file cannot be read, or has another form; the message names the line.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read as UTF-8 text ({error}); give the references as TSV or JSON") from error
    rows = _json_rows(path, text) if text.lstrip().startswith("{") else _tab_rows(path, text)
    found: dict[str, dict[str, list[str]]] = {}
    for name, speaker, words in rows:
        found.setdefault(recording_name(f"{name}.x"), {}).setdefault(speaker, []).append(words)
    if not found:
        raise UserError(f"{path}: holds no references; expected lines of recording, speaker and words with tabs between them")
    return {name: {speaker: " ".join(parts) for speaker, parts in speakers.items()} for name, speakers in found.items()}


def _tab_rows(path: Path, text: str) -> list[tuple[str, str, str]]:
    rows = []
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        parts = line.split("\t")
        if len(parts) != 3:
            raise UserError(f"{path}, line {number}: {len(parts)} columns; expected recording, speaker and words with tabs between them")
        rows.append((parts[0], parts[1], parts[2]))
    return rows


def _json_rows(path: Path, text: str) -> list[tuple[str, str, str]]:
    try:
        value = json.loads(text)
    except ValueError as error:
        raise UserError(f"{path}: is not JSON ({error}); write the file again") from error
    rows = []
    for name, speakers in value.items():
        if not isinstance(speakers, dict) or not all(isinstance(words, str) for words in speakers.values()):
            raise UserError(f'{path}, "{name}": expected an object of speaker to words')
        rows += [(name, speaker, words) for speaker, words in speakers.items()]
    return rows
