"""Alignments that figures and pages show: of a CTC target with output frames, and of two transcripts with one another.

Both are exact dynamic programmes over short sequences. The word alignment breaks ties like `auscult.metrics` (fewest errors,
then fewest substitutions), so that the colours on a page add up to the counts in the table beside it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Kind = Literal["match", "substitution", "insertion", "deletion"]
Floats = NDArray[np.float64]


def best_alignment(probabilities: Floats, tokens: NDArray[np.int64], blank: int) -> tuple[NDArray[np.int64], Floats]:
    """Return, for each target symbol, the frame of its highest probability on the most probable CTC path, and that probability.

    Viterbi over the extended target blank, y1, blank, ..., yL, blank (Graves et al. 2006, with max in place of sum).

    Args:
        probabilities: (frames, classes) float64.
        tokens: (symbols,) class of each target symbol.
        blank: class of the blank.

    Returns:
        frames (symbols,) int64, increasing, and probabilities (symbols,); empty where the frames cannot spell the target.

    >>> frames, values = best_alignment(np.array([[0.1, 0.9], [0.8, 0.2], [0.3, 0.7]]), np.array([0]), 1)
    >>> frames.tolist(), values.tolist()
    ([1], [0.8])
    """
    extended = np.full(2 * len(tokens) + 1, blank, dtype=np.int64)
    extended[1::2] = tokens
    emission = np.log(np.maximum(probabilities[:, extended], 1e-300))  # (frames, states)
    skip = np.zeros(len(extended), dtype=bool)
    skip[3::2] = tokens[1:] != tokens[:-1]
    score = np.full(len(extended), -np.inf)
    score[:2] = emission[0, :2]
    came = np.zeros(emission.shape, dtype=np.int64)
    for frame in range(1, len(emission)):
        one = np.concatenate([[-np.inf], score[:-1]])
        two = np.where(skip, np.concatenate([[-np.inf, -np.inf], score])[: len(score)], -np.inf)
        came[frame] = np.argmax([score, one, two], axis=0)
        score = np.max([score, one, two], axis=0) + emission[frame]
    state = int(np.argmax(score[-2:])) + max(len(score) - 2, 0)
    if not len(tokens) or score[state] == -np.inf:
        return np.zeros(0, dtype=np.int64), np.zeros(0)
    path = np.empty(len(emission), dtype=np.int64)
    for frame in range(len(emission) - 1, -1, -1):
        path[frame] = state
        state -= int(came[frame, state])
    frames = np.array([_peak(probabilities[:, token], path == 2 * place + 1) for place, token in enumerate(tokens)], dtype=np.int64)
    return frames, probabilities[frames, tokens]


def _peak(values: Floats, where: NDArray[np.bool_]) -> int:
    return int(np.argmax(np.where(where, values, -1.0)))


def align_words(reference: Sequence[str], hypothesis: Sequence[str]) -> list[tuple[Kind, str, str]]:
    """Return the steps of one best alignment: kind, reference word ("" for an insertion), hypothesis word ("" for a deletion).

    >>> [kind for kind, _, _ in align_words("a b c".split(), "a x c d".split())]
    ['match', 'substitution', 'match', 'insertion']
    """
    weight = len(reference) + len(hypothesis) + 1  # one error outweighs any number of substitutions
    cost = np.zeros((len(reference) + 1, len(hypothesis) + 1), dtype=np.int64)
    cost[:, 0] = np.arange(len(reference) + 1) * weight
    cost[0, :] = np.arange(len(hypothesis) + 1) * weight
    for row, expected in enumerate(reference, start=1):
        for column, heard in enumerate(hypothesis, start=1):
            diagonal = cost[row - 1, column - 1] + (0 if expected == heard else weight + 1)
            cost[row, column] = min(diagonal, cost[row - 1, column] + weight, cost[row, column - 1] + weight)
    return _trace(cost, reference, hypothesis, weight)


def _trace(cost: NDArray[np.int64], reference: Sequence[str], hypothesis: Sequence[str], weight: int) -> list[tuple[Kind, str, str]]:
    steps: list[tuple[Kind, str, str]] = []
    row, column = len(reference), len(hypothesis)
    while row or column:
        same = bool(row and column) and reference[row - 1] == hypothesis[column - 1]
        if row and column and cost[row, column] == cost[row - 1, column - 1] + (0 if same else weight + 1):
            row, column = row - 1, column - 1
            steps.append(("match" if same else "substitution", reference[row], hypothesis[column]))
        elif row and cost[row, column] == cost[row - 1, column] + weight:
            row -= 1
            steps.append(("deletion", reference[row], ""))
        else:
            column -= 1
            steps.append(("insertion", "", hypothesis[column]))
    return steps[::-1]
