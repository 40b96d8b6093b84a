"""Word and character errors of texts, and their rate as a ratio of sums.

Problem: error rates differ between papers because texts were lower-cased, stripped of punctuation or averaged per utterance
without saying so. Choice: texts are compared as given; case, punctuation and the kind of apostrophe count. Only two things are never
an error, because no reader can see them: Unicode spelling (both sides are composed, NFC) and the amount of white space. Characters
include the single spaces between words. A rate is the sum of errors over the sum of reference lengths, never a mean of rates.
`english_text` is the one named normalisation, used only where asked for.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable

from auscult.errors import UserError
from auscult.metrics.edit_distance import EditCounts, align

_APOSTROPHES = str.maketrans({"\u2019": "'", "\u2018": "'", "\u02bc": "'", "`": "'"})


def word_errors(reference: str, hypothesis: str) -> EditCounts:
    """Return word edit counts.

    >>> word_errors("i don't  know", "I don't know")
    EditCounts(substitutions=1, insertions=0, deletions=0, length=3)
    """
    return align(_words(reference), _words(hypothesis))


def character_errors(reference: str, hypothesis: str) -> EditCounts:
    """Return character edit counts, the single spaces between words included.

    >>> character_errors("a b", "ab")
    EditCounts(substitutions=0, insertions=0, deletions=1, length=3)
    """
    return align(" ".join(_words(reference)), " ".join(_words(hypothesis)))


def error_rate(counts: Iterable[EditCounts]) -> float:
    """Return errors over reference length, both summed over all counts; it may exceed 1.

    Raises:
        UserError: the references are empty, so there is no rate.

    >>> error_rate([EditCounts(1, 0, 0, 1), EditCounts(0, 0, 0, 3)])
    0.25
    """
    total = sum(counts, EditCounts(0, 0, 0, 0))
    if total.length == 0:
        raise UserError("an error rate needs at least one word or character in the references; all of them are empty")
    return total.errors / total.length


def english_text(text: str) -> str:
    """Return text in lower case, with typewriter apostrophes, without other punctuation and symbols, and with single spaces.

    Hyphens and dashes become spaces; numbers are not spelled out.

    >>> english_text("Well-known: It’s  5!")
    "well known it's 5"
    """
    lowered = unicodedata.normalize("NFC", text).lower().translate(_APOSTROPHES)
    kept = [
        " " if unicodedata.category(c) == "Pd" else c
        for c in lowered
        if c == "'" or unicodedata.category(c)[0] not in "PS" or unicodedata.category(c) == "Pd"
    ]
    return " ".join("".join(kept).split())


def _words(text: str) -> list[str]:
    return unicodedata.normalize("NFC", text).split()
