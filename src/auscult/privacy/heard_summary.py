"""Numbers of what others heard, and when a word error rate may be called one.

Problem: a decoder around random weights has a word error rate of 1.0 on everything, and that number once stood in a table as evidence
that a defence worked. Choice: whoever hears words is first given the truth. Where it fails there, at `MEANINGLESS` or above, its error
rates are left out for every method, and a sentence says what they were on the truth. The same holds for the victim's own readings. Equal
error rates are over all pairs of a sound and an enrolled speaker; chance has a row of its own.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from auscult.errors import UserError
from auscult.metrics.bootstrap import Interval, bootstrap_ratio
from auscult.metrics.detection import DetectionCurve
from auscult.metrics.trial_bootstrap import bootstrap_detection
from auscult.privacy.listeners import RECORDING

MEANINGLESS = 0.8
"""Word error rate on the truth from which on a recogniser says nothing of reconstructions."""
CHANCE = "chance"
"""Name of the row of what guessing finds."""
TRUTH = "true_input"

Item = Mapping[str, Any]
Table = dict[str, dict[str, dict[str, float]]]


def heard_table(rows: Sequence[Item]) -> tuple[Table, list[str]]:
    """Return the estimates of every method, and sentences about what was left out.

    Args:
        rows: of `auscult.privacy.listeners.Listeners.hear`; may be empty.
    """
    found: Table = {}
    for method in dict.fromkeys(str(row["method"]) for row in rows):
        mine = [row for row in rows if row["method"] == method]
        found[method] = _speakers(mine) if "rank" in mine[0] else {}
        for name, key in (("recogniser_wer", "words"), ("recogniser_cer", "characters")):
            if key in mine[0]:
                found[method][name] = ratio([row[key] for row in mine], mine)
        for name in ("stoi", "pesq"):
            values = [row for row in mine if math.isfinite(row.get(name, math.nan))]
            if values:
                found[method][name] = ratio([(row[name], 1.0) for row in values], values)
    notes = []
    for truth, words in ((RECORDING, "the recordings themselves"), (TRUTH, "the true features made sound")):
        note = refuse_meaningless(found, truth, ("recogniser_wer", "recogniser_cer"), "the recogniser", words)
        notes += [note] if note else []
    if rows and "rank" in rows[0]:
        candidates = int(rows[0]["candidates"])
        chances = {"speaker_top1": 1 / candidates, "speaker_top5": min(1.0, 5 / candidates), "speaker_eer": 0.5}
        utterances = found[RECORDING]["speaker_top1"]["utterances"]
        found[CHANCE] = {name: {"value": one, "low": one, "high": one, "utterances": utterances} for name, one in chances.items()}
    return found, notes


def refuse_meaningless(found: Table, truth: str, names: Sequence[str], who: str, what: str) -> str | None:
    """Remove word errors from all rows of a table where those on the truth show that nothing is recognised, and say so.

    Args:
        found: estimates by method and name; changed.
        truth: method to look at.
        names: the word error rate, and what goes with it.
        who: recognises, in words.
        what: the truth is, in words.

    >>> table = {"true_input": {"wer": {"value": 0.97}}, "attack": {"wer": {"value": 0.98}, "snr": {"value": 3.0}}}
    >>> print(refuse_meaningless(table, "true_input", ("wer",), "the victim", "the true features"))
    no word error rate is reported: the victim makes 97% errors on the true features, 80% or more, and would make them on anything
    >>> table["attack"]
    {'snr': {'value': 3.0}}
    """
    known = found.get(truth, {}).get(names[0])
    if known is None or known["value"] < MEANINGLESS:
        return None
    for scores in found.values():
        for name in names:
            scores.pop(name, None)
    return (
        f"no word error rate is reported: {who} makes {known['value']:.0%} errors on {what}, {MEANINGLESS:.0%} or more, "
        "and would make them on anything"
    )


def ratio(pairs: Sequence[Sequence[float]], rows: Sequence[Item]) -> dict[str, float]:
    """Return the ratio of the sums of pairs, its interval over speakers and utterances, and of how many it is."""
    above, below = [float(one[0]) for one in pairs], [float(one[1]) for one in pairs]
    interval = bootstrap_ratio(above, below, [row["speaker"] for row in rows])
    return {"value": math.fsum(above) / math.fsum(below), "low": interval.low, "high": interval.high, "utterances": len(rows)}


def _speakers(rows: Sequence[Item]) -> dict[str, dict[str, float]]:
    found = {f"speaker_top{most}": ratio([(float(row["rank"] <= most), 1.0) for row in rows], rows) for most in (1, 5)}
    trials = [(row["cosine"], True, row["speaker"], row["speaker"]) for row in rows]
    trials += [(cosine, False, row["speaker"], other) for row in rows for other, cosine in row["others"].items()]
    scores, target = [one[0] for one in trials], [one[1] for one in trials]
    interval = _interval(scores, target, ([one[2] for one in trials], [one[3] for one in trials]))
    rate = DetectionCurve.of(scores, target).equal_error_rate()
    found["speaker_eer"] = {"value": rate, "low": interval.low, "high": interval.high, "utterances": len(rows)}
    return found


def _interval(scores: Sequence[float], target: Sequence[bool], speakers: tuple[list[str], list[str]]) -> Interval:
    try:
        return bootstrap_detection(scores, target, speakers).intervals["eer"]
    except UserError:  # too few speakers to resample
        return bootstrap_detection(scores, target).intervals["eer"]
