"""Prefix beam search: the most probable text, summed over its alignments, with an optional word language model.

Problem: greedy decoding finds the best alignment, not the best text. Choice: the search of Hannun et al. (arXiv 1408.2873). Each prefix
keeps the probability of ending in a blank and of ending in its last symbol; equal prefixes are merged, the best `beam_width` survive a
frame, and only classes with at least `minimum_probability` (and the best one) extend them. With an unlimited width and a minimum of 0
it is exact. Prefixes are nodes of a tree, so a frame costs dictionary look-ups on integers and never copies a text; probabilities are
linear and rescaled every frame, which ranks like logarithms and is faster in Python. Rejected: numba (an extra for a decoder already at
tens of milliseconds an utterance) and classes as NumPy vectors (beams times candidates are too few to pay for the calls).

Score of a text with a language model: log p(text | audio) + language_model_weight * ln p_LM(words, end) + word_bonus * words.
During the search a word counts once its space is written, the last one at the end. The library is named in `language_model`.
"""

from __future__ import annotations

import math
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from auscult.data.alphabet import Alphabet
from auscult.registry import register
from auscult.tasks.decoders.checks import check_log_probabilities
from auscult.tasks.decoders.language_model import State, WordLanguageModel

_Beam = dict[int, tuple[float, float]]
"""Node of each surviving prefix to its probability ending in a blank and ending in its last symbol."""

_ROOT = 0


@register("decoder", "prefix_beam")
class PrefixBeamDecoder:
    """Prefix beam search over characters.

    Args:
        beam_width: prefixes kept after each frame.
        minimum_probability: classes below it extend no prefix in that frame; 0 keeps all.
        language_model: ARPA text file of lower-case words, or none; needs the extra `lm`.
        language_model_weight: factor of the language model's log-probability (nats); ignored without one.
        word_bonus: added for every word (nats).

    >>> frames = np.log([[0.4, 0.6], [0.4, 0.6]])  # "a", blank
    >>> PrefixBeamDecoder()(frames, Alphabet(("a",)))
    'a'
    """

    def __init__(
        self,
        beam_width: Annotated[int, Field(ge=1)] = 32,
        minimum_probability: Annotated[float, Field(ge=0, lt=1)] = 0.001,
        language_model: str | None = None,
        language_model_weight: Annotated[float, Field(ge=0)] = 0.5,
        word_bonus: float = 0.0,
    ) -> None:
        self.beam_width = beam_width
        self.minimum_probability = minimum_probability
        self.language_model = None if language_model is None else WordLanguageModel(language_model)
        self.language_model_weight = language_model_weight
        self.word_bonus = word_bonus

    def __call__(self, log_probabilities: NDArray[np.floating], alphabet: Alphabet) -> str:
        """Return the best text of one utterance.

        Args:
            log_probabilities: (frames, classes) natural logarithms, valid frames only, blank last.
            alphabet: the model's labels.

        Raises:
            UserError: the input is not log-probabilities over this alphabet, or the language model does not fit the alphabet.
        """
        check_log_probabilities(log_probabilities, alphabet)
        if self.language_model is not None:
            self.language_model.check(alphabet)
        tree = _Prefixes(alphabet, self.language_model, self.language_model_weight, self.word_bonus)
        probabilities = np.exp(log_probabilities.astype(np.float64))
        kept = probabilities >= self.minimum_probability
        kept[np.arange(len(kept)), probabilities.argmax(axis=1)] = True
        kept[:, alphabet.blank] = False
        beam: _Beam = {_ROOT: (1.0, 0.0)}
        for frame, allowed in zip(probabilities, kept, strict=True):
            candidates = np.flatnonzero(allowed)
            beam = _advance(beam, tree, frame.tolist(), candidates.tolist(), alphabet.blank)
            beam = self._pruned(beam, tree)
        best = max(beam, key=lambda node: (math.log(sum(beam[node])) + tree.bonus[node] + tree.ending(node), -node))
        return alphabet.decode(tree.tokens(best))

    def describe(self) -> str:
        """Return the decoder in words, for every table that shows its numbers."""
        if self.language_model is None:
            model = "no language model"
        else:
            model = f"language model {self.language_model.path.name} with weight {self.language_model_weight:g}"
        bonus = f", word bonus {self.word_bonus:g}" if self.word_bonus or self.language_model else ""
        return f"prefix beam search, width {self.beam_width}, classes from p = {self.minimum_probability:g}, {model}{bonus}"

    def _pruned(self, beam: _Beam, tree: _Prefixes) -> _Beam:
        """Keep the best prefixes and rescale them; ties go to the older prefix, so the result never depends on chance."""
        bonus = tree.bonus
        scores = {
            node: math.log(total) + bonus[node]
            for node, (ends_blank, ends_symbol) in beam.items()
            if (total := ends_blank + ends_symbol) > 0.0
        }
        if len(scores) > self.beam_width:
            best = sorted(scores, key=lambda node: (-scores[node], node))[: self.beam_width]
        else:
            best = list(scores)
        scale = 1.0 / max(sum(beam[node]) for node in best)
        return {node: (beam[node][0] * scale, beam[node][1] * scale) for node in best}


class _Prefixes:
    """Tree of written prefixes with the language model's share of their scores; node 0 is the empty prefix."""

    def __init__(self, alphabet: Alphabet, model: WordLanguageModel | None, weight: float, word_bonus: float) -> None:
        self.last = [-1]
        self.bonus = [0.0]
        self._parents = [-1]
        self._children: list[dict[int, int]] = [{}]
        self._labels = alphabet.labels
        self._space = alphabet.labels.index(" ") if " " in alphabet.labels else -1
        self._model, self._weight, self._word_bonus = model, weight, word_bonus
        self._scoring = model is not None or word_bonus != 0.0
        self._words = [""]  # the unfinished last word of each prefix
        self._states: list[State] = [None if model is None else model.start()]

    def child(self, node: int, token: int) -> int:
        """Return the prefix one symbol longer, made on first use."""
        known = self._children[node].get(token)
        if known is not None:
            return known
        new = len(self.last)
        self._children[node][token] = new
        self._children.append({})
        self._parents.append(node)
        self.last.append(token)
        bonus = self.bonus[node]
        if self._scoring:
            state, word = self._states[node], self._words[node]
            if token != self._space:
                word += self._labels[token]
            elif word:
                state, gain = self._word(state, word)
                bonus, word = bonus + gain, ""
            self._states.append(state)
            self._words.append(word)
        self.bonus.append(bonus)
        return new

    def ending(self, node: int) -> float:
        """Return what the unfinished word and the end of the sentence add to a prefix's score."""
        if not self._scoring:
            return 0.0
        state, gain = self._states[node], 0.0
        if self._words[node]:
            state, gain = self._word(state, self._words[node])
        return gain if self._model is None else gain + self._weight * self._model.finish(state)

    def tokens(self, node: int) -> list[int]:
        """Return the symbols of a prefix."""
        written = []
        while node != _ROOT:
            written.append(self.last[node])
            node = self._parents[node]
        return written[::-1]

    def _word(self, state: State, word: str) -> tuple[State, float]:
        if self._model is None:
            return state, self._word_bonus
        state, score = self._model.score(state, word)
        return state, self._weight * score + self._word_bonus


def _advance(beam: _Beam, tree: _Prefixes, frame: list[float], candidates: list[int], blank: int) -> _Beam:
    """Extend every prefix by one frame of probabilities; equal prefixes merge because they are the same node."""
    blanks: dict[int, float] = {}
    symbols: dict[int, float] = {}
    for node, (ends_blank, ends_symbol) in beam.items():
        total = ends_blank + ends_symbol
        last = tree.last[node]
        blanks[node] = total * frame[blank]
        if last >= 0:  # the last symbol goes on: the text stays
            symbols[node] = symbols.get(node, 0.0) + ends_symbol * frame[last]
        for token in candidates:
            source = ends_blank if token == last else total  # a repeat needs a blank in between
            if source > 0.0:
                longer = tree.child(node, token)
                symbols[longer] = symbols.get(longer, 0.0) + source * frame[token]
    return {node: (blanks.get(node, 0.0), symbols.get(node, 0.0)) for node in {**blanks, **symbols}}
