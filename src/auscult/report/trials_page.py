"""What the page of a verification run says of trials: all kinds of scores side by side, the worst trials, and who is confused with whom.

The row of untrained scores stands in the same table as the trained ones, computed by the same code from the same trials, because an error
rate of 9 % is good news or bad news only beside what a mean and a deviation of the spectrum get.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from auscult.metrics.detection import COST_PRIORS, DetectionCurve
from auscult.report.html_parts import folded, number, paragraph, section, table
from auscult.report.train_record import Judged
from auscult.report.trial_groups import SCORES, TrialTable

MOST_TRIALS = 24
MOST_SPEAKERS = 20
_SUFFIX = {"score": "", "normalised_score": "_as_norm", "untrained_score": "_untrained"}


def beside(judged: Judged) -> str:
    """Return the table of trained, normalised and untrained scores on the same trials."""
    trials = TrialTable(judged.items)
    if _one_kind(trials):
        return paragraph(f"{judged.split}: trials of one kind only, so there are no error rates")
    rows = [_scores(judged, SCORES[name], curve, _SUFFIX[name]) for name, curve in trials.curves.items()]
    header = ("split", "scores", "EER", "95 % interval", "min DCF .01", "min DCF .05", "min Cllr", "area", "trials", "target")
    notes = (
        [] if "untrained_score" in trials.curves else [paragraph(f"{judged.split}: no untrained baseline (task.baseline is false)", "soft")]
    )
    return "\n".join([table(header, rows), *notes])


def _one_kind(trials: TrialTable) -> bool:
    return not 0 < trials.target.sum() < len(trials.items)


def _scores(judged: Judged, name: str, curve: DetectionCurve, suffix: str) -> list[str]:
    interval = judged.summary.get("intervals", {}).get(f"eer{suffix}")
    return [
        judged.split,
        name,
        f"{curve.equal_error_rate():.2%}",
        f"{interval[0]:.2%} to {interval[1]:.2%}" if interval else "no interval",
        *(number(curve.minimum_detection_cost(prior), ".4f") for prior in COST_PRIORS.values()),
        number(curve.minimum_cllr(), ".4f"),
        number(curve.area(), ".4f"),
        f"{curve.targets + curve.nontargets:,}",
        f"{curve.targets:,}",
    ]


def worst(judged: Judged) -> str:
    """Return the trials furthest on the wrong side of the threshold, and the speakers with most errors."""
    title = f"Worst trials and speakers of {judged.split}"
    trials = TrialTable(judged.items)
    if _one_kind(trials):
        return section(title, paragraph("trials of one kind only: nothing can be called wrong"))
    threshold = trials.curves["score"].equal_error_threshold()
    wrong = int((trials.target != trials.accepted).sum())
    chosen = [judged.items[row] for row in trials.worst(MOST_TRIALS)]
    header = ("first", "second", "speakers", "kind", "score", "untrained", "log-likelihood ratio", "seconds")
    listing = table(header, [_trial(item) for item in chosen])
    note = paragraph(
        f"{wrong:,} of {len(trials.items):,} trials are wrong at the threshold of the equal error rate, {threshold:.4g}, which was found "
        f"on these very trials. {len(chosen)} of them, furthest from it first, accepted impostors before rejected targets.",
        "soft",
    )
    shown = folded("show trials", listing) if judged.split == "validation" and len(chosen) > 5 else listing
    return section(title, note, shown, _speakers(trials))


def _trial(item: Mapping[str, Any]) -> list[str]:
    return [
        str(item["enrol"]),
        str(item["test"]),
        " / ".join(dict.fromkeys(str(item.get(f"{side}_speaker", "unknown")) for side in ("enrol", "test"))),
        "target, rejected" if item["target"] else "non-target, accepted",
        number(item["score"], ".4f"),
        number(item.get("untrained_score"), ".4f"),
        number(item.get("log_likelihood_ratio"), ".2f"),
        f"{number(item.get('enrol_seconds'), '.1f')} / {number(item.get('test_seconds'), '.1f')}",
    ]


def _speakers(trials: TrialTable) -> str:
    found = trials.by_speaker
    if not found:
        return paragraph("The speakers of these trials have no names, so errors cannot be told apart by speaker.", "soft")
    rows = [
        [
            one.speaker,
            f"{one.missed:,} of {one.targets:,}",
            f"{one.accepted:,} of {one.nontargets:,}",
            f"{one.rate:.1%}",
            f"{one.confused[0]} ({one.confused[1]:,} accepted)" if one.confused else "nobody",
        ]
        for one in found[:MOST_SPEAKERS]
    ]
    header = ("speaker", "target trials missed", "non-target trials accepted", "mean of both rates", "most confused with")
    note = paragraph(f"{len(found):,} speakers, most wrong first, {len(rows)} shown; one threshold for all.", "soft")
    return "\n".join([note, table(header, rows)])
