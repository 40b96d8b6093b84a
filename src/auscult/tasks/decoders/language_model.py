"""Word n-gram language models for shallow fusion: the only module that knows the optional library.

Problem: `kenlm` on PyPI is source only, so it needs a compiler. Choice: `flashlight-text`, whose wheels carry KenLM and depend on
nothing (extra `lm`; release 0.0.7 of 2024 has wheels for Python 3.11 and 3.12 only). Rejected: `pyctcdecode` (needs kenlm) and `arpa`
(unmaintained since 2018). Models are ARPA text files: KenLM's binary format does not list its words, and the words are needed to
check that the alphabet can write them.
"""

from __future__ import annotations

import importlib
import math
from pathlib import Path
from typing import Any

from auscult.data.alphabet import Alphabet
from auscult.errors import MissingExtra, UserError

State = Any
"""Opaque history of the language model."""

_UNKNOWN = "<unk>"


class WordLanguageModel:
    """An n-gram model over words; scores are natural logarithms.

    Args:
        path: ARPA text file of any order, with words as the alphabet writes them (lower case).

    Raises:
        MissingExtra: flashlight-text is not installed.
        UserError: the file is missing or is not an ARPA file.
    """

    def __init__(self, path: str | Path) -> None:
        try:
            kenlm = importlib.import_module("flashlight.lib.text.decoder.kenlm")
            dictionary = importlib.import_module("flashlight.lib.text.dictionary").Dictionary()
        except ImportError as error:
            raise MissingExtra("lm", "decoding with a language model") from error
        self.path = Path(path).expanduser()
        words = _unigrams(self.path)
        for word in dict.fromkeys((_UNKNOWN, *words)):
            dictionary.add_entry(word)
        self._indices = {word: dictionary.get_index(word) for word in words}
        self._unknown: int = dictionary.get_index(_UNKNOWN)
        self._words = [word for word in words if not (word.startswith("<") and word.endswith(">"))]
        self._checked: Alphabet | None = None
        try:
            self._model = kenlm.KenLM(str(self.path), dictionary)
        except RuntimeError as error:
            detail = str(error).strip().splitlines()[-1]
            raise UserError(f"{self.path}: not a readable ARPA language model ({detail})") from error

    def start(self) -> State:
        """Return the history at the beginning of a sentence."""
        return self._model.start(False)

    def score(self, state: State, word: str) -> tuple[State, float]:
        """Return the history after a word and the word's log-probability in nats; unknown words take the model's `<unk>`."""
        following, value = self._model.score(state, self._indices.get(word, self._unknown))
        return following, value * math.log(10.0)

    def finish(self, state: State) -> float:
        """Return the log-probability, in nats, of the sentence ending here."""
        return float(self._model.finish(state)[1]) * math.log(10.0)

    def check(self, alphabet: Alphabet) -> None:
        """Refuse a model none of whose words the alphabet can write (one in capitals, say): every word would be unknown to it.

        Raises:
            UserError: no word in common, or the alphabet has no space, so no word ever ends.
        """
        if self._checked == alphabet:
            return
        if " " not in alphabet.labels:
            raise UserError(f"{self.path}: a word language model needs an alphabet with a space")
        letters = set(alphabet.labels)
        if not any(letters.issuperset(word) for word in self._words):
            example = f" (its first is {self._words[0]!r})" if self._words else ""
            raise UserError(f"{self.path}: the alphabet can write none of its {len(self._words)} words{example}; expected lower-case words")
        self._checked = alphabet


def _unigrams(path: Path) -> list[str]:
    """Return the words listed in the unigram section of an ARPA file, in file order."""
    words: list[str] = []
    inside = False
    try:
        with path.open(encoding="utf-8") as lines:
            for line in lines:
                if line.startswith("\\"):
                    if inside:
                        break
                    inside = line.strip() == "\\1-grams:"
                elif inside and len(columns := line.split()) >= 2:
                    words.append(columns[1])
    except OSError as error:
        raise UserError(f"{path}: cannot read the language model ({error.strerror}); expected an ARPA text file") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not a text file; expected an ARPA language model, uncompressed") from error
    if not words:
        raise UserError(f"{path}: no \\1-grams: section; expected an ARPA language model")
    return words
