"""The page of a check run. It opens with what the run is not: a check has no held-out data, so nothing on it is a result."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from auscult.report.check_record import Check, Overfit
from auscult.report.check_words import Words, caption_of, words_of
from auscult.report.figure import SMOKE
from auscult.report.html_parts import bullets, facts, figure, folded, number, paragraph, section, table, transcripts
from auscult.report.page_sections import heading, identity, recipe
from auscult.report.panels import CROWD
from auscult.report.performance_dashboard import summary

MOST_ROWS = 200
_SIZES = (("input_frames", "T"), ("output_frames", "T'"), ("symbols", "L"), ("margin", "spare"))
FIGURES = ("training_progress", "spectrogram_analysis", "model_architecture", "data_flow", "performance_dashboard")


def body(check: Check) -> list[str]:
    """Return the pieces of the page."""
    words = words_of(check)
    figures = [figure(check.run.path / "figures" / f"{name}.png", caption_of(words, name)) for name in FIGURES]
    return [
        heading(check.run, "Overfit check"),
        f'<p class="banner">{SMOKE[0].upper()}{SMOKE[1:]}.</p>',
        section("Verdict", facts(summary(check))),
        _claims(check, words),
        _utterances(check, words),
        _transcripts(check) if any("hypothesis" in utterance.end for utterance in check.utterances) else _outputs(check, words),
        section("Figures", *figures),
        identity(check.run, check.start, check.model),
        recipe(check.run),
    ]


def _claims(check: Check, words: Words) -> str:
    reached = sum(utterance.reached for utterance in check.utterances)
    thresholds = sorted({utterance.number_of("threshold") for utterance in check.utterances})
    below = " or ".join(f"{threshold:g}" for threshold in thresholds)
    total = f"{reached:,} of {len(check.utterances):,}"
    can = [f"Fresh weights were driven to a loss per {words.per} below {below} on {total} single {words.items}."]
    if check.independence.get("passed"):
        can.append(f"The output of one {words.item} did not depend on what shared its batch.")
    cannot = [
        f"{words.quality[0].upper()}{words.quality[1:]}: no {words.item} was held out.",
        "Whether this model, loss or optimiser is preferable to another: memorising speed does not rank models.",
        f"Anything about the weights: they know one {words.item} each.",
    ]
    return section(
        "What this run can and cannot claim", paragraph("It shows:"), bullets(can), paragraph("It does not show:"), bullets(cannot)
    )


def _utterances(check: Check, words: Words) -> str:
    sizes = [(key, header) for key, header in _SIZES if np.isfinite(check.column(key)).any()]
    header = [
        words.item,
        *(title for _, title in sizes),
        words.baseline,
        "initial",
        "last",
        "threshold",
        "updates",
        "stopped by",
        "seconds",
    ]
    rows = [_row(utterance, [key for key, _ in sizes], words.digits) for utterance in check.utterances[:MOST_ROWS]]
    remarks = [
        paragraph(
            f"Loss {f'in {words.unit} ' if words.unit else ''}per {words.per}. "
            f"{words.baseline[0].upper()}{words.baseline[1:]}: the loss of an output that knows nothing, "
            "where theory gives a closed form.",
            "soft",
        )
    ]
    if check.earlier_updates:
        header.append("earlier log, updates")
        stated = [str(updates) for updates in check.earlier_updates]
        rows = [[*row, *(stated[place : place + 1] or ["–"])] for place, row in enumerate(rows)]
        remarks.append(
            paragraph("The earlier log ran on its own utterances under its own stop rule: a reference point, no comparison.", "soft")
        )
    listing = table(header, rows)
    if len(check.utterances) > CROWD:
        listing = folded(f"the first {len(rows):,} of {len(check.utterances):,} {words.items}", listing)
    return section(words.items[0].upper() + words.items[1:], listing, *remarks)


def _row(utterance: Overfit, sizes: Sequence[str], digits: int) -> list[str]:
    return [
        utterance.label,
        *(number(utterance.margin if key == "margin" else utterance.number_of(key), ",.0f") for key in sizes),
        *(number(utterance.number_of(key), ".4f") for key in ("uniform_loss", "initial_loss")),
        number(utterance.result("loss"), f".{digits}f"),
        number(utterance.number_of("threshold"), "g"),
        number(utterance.result("update"), ",.0f"),
        utterance.stop_reason,
        number(utterance.result("seconds"), ",.1f"),
    ]


def _outputs(check: Check, words: Words) -> str:
    """Return what came out where it is no text: right or not, and what the task measures of it."""
    measures = [one for one in words.ends if np.isfinite(check.results(one.key)).any()]
    said = {True: "yes", False: "no", None: "the task cannot tell"}
    chosen = sorted(check.utterances, key=lambda utterance: utterance.right is not False)[:MOST_ROWS]
    rows = [[one.label, said[one.right], *(number(one.result(measure.key), measure.pattern) for measure in measures)] for one in chosen]
    listing = table((words.item, "right", *(measure.label for measure in measures)), rows)
    note = paragraph(f"On the {words.item} that was learned, running statistics settled on it; wrong ones first.", "soft")
    return section("Outputs", listing if len(rows) <= CROWD else folded(f"{len(rows):,} {words.items}", listing), note)


def _transcripts(check: Check) -> str:
    chosen = _wrong_first(check.utterances)[:MOST_ROWS]
    rows = []
    for utterance in chosen:
        reference = str(utterance.start.get("reference", ""))
        shown = transcripts(reference, str(utterance.end["hypothesis"])) if "hypothesis" in utterance.end else "not run"
        rows.append([utterance.label, shown, number(utterance.result("wer"), ".1%"), number(utterance.result("cer"), ".1%")])
    listing = table(("utterance", "reference, with what came out instead", "WER", "CER"), rows, markup=(1,))
    rest = len(check.utterances) - len(chosen)
    note = paragraph(
        "Greedy transcript of the utterance that was learned; errors first." + (f" {rest:,} more are in the event log." if rest else ""),
        "soft",
    )
    return section("Transcripts", listing if len(chosen) <= CROWD else folded(f"{len(chosen):,} transcripts", listing), note)


def _wrong_first(utterances: Sequence[Overfit]) -> list[Overfit]:
    def key(utterance: Overfit) -> float:
        rate = utterance.result("cer")
        return 0.0 if math.isnan(rate) else -rate

    return sorted(utterances, key=key)
