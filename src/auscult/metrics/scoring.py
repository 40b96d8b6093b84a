"""Score anybody's hypotheses: two text files in, error rates with an interval out (`auscult score wer`).

Problem: a transcript missing from a hypothesis file must not lift the score, and a duplicate must not count twice. Choice: both
files hold `id<TAB>text` lines in any order, and their ids must be the same set, each once; anything else is refused with the file,
the line and the id.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from auscult.errors import UserError
from auscult.metrics.bootstrap import bootstrap_ratio
from auscult.metrics.edit_distance import EditCounts
from auscult.metrics.error_rate import character_errors, english_text, error_rate, word_errors

_NAMED = 3  # offending ids listed in a message


def score_wer(
    reference_tsv: str | Path,
    hypothesis_tsv: str | Path,
    normalise: Literal["none", "english"] = "none",
    speaker_separator: str | None = None,
    replicates: int = 10_000,
    seed: int = 0,
) -> dict[str, Any]:
    """Compare a hypothesis file with a reference file.

    Args:
        reference_tsv: UTF-8 lines `id<TAB>text`; an empty text is allowed.
        hypothesis_tsv: the same ids in any order.
        normalise: "none" compares texts as given; "english" removes case and punctuation from both sides (`english_text`).
        speaker_separator: the speaker is the part of the id before it ("-" for LibriSpeech); None takes utterances as independent.
        replicates: bootstrap replicates of the interval.
        seed: of the bootstrap.

    Returns:
        wer, cer: ratios of sums; wer_percent; substitutions, insertions, deletions, words; character_errors, characters; utterances;
        interval: 95 % interval of wer as [low, high]; interval_over: what was resampled; normalise.

    Raises:
        UserError: a file is missing, malformed or empty, an id is duplicated, or the ids differ.
    """
    references, hypotheses = _read_both(Path(reference_tsv), Path(hypothesis_tsv), normalise)
    words = [word_errors(text, hypotheses[key]) for key, text in references.items()]
    if not any(one.length for one in words):
        raise UserError(f"{reference_tsv}: the references hold no words")
    speakers = None if not speaker_separator else [key.split(speaker_separator)[0] for key in references]
    interval = bootstrap_ratio([one.errors for one in words], [one.length for one in words], speakers, replicates, seed)
    characters = sum((character_errors(text, hypotheses[key]) for key, text in references.items()), EditCounts(0, 0, 0, 0))
    return {
        **_rates(sum(words, EditCounts(0, 0, 0, 0)), characters),
        "utterances": len(words),
        "interval": list(interval),
        "interval_over": "utterances" if speakers is None else f"{len(set(speakers))} speakers, then utterances",
        "normalise": normalise,
    }


def read_transcripts(path: str | Path) -> dict[str, str]:
    """Return texts by id, in file order.

    Raises:
        UserError: the file is missing, not UTF-8, empty, or a line is not `id<TAB>text` or repeats an id.
    """
    path = Path(path)
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except OSError as error:
        raise UserError(f"{path}: cannot read the transcripts ({error.strerror}); expected a file of id<TAB>text lines") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 (byte {error.start}); convert the file to UTF-8") from error
    texts: dict[str, str] = {}
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        key, *columns = line.split("\t")
        key = key.strip()
        if len(columns) != 1 or not key:
            raise UserError(f"{path}:{number}: expected id<TAB>text, got {len(columns) + 1} columns in {line[:60]!r}")
        if key in texts:
            raise UserError(f'{path}:{number}: id "{key}" appears twice; keep one transcript per utterance')
        texts[key] = columns[0]
    if not texts:
        raise UserError(f"{path}: no transcripts; expected id<TAB>text lines")
    return texts


def _read_both(reference_path: Path, hypothesis_path: Path, normalise: str) -> tuple[dict[str, str], dict[str, str]]:
    if normalise not in ("none", "english"):
        raise UserError(f'normalise "{normalise}": expected "none" or "english"')
    references, hypotheses = read_transcripts(reference_path), read_transcripts(hypothesis_path)
    _same_ids(reference_path, references, hypothesis_path, hypotheses)
    if normalise == "none":
        return references, hypotheses
    return {key: english_text(text) for key, text in references.items()}, {key: english_text(text) for key, text in hypotheses.items()}


def _rates(words: EditCounts, characters: EditCounts) -> dict[str, float]:
    return {
        "wer": error_rate([words]),
        "wer_percent": 100 * words.errors / words.length,
        "substitutions": words.substitutions,
        "insertions": words.insertions,
        "deletions": words.deletions,
        "words": words.length,
        "cer": error_rate([characters]),
        "character_errors": characters.errors,
        "characters": characters.length,
    }


def _same_ids(reference_path: Path, references: dict[str, str], hypothesis_path: Path, hypotheses: dict[str, str]) -> None:
    for path, here, other_path, there in (
        (hypothesis_path, hypotheses, reference_path, references),
        (reference_path, references, hypothesis_path, hypotheses),
    ):
        missing = [key for key in there if key not in here]
        if missing:
            listed = ", ".join(f'"{key}"' for key in missing[:_NAMED])
            more = ", ..." if len(missing) > _NAMED else ""
            raise UserError(f"{path}: {len(missing)} ids of {other_path.name} are missing ({listed}{more}); both files need the same ids")
