"""What a page says about differential privacy: the claim, how it grew, and what it does not cover.

Problem: an epsilon in a table is read as a property of everything in the folder, and of a person. Choice: the number stands beside what it
is about, one utterance and the weights, and beside the parts of the run that it does not cover.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from auscult.report.html_parts import bullets, facts, number, paragraph, section, table
from auscult.report.train_record import Training


def privacy(training: Training) -> str | None:
    """Return the section; None for a run without differential privacy."""
    if not training.privacy:
        return None
    last = training.privacy[-1]
    rows = [[f"{event['update']:,}", number(event["epsilon"], ".4g")] for event in training.privacy]
    return section("Differential privacy", facts(_facts(training, last)), table(("updates", "epsilon"), rows), *_limits(last))


def _facts(training: Training, last: Mapping[str, Any]) -> list[tuple[str, str]]:
    return [
        ("claim", f"epsilon {last['epsilon']:.4g} at delta {last['delta']:g}, {last['neighbours']}"),
        ("noise", f"{last['noise_multiplier']:g} x {last['clip']:g} on the sum of a batch, from {last['noise_from']}"),
        ("clipping", f"every utterance's gradient to norm {last['clip']:g}, over all parameters together; {_clipped(training)}"),
        ("batches", f"every utterance drawn into every batch with probability {last['rate']:.4g} ({last['sampling']})"),
        ("accountant", f"{last['accountant']}, an upper bound"),
    ]


def _clipped(training: Training) -> str:
    shares = [float(value) for value in training.steps.get("clipped_utterances", ()) if not math.isnan(value)]
    return f"{sum(shares) / len(shares):.0%} of those logged were clipped" if shares else "how many were clipped was not logged"


def _limits(last: Mapping[str, Any]) -> list[str]:
    texts = [
        "It is about one utterance. A person with many utterances is protected less: for k of them epsilon is at most k times as large and "
        "delta grows faster.",
        "It is about the weights, those of every checkpoint. The event log, figures and this page hold losses and gradients of training "
        "utterances, which nothing protects; validation and test utterances are not protected either.",
        "It does not cover choices made by looking at other runs on the same utterances (rates, clip, architecture).",
        "Floating-point sums leak a little more than real numbers would.",
    ]
    if "seed" in str(last["noise_from"]):
        advice = "For weights to be given away, train with differential_privacy.secret: true."
        texts.insert(0, f"It holds against whoever does not know the seed, because the recipe repeats the noise. {advice}")
    else:
        texts.insert(0, "The key of the noise is in checkpoints/last.pt: delete that file before the folder is given away.")
    return [paragraph("What the claim does not say:"), bullets(texts)]
