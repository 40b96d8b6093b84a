"""The characters a recogniser writes: a frozen, sorted table that is data, not code.

Problem: token tables rebuilt from a set or from the order of a file change between runs, and a checkpoint then decodes to
nonsense without complaint; a blank assumed at 0 or at the end does the same. Choice: labels are sorted by code point, single
characters in Unicode composed form (NFC) and lower case, the blank always follows the last label, and labels are compared
wherever they travel (run directory, checkpoint). Rejected: dropping unknown characters by default (the reference text silently
becomes another one).
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from auscult.errors import UserError, did_you_mean

_LATIN = "abcdefghijklmnopqrstuvwxyz"
_NAMED = {"english": " '" + _LATIN, "polish": " '" + _LATIN + "ąćęłńóśźż"}


def normalise_text(text: str) -> str:
    """Return text in lower case, composed form (NFC) and with single spaces; punctuation stays.

    >>> normalise_text("  Zażółć\\t gęślą  JAŹŃ ")
    'zażółć gęślą jaźń'
    """
    return " ".join(unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).lower()).split())


@dataclass(frozen=True)
class Alphabet:
    """Ordered output characters of a recogniser, the blank excluded.

    Attributes:
        labels: single characters, sorted by code point; the index of a label is its token.

    Raises:
        UserError: no labels, or a label that is not one normalised character, repeated, or out of order.

    >>> english = Alphabet.named("english")
    >>> english.encode("It's"), english.blank
    ([10, 21, 1, 20], 28)
    >>> english.decode([10, 21, 1, 20])
    "it's"
    """

    labels: tuple[str, ...]

    normalise = staticmethod(normalise_text)

    def __post_init__(self) -> None:
        if not self.labels:
            raise UserError("alphabet: no labels; give at least one character")
        for label in self.labels:
            if len(label) != 1 or (label != " " and normalise_text(label) != label):
                raise UserError(f"alphabet: label {label!r} is not one lower-case character in composed form (NFC)")
        if list(self.labels) != sorted(set(self.labels)):
            raise UserError("alphabet: labels must be sorted by code point, each once; build the table with Alphabet.from_texts")

    @classmethod
    def named(cls, name: str) -> Alphabet:
        """Return "english" (space, apostrophe, a-z: 28 labels) or "polish" (and ą ć ę ł ń ó ś ź ż: 37 labels).

        Raises:
            UserError: no such alphabet.
        """
        if name not in _NAMED:
            raise UserError(f'alphabet "{name}"{did_you_mean(name, _NAMED)}: expected one of {", ".join(sorted(_NAMED))}')
        return cls(tuple(sorted(_NAMED[name])))

    @classmethod
    def from_texts(cls, texts: Iterable[str]) -> Alphabet:
        """Return the alphabet of all characters in the normalised texts.

        Raises:
            UserError: the texts hold no character.
        """
        seen: set[str] = set()
        for text in texts:
            seen.update(normalise_text(text))
        return cls(tuple(sorted(seen)))

    @property
    def blank(self) -> int:
        """Token of the CTC blank: the one after the last label."""
        return len(self.labels)

    def unknown(self, text: str) -> dict[str, int]:
        """Return the characters of the normalised text outside the alphabet with their counts, sorted.

        >>> Alphabet.named("english").unknown("Wait... 3!")
        {'!': 1, '.': 3, '3': 1}
        """
        known = set(self.labels)
        return dict(sorted(Counter(character for character in normalise_text(text) if character not in known).items()))

    def encode(self, text: str, unknown: Literal["error", "drop"] = "error", id: str | None = None) -> list[int]:
        """Return the tokens of a text, normalised first.

        Args:
            text: any text.
            unknown: what to do with a character outside the alphabet: refuse the text, or leave the character out.
            id: utterance id for the message.

        Raises:
            UserError: unknown characters and `unknown` is "error"; names the utterance and the characters.
        """
        if unknown not in ("error", "drop"):
            raise UserError(f'unknown characters: "{unknown}"; expected "error" or "drop"')
        indices = {label: index for index, label in enumerate(self.labels)}
        normalised = normalise_text(text)
        strangers = sorted({character for character in normalised if character not in indices})
        if strangers and unknown == "error":
            where = f'utterance "{id}"' if id is not None else f"text {text[:40]!r}"
            listed = ", ".join(f"{character!r} (U+{ord(character):04X})" for character in strangers)
            raise UserError(
                f'{where} holds characters outside the alphabet: {listed}; clean the text, use another alphabet, or set unknown to "drop"'
            )
        kept = "".join(character for character in normalised if character in indices)
        return [indices[character] for character in (" ".join(kept.split()) if strangers else kept)]

    def decode(self, tokens: Iterable[int]) -> str:
        """Return the text of a token sequence, as it is: neither merged nor stripped.

        Raises:
            UserError: a token is no label; the blank is none.
        """
        text = []
        for token in tokens:
            if not 0 <= token < len(self.labels):
                raise UserError(f"token {int(token)} is no label of this alphabet; expected 0 to {len(self.labels) - 1}, blanks removed")
            text.append(self.labels[token])
        return "".join(text)
