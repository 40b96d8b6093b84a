"""The numbers of an attack run from its records: tables with intervals, threat model, protocol, cost."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

from auscult.metrics.bootstrap import bootstrap_ratio
from auscult.metrics.median_bootstrap import bootstrap_median
from auscult.metrics.reconstruction import PROTOCOL
from auscult.metrics.reconstruction_controls import reconstruction_table
from auscult.privacy.claims import character_table, transcript_table
from auscult.privacy.heard_summary import MEANINGLESS, Table, heard_table, refuse_meaningless
from auscult.privacy.message import Knowledge, Leak
from auscult.privacy.score_card import ATTACK
from auscult.recipe.attack import AttackRecipe

Item = Mapping[str, Any]

UTILITY = (
    "loss_fall: fall of the loss on the batch behind a message by one step along it at its best rate, relative to the message without "
    "defences at its own best rate; one step, one batch, the layers that were sent; medians over messages"
)
"""How `auscult.privacy.utility` measures what a defence costs, to stand beside it."""


def summarise(
    recipe: AttackRecipe,
    items: Sequence[Item],
    messages: Sequence[Item],
    leak: Leak,
    knowledge: Knowledge,
    notes: Sequence[str],
    pool: int,
    heard: Sequence[Item] = (),
) -> dict[str, Any]:
    """Return what `summary/attack.json` holds.

    Args:
        recipe: of the run.
        items: records of utterances.
        messages: records of messages, with "seconds", "gradients" and "objective".
        leak: one of the messages, for what they have in common.
        knowledge: beside it.
        notes: sentences that belong beside the numbers.
        pool: utterances of the pool.
        heard: records of what others heard.
    """
    tables, more = _tables(items, messages, heard)
    utility = _utility(messages)
    metrics, intervals = _metrics(tables, utility)
    known = [item for item in items if "symbols" in item]
    if known:
        metrics["transcript_length_exact"] = sum(item["symbols"] == item["transcript_symbols"] for item in known) / len(known)
    case = recipe.case
    return {
        "metrics": metrics,
        "intervals": intervals,
        **tables,
        "utility": utility,
        "threat_model": {
            "message": leak.summary(),
            "knowledge": knowledge.summary(),
            "weights": "fresh" if case.victim.run is None else f"best checkpoint of {case.victim.run}",
            "attack": case.attack.to_dict(),
        },
        "protocol": _protocol(recipe, tables["table"], tables["characters"], pool),
        "cost": {
            "seconds": math.fsum(message["seconds"] for message in messages),
            "gradients": sum(message["gradients"] for message in messages),
            "messages": len(messages),
            "utterances": len(items),
        },
        "notes": list(dict.fromkeys([*more, *notes])),
        "seed": recipe.recipe.seed,
        "victim": leak.victim,
    }


def _tables(items: Sequence[Item], messages: Sequence[Item], heard: Sequence[Item]) -> tuple[dict[str, Table], list[str]]:
    """Return all tables by name, and sentences about them."""
    table = _table(items)
    transcripts, alarms = transcript_table(items)
    listened, refused = heard_table(heard)
    victim = refuse_meaningless(table, "true_input", ("wer", "cer"), "the victim", "the true features")
    tables = {
        "table": table,
        "characters": _characters(messages),
        "utterance_characters": character_table(items),
        "transcripts": transcripts,
        "heard": listened,
    }
    return tables, [*alarms, *([victim] if victim else []), *refused]


PREFIXES = {"table": "", "characters": "characters_", "transcripts": "", "heard": "", "utterance_characters": "utterance_characters_"}
"""What stands before the names of a table's scores among the metrics of the attack."""


def _metrics(tables: Mapping[str, Table], utility: Mapping[str, Mapping[str, float]]) -> tuple[dict[str, float], dict[str, list[float]]]:
    """Return the values of the attack, and their intervals, by name."""
    found = {f"{prefix}{name}": one for table, prefix in PREFIXES.items() for name, one in tables[table].get(ATTACK, {}).items()}
    found |= {f"utility_{name}": dict(one) for name, one in utility.items()}
    return {name: one["value"] for name, one in found.items()}, {name: [one["low"], one["high"]] for name, one in found.items()}


def _table(items: Sequence[Item]) -> dict[str, dict[str, dict[str, float]]]:
    """Return the estimates of every method; empty for an attack that looks for no features."""
    if not all("scores" in item for item in items):
        return {}
    methods = items[0]["scores"]
    rows = [
        {"method": method, "id": item["id"], "speaker": item["speaker"], "scores": item["scores"][method]}
        for method in methods
        for item in items
    ]
    found = reconstruction_table(rows)
    return {method: {name: dict(estimate._asdict()) for name, estimate in scores.items()} for method, scores in found.items()}


def _characters(messages: Sequence[Item]) -> dict[str, dict[str, dict[str, float]]]:
    """Return precision, recall and exact matches of every method, over messages."""
    if not all("counts" in message for message in messages):
        return {}
    found: dict[str, dict[str, dict[str, float]]] = {}
    for method in messages[0]["counts"]:
        counts = [message["counts"][method] for message in messages]
        parts = {
            "precision": ([one["hits"] for one in counts], [one["claimed"] for one in counts]),
            "recall": ([one["hits"] for one in counts], [one["present"] for one in counts]),
            "exact": ([one["exact"] for one in counts], [1] * len(counts)),
        }
        found[method] = {name: _ratio(above, below) for name, (above, below) in parts.items() if sum(below)}
    return found


def _utility(messages: Sequence[Item]) -> dict[str, dict[str, float]]:
    """Return the median of each measure of what defences cost, over the messages that have it."""
    found: dict[str, dict[str, float]] = {}
    for name in messages[0]["utility"]:
        values = [message["utility"][name] for message in messages if math.isfinite(message["utility"][name])]
        if values:
            interval = bootstrap_median(values)
            found[name] = {"value": float(median(values)), "low": interval.low, "high": interval.high, "messages": len(values)}
    return found


def _ratio(above: Sequence[int], below: Sequence[int]) -> dict[str, float]:
    interval = bootstrap_ratio(above, below)
    return {"value": sum(above) / sum(below), "low": interval.low, "high": interval.high, "messages": len(above)}


def _protocol(recipe: AttackRecipe, table: Mapping[str, Any], characters: Mapping[str, Any], pool: int) -> dict[str, str]:
    stated = {"utterances": f"{recipe.case.utterances.count} of {recipe.case.utterances.split}, by the hash of their ids"}
    if table:
        stated["features"] = PROTOCOL
        stated["raw_mae"] = "of the features as the network takes them"
        stated["order"] = (
            "reconstructions of one message are assigned to its utterances so that the sum of errors is least (helps the attack)"
        )
        stated["identified"] = f"nearest of {pool} utterances by shape; by chance {1 / pool:.1%}"
        stated["scale of sound and mel_psnr"] = (
            "mean and deviation before normalisation are averages of other utterances of the split, for truth and reconstruction alike; "
            "the range of mel_psnr is that of the truth"
        )
        stated["intervals"] = "95 %, speakers resampled before utterances, of this one seed"
        learned = recipe.case.victim.run is not None
        stated["words"] = (
            "greedy decoding by the victim's own network of the features; true_input is what it makes of the truth"
            if learned
            else "none: fresh weights recognise nothing"
        )
    if recipe.case.defence:
        stated["utility"] = UTILITY
    stated |= _claimed_protocol(recipe)
    if characters:
        stated["characters"] = "the set of all characters of a message, the space included; intervals resample messages"
    return stated


def _claimed_protocol(recipe: AttackRecipe) -> dict[str, str]:
    """Return how transcripts are proved and who listens."""
    stated = {
        "word error rates": f"reported only where the one on the truth is below {MEANINGLESS:.0%}",
        "transcripts": "proved: put back through the network, it predicts the message within numerical error, and no near one does",
    }
    case = recipe.case
    if case.speakers is not None:
        stated["speakers"] = (
            f"cosine to the mean embedding of each enrolled speaker by {case.speakers.run}; enrolment holds no attacked speech"
            f"{', and goes through the vocoder except for the recordings themselves' if case.speakers.vocoded else ''}; "
            "EER over all pairs of a sound and a speaker"
        )
    if case.recogniser is not None:
        stated["recogniser"] = f"{case.recogniser.run}, which hears sound and was trained apart from the victim"
    if case.speakers is not None or case.recogniser is not None:
        stated["sounds"] = (
            "features made sound by Griffin and Lim's algorithm from the same first phases for every method; mean and deviation before "
            "normalisation are those of other speakers of the pool"
        )
    return stated
