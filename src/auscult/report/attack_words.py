"""An attack's threat model in words, and what must stand beside every attack.

Problem: a figure without its threat model is read as the worst or the best case, whichever suits the reader. Choice: the sentences are made
from what the run recorded of its message and its knowledge, never from the recipe's intentions, and stand before the first number.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

RESPONSIBLE = (
    "For auditing your own systems, with consent or on public corpora. Reconstructed speech is a person's speech: do not publish it. "
    "A failed attack proves no privacy."
)
"""Stands on every page and before every attack."""

ATTACK = "attack"
METHODS = {
    ATTACK: "the attack",
    "zero": "zeros",
    "corpus_mean": "mean of other utterances",
    "random_other": "another utterance",
    "true_input": "the truth (upper bound)",
    "every_character": "every character",
    "other_transcripts": "other transcripts",
    "recording": "the recording itself",
    "chance": "by chance",
}
SCORES = {
    "mae": "MAE, deviations",
    "snr": "SNR, dB",
    "raw_mae": "raw MAE",
    "length_error": "length error, frames",
    "mel_psnr": "mel PSNR, dB",
    "identified": "identified",
    "wer": "WER",
    "cer": "CER",
    "precision": "precision",
    "recall": "recall",
    "exact": "exact sets",
    "transcript_exact": "exact",
    "transcript_proved": "proved",
    "transcript_false_proof": "proved and wrong",
    "transcript_cer": "CER",
    "transcript_wer": "WER",
    "speaker_top1": "speaker first",
    "speaker_top5": "among first five",
    "speaker_eer": "EER",
    "recogniser_wer": "WER, another recogniser",
    "recogniser_cer": "CER, another recogniser",
    "stoi": "STOI",
    "pesq": "PESQ",
}
SHARES = {name for name in SCORES if name not in ("mae", "snr", "raw_mae", "length_error", "mel_psnr", "stoi", "pesq")}
"""Scores that are shown in per cent."""

TABLES = {
    "table": "",
    "characters": "Characters of whole messages",
    "utterance_characters": "Characters of each utterance",
    "transcripts": "Transcripts",
    "heard": "What others hear in the sound of the features",
}
"""Tables of `summary/attack.json` in the order in which they are shown, and what stands above each."""


def tables(summary: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    """Return the tables that a summary has, each with its heading."""
    return [(heading, summary[name]) for name, heading in TABLES.items() if any(summary.get(name, {}).values())]


def threat_model(threat: Mapping[str, Any]) -> list[str]:
    """Return the sentences of a threat model as `summary/attack.json` holds it."""
    message, knowledge, attack = threat["message"], threat["knowledge"], threat["attack"]
    return [
        f"The attacker is a server that follows the protocol and keeps what it receives. It knows the network "
        f"({threat['weights']}{' weights' if threat['weights'] == 'fresh' else ''}, victim {message['victim']}), its loss "
        f"(reduction {message['reduction']}) and how batch normalisation is used ({message['mode']}).",
        _received(message),
        f"Batch-normalisation statistics are {'sent' if message['buffers_sent'] else 'not sent'}. " + _dropout(message["dropout"]),
        _known(knowledge),
        "Clients defend themselves: " + "; ".join(message["defences"]) + "."
        if message["defences"]
        else "Clients do not defend themselves.",
        "Attack: " + ", ".join([str(attack["name"]), *(f"{key} {_plain(value)}" for key, value in attack.items() if key != "name")]) + ".",
    ]


def cost_of_defences(summary: Mapping[str, Any]) -> str | None:
    """Return what the defences left of a message's use, in a sentence; None where clients do not defend themselves."""
    found = summary.get("utility", {})
    if not summary["threat_model"]["message"]["defences"] or "loss_fall" not in found:
        return None
    fall, same, cosine = (f"{found[name]['value']:.3g}" for name in ("loss_fall", "loss_fall_same_rate", "cosine"))
    return (
        f"What the defences leave of a message: {fall} of the fall of the loss by one step at its best rate ({same} at the rate that is "
        f"best without defences), cosine {cosine} to the undefended message; medians over messages."
    )


def _plain(value: Any) -> str:
    return " and ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _received(message: Mapping[str, Any]) -> str:
    utterances = "one utterance" if message["batch"] == 1 else f"a batch of {message['batch']} utterances"
    if message["kind"] == "gradient":
        what = f"the gradient of {utterances}"
    else:
        what = f"the change of the weights by {message['steps']} local steps at a rate of {message['rate']:g} on {utterances}"
    source = "of one client" if message["clients"] == 1 else f"summed over {message['clients']} clients (secure aggregation)"
    parameters = message["parameters"]
    named = ", ".join(parameters[:4]) + (f" and {len(parameters) - 4} more" if len(parameters) > 4 else "")
    return f"It receives {what}, {source}: {message['values']:,} values of {named}. Each message is attacked alone."


def _dropout(probability: float) -> str:
    if not probability:
        return "Clients do not use dropout."
    return f"Clients drop values with probability {probability:g}; the masks are not known."


def _known(knowledge: Mapping[str, Any]) -> str:
    if knowledge["transcripts"]:
        return "Besides, it is told the transcripts and the lengths: an easy case, which real attackers seldom have."
    if knowledge["frames"]:
        return "Besides, it is told the lengths of audio and transcripts, but no transcript."
    return "It is told nothing besides."
