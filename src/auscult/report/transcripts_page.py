"""What the page of a recognition run says of its utterances: what needs no listening gets as well, and the transcripts that went wrong."""

from __future__ import annotations

from collections import Counter

from auscult.metrics.error_rate import error_rate, word_errors
from auscult.report.error_breakdown import KINDS, errors_of
from auscult.report.html_parts import folded, number, paragraph, section, table, transcripts
from auscult.report.train_record import Judged

MOST_WORST = 30


def beside(judged: Judged) -> str:
    """Return the table of answers without listening."""
    rows = [[judged.split, name, f"{rate:.2%}"] for name, rate in baselines(judged)]
    return table(("split", "answer without listening", "WER"), rows) if rows else paragraph(f"{judged.split}: no reference has words")


def baselines(judged: Judged) -> list[tuple[str, float]]:
    """Return the WER of answers that need no listening: nothing at all, and the commonest transcript for every utterance."""
    references = [str(item["reference"]) for item in judged.items if "reference" in item]
    if not any(reference.split() for reference in references):
        return []
    commonest = min(Counter(references).items(), key=lambda pair: (-pair[1], pair[0]))[0]
    return [
        ("an empty transcript for every utterance", error_rate([word_errors(reference, "") for reference in references])),
        (
            f'the commonest transcript for every utterance ("{commonest[:60]}")',
            error_rate([word_errors(reference, commonest) for reference in references]),
        ),
    ]


def worst(judged: Judged) -> str:
    """Return the utterances with most word errors, transcripts beside references."""
    title = f"Worst utterances of {judged.split}"
    wrong = sorted(
        (item for item in judged.items if errors_of(item)),
        key=lambda item: (-errors_of(item), -errors_of(item) / max(int(item["words"]), 1), str(item["id"])),
    )
    rows = [
        [
            str(item["id"]),
            transcripts(str(item["reference"]), str(item["hypothesis"])),
            str(item.get("speaker", "")),
            number(item.get("duration"), ".1f"),
            *(str(item[kind]) for kind in KINDS),
            str(item["words"]),
        ]
        for item in wrong[:MOST_WORST]
    ]
    listing = table(
        ("utterance", "reference, with what was heard instead", "speaker", "seconds", "S", "I", "D", "words"), rows, markup=(1,)
    )
    note = paragraph(f"{len(wrong):,} of {len(judged.items):,} utterances have errors; most errors first, {len(rows)} shown.", "soft")
    return section(title, folded("show", listing) if judged.split == "validation" and len(rows) > 5 else listing, note)
