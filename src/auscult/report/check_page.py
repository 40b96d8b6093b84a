"""The page of a check run. It opens with what the run is not: a check has no held-out data, so nothing on it is a result."""

from __future__ import annotations

import math
from collections.abc import Sequence

from auscult.report.check_record import Check, Overfit
from auscult.report.figure import SMOKE
from auscult.report.html_parts import bullets, facts, figure, folded, number, paragraph, section, table, transcripts
from auscult.report.page_sections import heading, identity, recipe
from auscult.report.panels import CROWD
from auscult.report.performance_dashboard import summary

MOST_ROWS = 200
CAPTIONS = {
    "training_progress": "Training progress. Loss per symbol with the threshold and the update that ended each utterance; gradient norm "
    "with a band of a local line ± 3 scaled MAD; frame error |p − γ|, which is the gradient of the loss by the logits; character error "
    "rate; loss against gradient norm; cost.",
    "spectrogram_analysis": "Spectrogram analysis. The waveform's log-mel for orientation, the tensor the model received, output "
    "probabilities with the blank on top, and the targets on the most probable alignment. Output frames are centred on the input.",
    "model_architecture": "Model architecture. Modules, measured output shapes and parameter shares from the module tree that ran.",
    "data_flow": "Data flow. Lengths from samples to symbols, and the output frames to spare beyond the fewest that can spell the target.",
    "performance_dashboard": "Performance dashboard. Every number of the run; error rates are on the very utterance that was learned.",
}


def body(check: Check) -> list[str]:
    """Return the pieces of the page."""
    figures = [figure(check.run.path / "figures" / f"{name}.png", caption) for name, caption in CAPTIONS.items()]
    return [
        heading(check.run, "Overfit check"),
        f'<p class="banner">{SMOKE[0].upper()}{SMOKE[1:]}.</p>',
        section("Verdict", facts(summary(check))),
        _claims(check),
        _utterances(check),
        _transcripts(check),
        section("Figures", *figures),
        identity(check.run, check.start, check.model),
        recipe(check.run),
    ]


def _claims(check: Check) -> str:
    reached = sum(utterance.reached for utterance in check.utterances)
    thresholds = sorted({utterance.number_of("threshold") for utterance in check.utterances})
    below = " or ".join(f"{threshold:g}" for threshold in thresholds)
    can = [f"Fresh weights were driven to a loss per symbol below {below} on {reached:,} of {len(check.utterances):,} single utterances."]
    if check.independence.get("passed"):
        can.append("The output of an utterance did not depend on what shared its batch.")
    cannot = [
        "How well the model recognises speech: no utterance was held out.",
        "Whether this model, loss or optimiser is preferable to another: memorising speed does not rank models.",
        "Anything about the weights: they know one utterance each.",
    ]
    return section(
        "What this run can and cannot claim", paragraph("It shows:"), bullets(can), paragraph("It does not show:"), bullets(cannot)
    )


def _utterances(check: Check) -> str:
    header = [
        "utterance",
        "T",
        "T'",
        "L",
        "spare",
        "uniform",
        "initial",
        "last",
        "threshold",
        "updates",
        "stopped by",
        "seconds",
    ]
    rows = [_row(utterance) for utterance in check.utterances[:MOST_ROWS]]
    remarks = [
        paragraph("Loss in nats per symbol. Uniform: the baseline, the loss of an output that knows nothing, in closed form.", "soft")
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
        listing = folded(f"the first {len(rows):,} of {len(check.utterances):,} utterances", listing)
    return section("Utterances", listing, *remarks)


def _row(utterance: Overfit) -> list[str]:
    integers = [number(utterance.number_of(key), ",.0f") for key in ("input_frames", "output_frames", "symbols")]
    losses = [number(utterance.number_of(key), ".4f") for key in ("uniform_loss", "initial_loss")]
    last = [
        number(utterance.result("loss"), ".6f"),
        number(utterance.number_of("threshold"), "g"),
        number(utterance.result("update"), ",.0f"),
    ]
    return [
        utterance.label,
        *integers,
        number(utterance.margin, ",.0f"),
        *losses,
        *last,
        utterance.stop_reason,
        number(utterance.result("seconds"), ",.1f"),
    ]


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
