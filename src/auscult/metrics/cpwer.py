"""Word errors of several speakers whose names mean nothing: the concatenated minimum-permutation word error rate.

Problem: a separator or diarizer returns streams without names, often one too many or too few, and scoring them in the order of the files
counts a swap as errors in every word. Choice: the words of each speaker are joined in order of time, speakers of both sides are paired
so that the errors are fewest (Hungarian method, any number of speakers), and whoever is left over counts in full: a missed speaker as
deletions, an invented one as insertions. Rejected: enumeration of orders (3.6 million for ten speakers). Source: Watanabe et al. 2020
(CHiME-6, arXiv 2004.09249).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy.optimize import linear_sum_assignment

from auscult.errors import UserError
from auscult.metrics.edit_distance import EditCounts
from auscult.metrics.error_rate import word_errors


@dataclass(frozen=True)
class SpeakerErrors:
    """Word errors of one recording.

    Attributes:
        counts: over all speakers; `error_rate` of the counts of many recordings is their cpWER.
        pairs: reference speaker and hypothesis speaker, None for whoever has no counterpart.
    """

    counts: EditCounts
    pairs: tuple[tuple[str | None, str | None], ...]


def speaker_word_errors(reference: Mapping[str, str], hypothesis: Mapping[str, str]) -> SpeakerErrors:
    """Return the word errors under the best pairing of speakers.

    Args:
        reference: speaker to words, joined in order of time.
        hypothesis: stream to words; names need not agree, numbers of speakers may differ.

    Raises:
        UserError: the reference has no speaker.

    >>> found = speaker_word_errors({"A": "hello bob", "B": "hi"}, {"1": "hi", "2": "hello rob", "3": "noise"})
    >>> found.counts
    EditCounts(substitutions=1, insertions=1, deletions=0, length=3)
    >>> found.pairs
    (('A', '2'), ('B', '1'), (None, '3'))
    """
    if not reference:
        raise UserError("cpWER: the reference has no speakers; nothing can be scored")
    size = max(len(reference), len(hypothesis))
    names = [[*side, *[None] * (size - len(side))] for side in (reference, hypothesis)]
    table = [
        [word_errors("" if one is None else reference[one], "" if other is None else hypothesis[other]) for other in names[1]]
        for one in names[0]
    ]
    rows, columns = linear_sum_assignment(np.array([[counts.errors for counts in row] for row in table]))
    chosen = list(zip(rows.tolist(), columns.tolist(), strict=True))
    total = sum((table[row][column] for row, column in chosen), EditCounts(0, 0, 0, 0))
    return SpeakerErrors(total, tuple((names[0][row], names[1][column]) for row, column in chosen))
