"""The page of a training run: alarms first, results with intervals and protocol, baselines beside them, and everything that went wrong.

An alarm says that a number below it does not mean what it seems to; it stands in a frame between the name of the run and its first number,
where nobody who reads the number can have missed it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from auscult.report.html_parts import NOT_RUN, bullets, escape, facts, figure, number, paragraph, section, table
from auscult.report.item_kinds import WINDOWS, drawings, figure_name, kind_of
from auscult.report.listening_page import examples_name, listen
from auscult.report.page_sections import heading, identity, protocol, recipe
from auscult.report.privacy_section import privacy
from auscult.report.recordings_page import recordings
from auscult.report.train_record import Training

MOST_REFUSED = 50
_RATES = {"wer", "cer", "accuracy", "chance"}
_RATE_ENDINGS = ("_rate", "_error", "_accuracy", "_der", "_der_full", "_missed", "_false_alarm", "_confusion", "_recall", "_precision")
_COUNTS = {"trials", "targets", "windows", "speakers", "utterances", "mixtures", "unjudged"}
_DECIBELS = re.compile(r"(^|_)(si_)?sdri?(_|$)")
_SPLITS = ("validation", "test")


def body(training: Training) -> list[str]:
    """Return the pieces of the page."""
    return [
        heading(training.run, "Training run"),
        *_alarms(training),
        _results(training),
        _baselines(training),
        _claims(training),
        *filter(None, [privacy(training)]),
        _course(training),
        _figures(training),
        *([recordings(training)] if training.recordings or any(kind_of(judged) is WINDOWS for judged in training.judged) else []),
        *filter(None, (listen(training.run.path, one, examples_name(one.split) in drawings(one)) for one in training.judged)),
        *(kind_of(judged).worst(judged) for judged in training.judged),
        identity(training.run, training.start, training.model),
        recipe(training.run),
    ]


def _alarms(training: Training) -> list[str]:
    """Return what is suspicious about a result, each in a frame of its own."""
    texts = [f"ALARM, {judged.split}: {alarm}" for judged in training.judged for alarm in judged.alarms]
    first = training.initial_loss
    if first and not first.get("holds", True):
        texts.append(f"ALARM: {_first_loss(first)}; are labels and scale right?")
    return [f'<p class="banner">{escape(text)}</p>' for text in texts]


def _first_loss(event: Mapping[str, Any]) -> str:
    found, expected = (number(event.get(key), ".3f") for key in ("loss", "expected"))
    return f"the first loss is {found}, theory says {expected} ({event.get('formula', 'formula not stated')})"


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
    notes = list(dict.fromkeys(kind_of(one).rates for one in training.judged))
    protocols = facts(
        (f"{split} protocol", protocol(judged[split].summary if split in judged else None)) for split in sorted({*judged, *_SPLITS})
    )
    listing = table(("split", "metric", "value", "95 % interval"), rows)
    return section("Results", protocols, listing, *(paragraph(note, "soft") for note in notes))


def _metric(name: str, value: float) -> str:
    if name in _COUNTS or name.startswith("unmeasured_"):
        return f"{value:,.0f}"
    if _DECIBELS.search(name) and not name.endswith("_rate"):
        return f"{value:.2f} dB"
    rate = name in _RATES or name.startswith("eer") or name.endswith(_RATE_ENDINGS)
    return f"{value:.2%}" if rate else number(float(value), ",.6g")


def _interval(name: str, interval: Any) -> str:
    return f"{_metric(name, interval[0])} to {_metric(name, interval[1])}" if interval else "no interval"


def _baselines(training: Training) -> str:
    pieces = [kind_of(judged).beside(judged) for judged in training.judged]
    return section("Baselines", *(pieces or [paragraph(f"{NOT_RUN}: no split has been judged")]))


def _claims(training: Training) -> str:
    splits = [judged.split for judged in training.judged]
    can = (
        [f"The results above, on {' and '.join(splits)}, for this one run under the protocol stated."]
        if splits
        else ["Nothing about accuracy yet: no split has been judged."]
    )
    cannot = [
        "That another recipe is better or worse: that takes several seeds of each, compared on the same items.",
        "How it does on other speech than these splits.",
    ]
    cannot += dict.fromkeys(text for judged in training.judged for text in kind_of(judged).cannot)
    if "validation" in splits:
        cannot.insert(0, "An unbiased result on validation: the checkpoint was chosen there, so it looks too good by an unknown amount.")
    if "test" not in splits:
        cannot.insert(0, "A held-out result: the test split was not run.")
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
    lines += _beginning(training)
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


def _beginning(training: Training) -> list[str]:
    """Say how the first loss compares with theory, and what the batches make of the data."""
    first, plan = training.initial_loss, training.plan
    lines = []
    if first:
        lines.append(f"Start: {_first_loss(first)}: {'as it should be' if first.get('holds') else 'NOT as it should be'}.")
    elif len(training.steps["update"]):
        lines.append("Start: no closed form of the first loss for this recipe, so it was not compared.")
    if plan:
        sizes = " to ".join(dict.fromkeys(str(plan[key]) for key in ("smallest", "largest") if key in plan))
        used = f"{plan['coverage']:.1%}" if "coverage" in plan else "an unknown share"
        lines.append(
            f"Planned batches: {plan.get('batches', '–')} an epoch of {sizes} utterances; an epoch uses {used} of the utterances, "
            f"{plan.get('repeats', '–')} of them more than once."
        )
    return lines


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
    for judged in training.judged:
        name, kind = figure_name(judged), kind_of(judged)
        if name is None:
            shown.append(paragraph(f"{judged.split}: no figure is known for records of this kind; they are listed below.", "soft"))
        else:
            shown.append(figure(folder / f"{name}.png", kind.caption.format(split=judged.split)))
    return section("Figures", *shown)
