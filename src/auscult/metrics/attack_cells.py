"""The scores of one cell of a grid of attacks, from the records of its runs.

Problem: a cell is several runs that differ in their seed alone, its utterances succeed or fail as a whole, and a summary that was written
once is believed for ever. Choice: one function turns records into the numbers of a cell; a sweep writes with it, and the page calls it
again to check what was written. Runs of one utterance are averaged before anything is resampled; scores in dB and errors are then
medians, because a mean of successes and failures is a score that no utterance has; shares and rates are ratios of sums. Intervals resample
speakers, then utterances; of messages, messages. A run in which an utterance is missing is refused.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from auscult.errors import UserError
from auscult.metrics.bootstrap import bootstrap_ratio
from auscult.metrics.median_bootstrap import bootstrap_median

MEDIANS = ("mae", "snr", "raw_mae", "mel_psnr", "length_error")
"""Scores of utterances that are summed up by their median."""
REPLICATES = 2_000

Item = Mapping[str, Any]
Estimates = dict[str, dict[str, float]]


class Records(NamedTuple):
    """What one run of a cell left: a record per utterance, and one per message."""

    items: Sequence[Item]
    messages: Sequence[Item]


def cell_scores(runs: Sequence[Records], replicates: int = REPLICATES) -> dict[str, Any]:
    """Return the numbers of a cell.

    Args:
        runs: one per seed, over the same utterances.
        replicates: of each bootstrap.

    Returns:
        "utterances", "messages" and "seeds" counted; "scores" of features, "transcripts" and "characters" by method (the attack
        and its controls) and name;
        "utility" by name; each an estimate with "value", "low" and "high"; "gave_up" and "notes", reasons counted over messages of all
        seeds.

    Raises:
        UserError: runs are not of the same utterances or messages.
    """
    items = _together("utterances", [run.items for run in runs])
    messages = _together("messages", [run.messages for run in runs])
    every = [message for run in runs for message in run.messages]
    given_up = [str(message["gave_up"]) for message in every if message.get("gave_up")]
    return {
        "utterances": len(items),
        "messages": len(messages),
        "seeds": len(runs),
        "scores": _scores(items, "scores", replicates),
        "transcripts": _scores(items, "transcript_scores", replicates),
        "characters": _characters(messages, replicates),
        "utility": _utility(messages, replicates),
        "gave_up": {"messages": len(given_up), "of": len(every), "reasons": counted(given_up)},
        "notes": counted(note for message in every for note in message["notes"]),
    }


def counted(sentences: Iterable[str]) -> dict[str, int]:
    """Return how often each sentence was said, most often first; those that differ in numbers only are one, with # for the numbers.

    >>> counted(["gap 0.5", "gap 0.7", "5 too many", "5 too many"])
    {'gap #': 2, '5 too many': 2}
    """
    forms: dict[str, list[str]] = {}
    for sentence in sentences:
        forms.setdefault(re.sub(r"\d+(?:\.\d+)?(?:e[+-]?\d+)?", "#", sentence), []).append(sentence)
    named = {form if len(set(found)) > 1 else found[0]: len(found) for form, found in forms.items()}
    return dict(sorted(named.items(), key=lambda pair: -pair[1]))


def disagreements(stored: Mapping[str, Any], found: Mapping[str, Any]) -> list[str]:
    """Return where the numbers of a cell, as they were stored, are not those of its records; intervals are not compared.

    Args:
        stored: what `cell_scores` gave once.
        found: what it gives now.
    """
    said = [f"{key} {stored.get(key)} for {found[key]}" for key in ("utterances", "messages", "seeds") if stored.get(key) != found[key]]
    for part in ("scores", "transcripts", "characters"):
        for method in [*found[part], *(name for name in stored[part] if name not in found[part])]:
            said += _differing(f"{method} ", stored[part].get(method, {}), found[part].get(method, {}))
    said += _differing("utility ", stored["utility"], found["utility"])
    if stored["gave_up"] != found["gave_up"]:
        said.append(f"given up in {stored['gave_up']['messages']} messages for {found['gave_up']['messages']}")
    return said


def _differing(what: str, stored: Mapping[str, Item], found: Mapping[str, Item]) -> list[str]:
    names = [*found, *(name for name in stored if name not in found)]
    pairs = [(name, _value(stored, name), _value(found, name)) for name in names]
    return [f"{what}{name} {one} for {other}" for name, one, other in pairs if one != other]


def _value(estimates: Mapping[str, Item], name: str) -> Any:
    return estimates[name]["value"] if name in estimates else "nothing"


def _together(what: str, runs: Sequence[Sequence[Item]]) -> dict[str, list[Item]]:
    """Return the records of all seeds by id."""
    found: dict[str, list[Item]] = {}
    for run in runs:
        for item in run:
            found.setdefault(str(item["id"]), []).append(item)
    odd = [name for name, records in found.items() if len(records) != len(runs)]
    if odd or not found:
        first = f", first {odd[0]}" if odd else ""
        raise UserError(f"cell: its {len(runs)} runs are not of the same {what} ({len(odd)} differ{first}); a sweep makes such runs again")
    return found


def _scores(items: Mapping[str, list[Item]], kind: str, replicates: int) -> dict[str, Estimates]:
    """Return the estimates of every method; empty where not every run has scores of the kind."""
    first = next(iter(items.values()))[0]
    if not all(kind in one for records in items.values() for one in records):
        return {}
    speakers = [str(records[0]["speaker"]) for records in items.values()]
    found: dict[str, Estimates] = {}
    for method, scores in first[kind].items():
        for name in scores:
            pairs = np.array([np.mean([_pair(one[kind][method][name]) for one in records], axis=0) for records in items.values()])
            found.setdefault(method, {})[name] = _estimate(name, pairs, speakers, replicates)
    return found


def _estimate(name: str, pairs: NDArray[np.float64], speakers: Sequence[str] | None, replicates: int) -> dict[str, float]:
    """Return the estimate of a score from (utterances, 2) numerators and denominators."""
    if name in MEDIANS:
        value, interval = float(np.median(pairs[:, 0])), bootstrap_median(pairs[:, 0], speakers, replicates)
    else:
        value = math.fsum(pairs[:, 0]) / math.fsum(pairs[:, 1])
        interval = bootstrap_ratio(pairs[:, 0], pairs[:, 1], speakers, replicates)
    return {"value": value, "low": interval.low, "high": interval.high}


def _pair(score: Any) -> tuple[float, float]:
    return (float(score[0]), float(score[1])) if isinstance(score, tuple | list) else (float(score), 1.0)


def _characters(messages: Mapping[str, list[Item]], replicates: int) -> dict[str, Estimates]:
    """Return precision, recall and exact matches of every method."""
    found: dict[str, Estimates] = {}
    if not all("counts" in one for records in messages.values() for one in records):
        return found
    for method in next(iter(messages.values()))[0]["counts"]:
        for name, (above, below) in {"precision": ("hits", "claimed"), "recall": ("hits", "present"), "exact": ("exact", None)}.items():
            pairs = np.array([_mean_counts([one["counts"][method] for one in records], above, below) for records in messages.values()])
            if pairs[:, 1].sum() > 0:
                found.setdefault(method, {})[name] = _estimate(name, pairs, None, replicates)
    return found


def _mean_counts(counts: Sequence[Item], above: str, below: str | None) -> tuple[float, float]:
    return float(np.mean([one[above] for one in counts])), 1.0 if below is None else float(np.mean([one[below] for one in counts]))


def _utility(messages: Mapping[str, list[Item]], replicates: int) -> Estimates:
    """Return medians over messages; a measure that a message lacks is that of the others."""
    found: Estimates = {}
    for name in next(iter(messages.values()))[0]["utility"]:
        values = [[one["utility"][name] for one in records if math.isfinite(one["utility"][name])] for records in messages.values()]
        means = [float(np.mean(one)) for one in values if one]
        if means:
            low, high = bootstrap_median(means, replicates=replicates)
            found[name] = {"value": float(np.median(means)), "low": low, "high": high}
    return found
