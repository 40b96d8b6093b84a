"""What was said, word for word, from two layers of DeepSpeech 1: features by linear algebra, then the transcript that makes the message.

Problem: attacks on recognisers were told the transcript, or optimised soft labels beside features; label attacks for images assume one
softmax per datum. Choice: nothing is told. `first_layer_span` gives the features, so that the output layer's gradient is a
function of the transcript alone; `auscult.privacy.transcript_search` reads it, and its answer goes back through the network: what
predicts the message is proved, everything else is called a guess.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import count

from auscult.errors import UserError
from auscult.privacy.alignments import Tokens
from auscult.privacy.attack import Attack, Reconstruction, Watch
from auscult.privacy.attacks.first_layer_span import MIXED, FirstLayerSpan, doubts_of
from auscult.privacy.message import Knowledge, Leak
from auscult.privacy.occupancy import BIAS, WEIGHT
from auscult.privacy.transcript_evidence import AGREES, APART, FLOAT, Observed, observe
from auscult.privacy.transcript_search import SWEEPS, read_transcript
from auscult.privacy.victim import Victim
from auscult.registry import register


@register("attack", "transcript_search")
class TranscriptSearch(Attack):
    """Reconstruct features and transcripts of DeepSpeech 1 from the gradients of its first and its output layer.

    Needs no transcript. Lengths are measured under a loss averaged over targets; under other losses, lengths that are known are used.
    """

    def run(self, victim: Victim, leak: Leak, knowledge: Knowledge, watch: Watch) -> Reconstruction:
        """Return features and transcripts, each proved or a guess; raises as the contract says."""
        self.needed(leak, [WEIGHT, BIAS])
        if leak.steps != 1:
            raise UserError(
                f"transcript_search: {leak.steps} local steps mix gradients of different weights; it needs a message of one step"
            )
        found = FirstLayerSpan().run(victim, leak, knowledge, watch)
        assert found.features is not None  # it returns zeros where it finds none
        if MIXED in found.notes or found.gave_up is not None:
            return replace(found, notes=(*found.notes, "no transcript is looked for without features"))
        observed = observe(victim, leak, found.features, _told(knowledge))
        doubts = doubts_of(leak, found.objective)
        texts, proved, residuals, notes = list[str | None](), list[bool](), list[float](), list[str]()
        steps, most = count(1), SWEEPS * len(observed)
        for one in observed:
            if one.evidence is None:
                texts.append(None)
                proved.append(False)
                notes.append("the length of a transcript is unknown, or no character was found: it is not looked for")
                continue
            read = read_transcript(one.evidence, one.agrees, lambda distance: watch.report(next(steps), most, {"distance": distance}))
            residuals.append(one.residual(read.transcript))
            texts.append("".join(victim.specification.labels[token] for token in read.transcript))
            reason = _unproved(one, read.transcript)
            proved.append(reason is None and not doubts)
            notes += [reason] if reason is not None and not doubts else []
        notes += [f"{' and '.join(doubts)}: transcripts are guesses"] if doubts else []
        found = _with_what_is_proved(found, texts) if all(proved) else found
        return replace(
            found, transcripts=tuple(texts), proved=tuple(proved), objective=max(residuals, default=1.0), notes=(*found.notes, *notes)
        )


def _with_what_is_proved(found: Reconstruction, texts: Sequence[str | None]) -> Reconstruction:
    """Return characters and lengths of proved transcripts; the occupancies alone may have been too uncertain to claim any."""
    said = [text for text in texts if text is not None]
    notes = tuple(note for note in found.notes if "no characters are claimed" not in note)
    sets = tuple(frozenset(text) for text in said)
    return replace(found, characters=frozenset().union(*sets), by_utterance=sets, symbols=tuple(map(len, said)), notes=notes)


def _told(knowledge: Knowledge) -> tuple[int, ...] | None:
    """Return the lengths of transcripts in the order of the features; None where that order is unknown, and they are not known."""
    if knowledge.token_lengths is None or knowledge.frames is None or len(set(knowledge.frames)) < len(knowledge.frames):
        return None
    return knowledge.token_lengths


def _unproved(observed: Observed, transcript: Tokens) -> str | None:
    """Return why a transcript is a guess; None where it is proved."""
    residual = observed.residual(transcript)
    if residual > AGREES:
        return f"a transcript is a guess: the gradient that it predicts is {residual:.1g} of the message away"
    if observed.nearest_rival(transcript) < APART * max(residual, FLOAT):
        return "a transcript is a guess: the message agrees with another one too"
    return None
