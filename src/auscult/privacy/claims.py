"""Claims about single utterances: their characters and their transcripts, scored beside claims that know nothing.

Problem: an attack that calls a transcript proved must never be wrong, and nothing but the truth can tell; a guess that is half right looks
impressive until other people's sentences are seen to be a tenth right. Choice: each utterance's transcript is compared with what the attack
claims and with another utterance's transcript of the same length; **a proof that is wrong is counted, and an alarm**. Utterances that
come in an order of their own are compared in the order that their features were assigned in.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from auscult.metrics.disclosure import character_set_scores
from auscult.metrics.error_rate import character_errors, word_errors
from auscult.privacy.attack import Reconstruction
from auscult.privacy.heard_summary import Table, ratio

Item = Mapping[str, Any]
ATTACK, OTHERS, ALL = "attack", "other_transcripts", "every_character"


def claims(
    found: Reconstruction, place: int | None, text: str, others: Sequence[str], labels: Sequence[str], random: Any
) -> dict[str, Any]:
    """Return what a record of an utterance says of its characters and its transcript; nothing of what was not looked for.

    Args:
        found: by the attack.
        place: of the utterance in the attack's order; None where nothing was found for it.
        text: what was said.
        others: transcripts of other utterances, at least one.
        labels: of the victim.
        random: NumPy generator, draws the other utterance.
    """
    other = others[int(random.integers(len(others)))]
    made: dict[str, Any] = {}
    if found.by_utterance is not None:
        claimed = found.by_utterance[place] if place is not None else frozenset[str]()
        sets = {ATTACK: claimed, ALL: frozenset(labels), OTHERS: frozenset(other)}
        scores = {name: character_set_scores(frozenset(text), one) for name, one in sets.items()}
        made["character_counts"] = {
            name: {"hits": one.hits, "claimed": one.claimed, "present": one.present, "exact": int(one.exact)}
            for name, one in scores.items()
        }
    if found.transcripts is not None:
        said = found.transcripts[place] if place is not None else None
        proved = bool(found.proved[place]) if found.proved is not None and place is not None else False
        stretched = "".join(np.resize(list(other), len(text)).tolist())
        made |= {"transcript": said, "proved": proved}
        made["transcript_scores"] = {ATTACK: _scores(text, said or "", proved), OTHERS: _scores(text, stretched, False)}
    return made


def transcript_table(items: Sequence[Item]) -> tuple[Table, list[str]]:
    """Return the estimates of transcripts by method, over utterances, and alarms about proofs that are wrong."""
    if not items or not all("transcript_scores" in item for item in items):
        return {}, []
    table: Table = {}
    for method in items[0]["transcript_scores"]:
        scores = [item["transcript_scores"][method] for item in items]
        table[method] = {name: ratio([one[name] for one in scores], items) for name in scores[0]}
    wrong = [str(item["id"]) for item in items if item["transcript_scores"][ATTACK]["transcript_false_proof"][0]]
    alarm = f"ALARM: {len(wrong)} transcripts were called proved and are wrong, first {wrong[0]}: do not trust this attack" if wrong else ""
    return table, [alarm] if wrong else []


def character_table(items: Sequence[Item]) -> Table:
    """Return precision, recall and exact sets of the characters of single utterances, by method."""
    if not items or not all("character_counts" in item for item in items):
        return {}
    table: Table = {}
    for method in items[0]["character_counts"]:
        counts = [item["character_counts"][method] for item in items]
        parts = {
            "precision": [(one["hits"], one["claimed"]) for one in counts],
            "recall": [(one["hits"], one["present"]) for one in counts],
            "exact": [(one["exact"], 1) for one in counts],
        }
        table[method] = {name: ratio(pairs, items) for name, pairs in parts.items() if any(below for _, below in pairs)}
    return table


def _scores(text: str, said: str, proved: bool) -> dict[str, tuple[float, float]]:
    words, characters = word_errors(text, said), character_errors(text, said)
    return {
        "transcript_exact": (float(said == text), 1.0),
        "transcript_proved": (float(proved), 1.0),
        "transcript_false_proof": (float(proved and said != text), 1.0),
        "transcript_cer": (float(characters.errors), float(characters.length)),
        "transcript_wer": (float(words.errors), float(words.length)),
    }
