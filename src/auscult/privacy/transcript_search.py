"""What was said, from the posteriors of every character at every frame.

Problem: the output layer's gradient gives the posterior of each character at each frame (`auscult.privacy.occupancy`), smeared: an
untrained network does not know where a symbol lies, so that neighbours overlap over many frames and the likeliest path reads as two
letters. Choice: smeared is not lost. Were it known how long the alignment stays at each place of the transcript, the posteriors of a
character would be the sum over the places that hold it: **which character stands where is a linear problem** with answers of zero and one.
How long it stays depends on the answer but little, so the problem is solved and stated anew a few times with a transcript that is not
decided. What rounding gets wrong, a search repairs: substitutions and exchanges are ranked by their effect in the linear picture, the best
are computed exactly, and the best of those is taken while the distance falls. Directions in which the message says little of the frames
(units that are off, frames that look alike) weigh as little as they are known.

Rejected: collapsing the likeliest path (right only for networks that know the answer); a beam from left to right, which has to weigh
prefixes before the frames that tell them apart; a language model, which would make rare words guesses and common mistakes proofs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from scipy.optimize import nnls

from auscult.privacy.alignments import Array, Tokens, class_posteriors, symbol_occupancies, undecided_occupancies

ROUNDS = 8
"""How often the linear problem is stated and solved; four were enough for 80 symbols."""
RANKED, THOROUGH = 32, 480
"""Changes that are computed exactly in a step, and before giving up."""
MOVED = 6
"""Places by which a symbol is moved when substitutions and exchanges help no more."""
CHUNK = 64
SWEEPS = 200
_TINY = 1e-300


@dataclass(frozen=True, eq=False)
class Evidence:
    """What a message says of one utterance.

    Attributes:
        probabilities: (T, C) of the network.
        posteriors: (T, C), measured.
        weights: (T, T), by which differences of posteriors are multiplied: well-known directions of frames count as they are.
        symbols: length of the transcript.
        characters: classes that it holds.
        blank: class of the blank.
    """

    probabilities: Array
    posteriors: Array
    weights: Array
    symbols: int
    characters: tuple[int, ...]
    blank: int

    @cached_property
    def weighted(self) -> Array:
        """Measured posteriors times the weights, (T, C)."""
        return self.weights @ self.posteriors

    def fits(self, transcripts: Tokens) -> Tokens:
        """Return the transcripts that have a path through the frames."""
        repeats = (transcripts[:, 1:] == transcripts[:, :-1]).sum(1)
        fitting: Tokens = transcripts[transcripts.shape[1] + repeats <= len(self.probabilities)]
        return fitting

    def distances(self, transcripts: Tokens) -> Array:
        """Return the squared distance of each of (N, L) transcripts to what was measured, (N,)."""
        found = [np.zeros(0)]
        for first in range(0, len(transcripts), CHUNK):
            made = class_posteriors(self.probabilities, transcripts[first : first + CHUNK], self.blank)
            found.append(np.square(self.weights @ made - self.weighted).sum((1, 2)))
        return np.concatenate(found)


class Read(NamedTuple):
    """A transcript (L,), its squared distance, and how many were compared."""

    transcript: Tokens
    distance: float
    compared: int


def read_transcript(evidence: Evidence, agrees: Callable[[Tokens], bool], told: Callable[[float], None] = lambda distance: None) -> Read:
    """Return the transcript of an utterance that explains what was measured best, as far as the search sees.

    Args:
        evidence: with at least one symbol and one character, and frames for all symbols.
        agrees: whether a transcript explains the message itself, so that nothing is left to look for.
        told: called with the squared distance before every step.
    """
    best = _decided(evidence, _undecided(evidence))
    distance, compared = float(evidence.distances(best[None])[0]), 1
    for _ in range(SWEEPS):
        told(distance)
        if agrees(best):
            break
        for proposals in _proposals(evidence, best):
            values = evidence.distances(proposals)
            compared += len(values)
            if len(values) and values.min() < distance:
                best, distance = proposals[values.argmin()], float(values.min())
                break
        else:
            break
    return Read(best, distance, compared)


def rivals(evidence: Evidence, transcript: Tokens, count: int = RANKED) -> Tokens:
    """Return the transcripts one substitution or exchange away that a message tells least from a transcript, (at most count, L)."""
    return _ranked(evidence, transcript, np.zeros_like(evidence.posteriors))[:count]


def _proposals(evidence: Evidence, transcript: Tokens) -> Iterator[Tokens]:
    """Yield groups of transcripts to try instead, cheap and likely ones first."""
    yield evidence.fits(_decided(evidence, _solved(evidence, *_hard(evidence, transcript)))[None])
    made = class_posteriors(evidence.probabilities, transcript[None], evidence.blank)[0]
    ranked = _ranked(evidence, transcript, evidence.weighted - evidence.weights @ made)
    yield ranked[:RANKED]
    yield ranked[RANKED:THOROUGH]
    yield _moved(evidence, transcript)


def _undecided(evidence: Evidence) -> Array:
    """Return shares (L, C) of each character at each place: the fixed point of a linear problem."""
    heard = np.zeros(evidence.posteriors.shape[1])
    heard[list(evidence.characters)] = evidence.posteriors[:, list(evidence.characters)].sum(0).clip(1e-3)
    shares = np.tile(heard / heard.sum(), (evidence.symbols, 1))
    for number in range(ROUNDS):
        places, emitted = undecided_occupancies(evidence.probabilities, shares, evidence.blank)
        solved = _solved(evidence, places, emitted)
        shares = solved if number == ROUNDS - 1 else (shares + solved) / 2
    return shares


def _hard(evidence: Evidence, transcript: Tokens) -> tuple[Array, Array]:
    """Return what `undecided_occupancies` does, of a transcript that is decided."""
    places, _ = symbol_occupancies(evidence.probabilities, transcript[None], evidence.blank)
    return places[0], evidence.probabilities[:, transcript]


def _solved(evidence: Evidence, places: Array, emitted: Array) -> Array:
    """Return shares (L, C) that explain the measured posteriors best if alignments stay at each place as long as given."""
    shares = np.zeros((places.shape[1], evidence.posteriors.shape[1]))
    for character in evidence.characters:
        parts = places * (evidence.probabilities[:, [character]] / np.maximum(emitted, _TINY))  # (T, L)
        try:
            shares[:, character] = nnls(evidence.weights @ parts, evidence.weighted[:, character])[0]
        except RuntimeError:  # too many iterations: what the others say of these places has to do
            continue
    shares /= np.maximum(shares.sum(1, keepdims=True), _TINY)
    return shares


def _decided(evidence: Evidence, shares: Array) -> Tokens:
    characters = np.array(evidence.characters)
    chosen: Tokens = characters[shares[:, characters].argmax(1)]
    return chosen


def _ranked(evidence: Evidence, transcript: Tokens, missing: Array) -> Tokens:
    """Return transcripts one change away, (changes, L), those first that fill what is missing (T, C) best in the linear picture."""
    places, _ = _hard(evidence, transcript)
    characters = np.array(evidence.characters)
    ratios = evidence.probabilities[:, characters][:, None] / np.maximum(evidence.probabilities[:, transcript][:, :, None], _TINY)
    instead = places[:, :, None] * ratios  # (T, L, characters): the place, were it held by the character
    instead *= (places.sum(0)[:, None] / np.maximum(instead.sum(0), _TINY))[None]
    now, instead = evidence.weights @ places, np.einsum("st,tlk->slk", evidence.weights, instead)
    taken = 2 * np.einsum("tl,tl->l", missing[:, transcript], now) + np.square(now).sum(0)  # (L,): what leaving a place costs
    given = np.square(instead).sum(0) - 2 * np.einsum("tk,tlk->lk", missing[:, characters], instead)  # (L, characters): what coming costs
    substituted = taken[:, None] + given
    column = np.searchsorted(characters, transcript)
    other = instead[:, :, column]  # (T, j, i): place j, were it held by the character at i
    difference = other - now[:, None, :]  # column of the character at i, after an exchange with j
    half = np.square(difference).sum(0) - 2 * np.einsum("ti,tji->ji", missing[:, transcript], difference)
    return evidence.fits(_changed(transcript, characters, substituted, half + half.T))


def _changed(transcript: Tokens, characters: Tokens, substituted: Array, exchanged: Array) -> Tokens:
    """Return transcripts after each substitution and exchange, in the order of their values (L, characters) and (L, L)."""
    substitutions = np.argwhere(transcript[:, None] != characters[None])
    exchanges = np.argwhere(np.triu(transcript[:, None] != transcript[None], 1))
    changed = np.tile(transcript, (len(substitutions) + len(exchanges), 1))
    rows = np.arange(len(substitutions))
    changed[rows, substitutions[:, 0]] = characters[substitutions[:, 1]]
    rows = np.arange(len(substitutions), len(changed))
    changed[rows, exchanges[:, 0]], changed[rows, exchanges[:, 1]] = transcript[exchanges[:, 1]], transcript[exchanges[:, 0]]
    values = np.concatenate([substituted[tuple(substitutions.T)], exchanged[tuple(exchanges.T)]])
    return changed[np.argsort(values, kind="stable")]


def _moved(evidence: Evidence, transcript: Tokens) -> Tokens:
    """Return transcripts in which one symbol stands a few places away, (changes, L)."""
    symbols, made = len(transcript), []
    for place in range(symbols):
        for target in range(max(0, place - MOVED), min(symbols, place + MOVED + 1)):
            if abs(target - place) > 1:  # neighbours are exchanges
                made.append(np.insert(np.delete(transcript, place), target, transcript[place]))
    return evidence.fits(np.array(made, dtype=np.int64).reshape(-1, symbols))
