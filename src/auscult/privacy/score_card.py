"""What an attack has found, scored beside what it has to beat: the one place where reconstructions and truths meet.

Problem: an attack's own objective says nothing of what was disclosed, errors have no meaning without controls, and utterances that come
back in an unknown order invite a comparison with whichever fits. Choice: every utterance of a message is scored by the same measures for
the attack and for four controls. Reconstructions of one message are assigned to its utterances so that the sum of their errors is least;
that helps the attack, never a control, and is stated. An utterance that nothing was found for, or only something that is not finite, is
scored as zeros. The truth decides here and nowhere else.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from auscult.data.alphabet import Alphabet
from auscult.metrics.disclosure import Found, character_set_scores, nearest_neighbour_hit
from auscult.metrics.edit_distance import EditCounts
from auscult.metrics.error_rate import character_errors, word_errors
from auscult.metrics.reconstruction import Array, feature_mae, feature_scores, mel_psnr
from auscult.metrics.reconstruction_controls import Score, controls
from auscult.privacy.attack import Reconstruction
from auscult.privacy.claims import claims
from auscult.privacy.listeners import Heard, Listeners
from auscult.privacy.message import Truth
from auscult.privacy.revocode import Revocoder
from auscult.privacy.victim import Victim
from auscult.streams import Streams
from auscult.tasks.decoders.greedy import GreedyDecoder

ATTACK = "attack"
"""Name of the attack's row, above those of the controls."""

Item = dict[str, Any]


@dataclass(frozen=True)
class Scored:
    """Scores of one message.

    Attributes:
        items: a record per utterance, with the scores of every method.
        message: a record of the message: its characters, as found and by controls.
        features: the reconstruction assigned to each utterance, None where there is none.
        notes: sentences about what could not be scored as found.
        heard: records of what others heard, by utterance and method; see `auscult.privacy.listeners`.
    """

    items: list[Item]
    message: Item
    features: tuple[Array | None, ...]
    notes: tuple[str, ...]
    heard: tuple[Item, ...] = ()


class ScoreCard:
    """Scores messages of one attack.

    Args:
        victim: reads reconstructions aloud.
        pool: single frames of the split's utterances, as the victim's network takes them.
        texts: transcripts of the pool.
        revocoder: of the pool.
        words: whether the victim has learned to recognise anything; fresh weights have no word error rate worth reporting.
        streams: draw the other utterance of a control.
        listeners: hear every method's features besides; None where nobody does.
    """

    def __init__(
        self,
        victim: Victim,
        pool: Sequence[Array],
        texts: Sequence[str],
        revocoder: Revocoder,
        words: bool,
        streams: Streams,
        listeners: Listeners | None = None,
    ) -> None:
        self.victim, self.pool, self.texts, self.revocoder = victim, tuple(pool), tuple(texts), revocoder
        self.words, self.streams, self.listeners = words, streams, listeners
        self._alphabet, self._decoder = Alphabet(victim.specification.labels), GreedyDecoder()

    def score(self, number: int, places: Sequence[int], found: Reconstruction, truth: Truth) -> Scored:
        """Score a message.

        Args:
            number: of the message.
            places: where its utterances stand in the pool.
            found: by the attack.
            truth: of the message.
        """
        assigned, order, notes = self._assigned(found, [self.pool[place] for place in places])
        items, heard = [], list[Item]()
        for row, place in enumerate(places):
            item: Item = {"id": truth.ids[row], "speaker": truth.speakers[row], "message": number, "reference": truth.texts[row]}
            item |= {"frames": len(self.pool[place]), "seconds": len(truth.samples[row]) / self.victim.specification.sample_rate}
            if found.features is not None:
                methods = self._methods(place, assigned[row])
                item |= self._feature_record(place, places, methods, assigned[row] is not None)
                heard += self._hear(place, places, methods, truth, row)
            place_found = order[row] if found.features is not None else row
            item |= self._claims(place, place_found, found, truth.texts[row])
            if found.symbols is not None and place_found is not None:
                item |= {"symbols": found.symbols[place_found], "transcript_symbols": len(truth.texts[row])}
            items.append(item)
        return Scored(
            items,
            {"id": f"message-{number}", "utterances": list(truth.ids), **self._characters(number, found, truth)},
            assigned,
            notes,
            tuple(heard),
        )

    def _methods(self, place: int, attack: Array | None) -> dict[str, Array]:
        """Return the features of the attack and of every control for an utterance of the pool."""
        true, random = self.pool[place], self.streams.generator("controls", place)
        return {ATTACK: np.zeros_like(true) if attack is None else attack, **controls(self.pool, place, random)}

    def _hear(self, place: int, together: Sequence[int], methods: dict[str, Array], truth: Truth, row: int) -> list[Item]:
        if self.listeners is None:
            return []
        utterance = Heard(truth.ids[row], truth.speakers[row], truth.texts[row], truth.samples[row].numpy())
        return self.listeners.hear(utterance, methods, together)

    def _claims(self, place: int, place_found: int | None, found: Reconstruction, text: str) -> Item:
        others = [one for one in self.texts if one != text] or list(self.texts)
        return claims(found, place_found, text, others, self.victim.specification.labels, self.streams.generator("claims", place))

    def _feature_record(self, place: int, together: Sequence[int], methods: dict[str, Array], there: bool) -> Item:
        heard = {name: self._heard(features) for name, features in methods.items()} if self.words else {}
        scores = {name: self._scores(place, together, features, heard.get(name)) for name, features in methods.items()}
        told = {"hypothesis": heard[ATTACK], "true_hypothesis": heard["true_input"]} if self.words else {}
        return {"found": there, "snr": scores[ATTACK]["snr"], **told, "scores": scores}

    def _scores(self, place: int, together: Sequence[int], features: Array, heard: str | None) -> dict[str, Score]:
        true = self.pool[place]
        scores: dict[str, Score] = {**feature_scores(true, features).record()}
        scores["identified"] = float(nearest_neighbour_hit(self.pool, place, features).hit)
        if self.revocoder.audible:
            scale = self.revocoder.scale(together)
            scores["mel_psnr"] = mel_psnr(self.revocoder.log_mel(true, scale), self.revocoder.log_mel(features, scale)).decibels
        if heard is not None:
            scores["wer"] = _pair(word_errors(self.texts[place], heard))
            scores["cer"] = _pair(character_errors(self.texts[place], heard))
        return scores

    def _heard(self, features: Array) -> str:
        """Return what the victim's network reads from single frames; nothing where they are too few for it."""
        model = self.victim.model
        if len(features) < model.minimum_frames:
            return ""
        frames = torch.from_numpy(features).to(next(iter(self.victim.parameters.values())).dtype)[None]
        with torch.inference_mode():
            output = model.encode(self.victim.features.stack(frames, torch.tensor([frames.shape[1]])))
        values = torch.log_softmax(output.logits[0, : int(output.lengths[0])].float(), -1).numpy()
        return self._decoder(values, self._alphabet) if np.isfinite(values).all() else ""

    def _assigned(
        self, found: Reconstruction, truths: Sequence[Array]
    ) -> tuple[tuple[Array | None, ...], list[int | None], tuple[str, ...]]:
        """Return the reconstruction of each utterance, its place in the attack's own order, and what was left out."""
        order: list[int | None] = [None] * len(truths)
        if found.features is None:
            return (None,) * len(truths), order, ()
        usable = {place: array for place, array in enumerate(map(_array, found.features)) if array.size and np.isfinite(array).all()}
        notes = [f"{len(found.features) - len(usable)} reconstructions are not finite, and scored as zeros"]
        notes = notes if len(usable) < len(found.features) else []
        notes += ["fewer utterances were found than the message has; the rest is scored as zeros"] if len(usable) < len(truths) else []
        places = list(usable)
        costs = np.array([[feature_mae(true, usable[place]) for place in places] for true in truths]).reshape(len(truths), len(places))
        for row, column in zip(*linear_sum_assignment(costs), strict=True):
            order[int(row)] = places[int(column)]
        return tuple(None if place is None else usable[place] for place in order), order, tuple(notes)

    def _characters(self, number: int, found: Reconstruction, truth: Truth) -> Item:
        """Return the characters of a message as found, and by controls that know none of it."""
        if found.characters is None:
            return {}
        true = frozenset("".join(truth.texts))
        others = [text for text in self.texts if text not in truth.texts] or list(self.texts)
        drawn = self.streams.generator("characters", number).integers(len(others), size=len(truth.texts))
        claims = {
            ATTACK: found.characters,
            "every_character": frozenset(self.victim.specification.labels),
            "other_transcripts": frozenset("".join(others[int(one)] for one in drawn)),
        }
        counts = {name: character_set_scores(true, claim) for name, claim in claims.items()}
        return {"characters": "".join(sorted(found.characters)), "true_characters": "".join(sorted(true))} | {
            "counts": {name: _counts(one) for name, one in counts.items()}
        }


def _array(features: Tensor) -> Array:
    return features.detach().double().cpu().numpy()


def _pair(counts: EditCounts) -> tuple[float, float]:
    return float(counts.errors), float(counts.length)


def _counts(found: Found) -> dict[str, int]:
    return {"hits": found.hits, "claimed": found.claimed, "present": found.present, "exact": int(found.exact)}
