"""The page of a training run: results with intervals and protocol, baselines beside them, and everything that went wrong."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from auscult.metrics.error_rate import error_rate, word_errors
from auscult.report.error_breakdown import KINDS, errors_of
from auscult.report.html_parts import NOT_RUN, bullets, escape, facts, figure, folded, number, paragraph, section, table, transcripts
from auscult.report.page_sections import heading, identity, protocol, recipe
from auscult.report.train_record import Judged, Training

MOST_WORST = 30
MOST_REFUSED = 50
_RATES = {"wer", "cer", "substitution_rate", "insertion_rate", "deletion_rate", "blank_rate"}
_SPLITS = ("validation", "test")


def body(training: Training) -> list[str]:
    """Return the pieces of the page."""
    return [
        heading(training.run, "Training run"),
        _results(training),
        _baselines(training),
        _claims(training),
        _course(training),
        _figures(training),
        *(_worst(judged) for judged in training.judged),
        identity(training.run, training.start, training.model),
        recipe(training.run),
    ]


def _results(training: Training) -> str:
    rows: list[list[str]] = []
    judged = {result.split: result for result in training.judged}
    for split in [*_SPLITS, *(name for name in judged if name not in _SPLITS)]:
        if split not in judged:
            rows.append([split, NOT_RUN, "", ""])
            continue
        summary = judged[split].summary
        for metric, value in summary.get("metrics", {}).items():
            interval = summary.get("intervals", {}).get(metric)
            rows.append([split, metric, _metric(metric, value), _interval(metric, interval)])
    note = (
        "Rates are ratios of sums. Intervals resample speakers, then utterances, of this one run; the spread between seeds is not in them."
    )
    protocols = facts(
        (f"{split} protocol", protocol(judged[split].summary if split in judged else None)) for split in sorted({*judged, *_SPLITS})
    )
    return section("Results", table(("split", "metric", "value", "95 % interval"), rows), paragraph(note, "soft"), protocols)


def _metric(name: str, value: float) -> str:
    return f"{value:.2%}" if name in _RATES else number(float(value), ",.6g")


def _interval(name: str, interval: Any) -> str:
    return f"{_metric(name, interval[0])} to {_metric(name, interval[1])}" if interval else "no interval"


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


def _baselines(training: Training) -> str:
    rows = [[judged.split, escape(name), f"{rate:.2%}"] for judged in training.judged for name, rate in baselines(judged)]
    content = (
        table(("split", "answer without listening", "WER"), rows, markup=(1,))
        if rows
        else paragraph(f"{NOT_RUN}: no split has been judged")
    )
    return section("Baselines", content)


def _claims(training: Training) -> str:
    splits = [judged.split for judged in training.judged]
    can = (
        [f"The error rates above, on {' and '.join(splits)}, for this one run under the protocol stated."]
        if splits
        else ["Nothing about accuracy yet: no split has been judged."]
    )
    cannot = [
        "That another recipe is better or worse: that takes several seeds of each, compared on the same items.",
        "How it does on other speech than these splits.",
    ]
    if "validation" in splits:
        cannot.insert(0, "An unbiased rate on validation: the checkpoint was chosen there, so its rate is too low by an unknown amount.")
    if "test" not in splits:
        cannot.insert(0, "A held-out rate: the test split was not run.")
    if str(training.run.state) != "COMPLETE":
        cannot.insert(0, f"What the recipe leads to: the run is {training.run.state}.")
    return section(
        "What this run can and cannot claim", paragraph("It shows:"), bullets(can), paragraph("It does not show:"), bullets(cannot)
    )


def _course(training: Training) -> str:
    updates = training.steps["update"]
    kept = number(training.best_update, ",.0f")
    last = number(float(updates[-1]), ",.0f") if len(updates) else "–"
    lines = [f"{len(updates):,} updates logged; last {last}; checkpoint kept from update {kept}."]
    lines += [f"Resumed from update {update:,}." for update in training.resumed] + list(training.notes[:MOST_REFUSED])
    pieces = [bullets(lines)]
    if not training.refused:
        pieces.append(paragraph("Refused steps: none."))
        return section("Course", *pieces)
    rows = [_refusal(event) for event in training.refused[:MOST_REFUSED]]
    pieces.append(paragraph(f"Refused steps: {len(training.refused):,}."))
    pieces.append(table(("update", "cause", "remedy", "culprits"), rows))
    if len(training.refused) > MOST_REFUSED:
        pieces.append(paragraph(f"{len(training.refused) - MOST_REFUSED:,} more are in the event log.", "soft"))
    return section("Course", *pieces)


def _refusal(event: Mapping[str, Any]) -> list[str]:
    named = event.get("culprits") or []
    text = ", ".join(map(str, named[:5])) if named else f"not isolated among {len(event.get('ids', []))} utterances"
    return [f"{event['update']:,}", str(event.get("cause", "")), str(event.get("remedy", "")), text]


def _figures(training: Training) -> str:
    folder = training.run.path / "figures"
    shown = [
        figure(
            folder / "learning_curves.png",
            "Learning curves. Every update, its running median, refused steps, and validation error with the checkpoint that was kept.",
        )
    ]
    shown += [
        figure(
            folder / f"errors_{judged.split}.png",
            f"Errors on {judged.split}, by speaker, duration and kind; whiskers are 95 % intervals over the utterances of the bar.",
        )
        for judged in training.judged
    ]
    return section("Figures", *shown)


def _worst(judged: Judged) -> str:
    title = f"Worst utterances of {judged.split}"
    if not judged.items or any(kind not in judged.items[0] for kind in KINDS):
        return section(title, paragraph("the items of this split carry no word counts"))
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
