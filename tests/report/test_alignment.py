import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from auscult.metrics.edit_distance import align
from auscult.report.alignment import align_words, best_alignment


def _collapse(path: tuple[int, ...], blank: int) -> list[int]:
    return [symbol for symbol, _ in itertools.groupby(path) if symbol != blank]


def _best_path(probabilities: np.ndarray, tokens: list[int], blank: int) -> tuple[int, ...]:
    paths = itertools.product(range(probabilities.shape[1]), repeat=len(probabilities))
    spelling = [path for path in paths if _collapse(path, blank) == tokens]
    return max(spelling, key=lambda path: float(np.prod([probabilities[t, s] for t, s in enumerate(path)])))


@pytest.mark.parametrize("tokens", [[0], [0, 1], [0, 0], [1, 0, 1]])
@pytest.mark.parametrize("seed", range(6))
def test_best_alignment_is_that_of_exhaustive_search(tokens: list[int], seed: int) -> None:
    probabilities = np.random.default_rng(seed).dirichlet(np.ones(3), size=5)
    frames, values = best_alignment(probabilities, np.array(tokens), blank=2)
    path = _best_path(probabilities, tokens, blank=2)
    runs = [list(group) for symbol, group in itertools.groupby(range(5), key=lambda t: path[t]) if symbol != 2]
    assert [frame in run for frame, run in zip(frames, runs, strict=True)] == [True] * len(tokens)
    assert values == pytest.approx([max(probabilities[t, symbol] for t in run) for symbol, run in zip(tokens, runs, strict=True)])


def test_target_that_does_not_fit_has_no_alignment() -> None:
    frames, values = best_alignment(np.full((2, 2), 0.5), np.array([0, 0]), blank=1)
    assert frames.size == values.size == 0


def test_empty_target_has_no_alignment() -> None:
    assert best_alignment(np.full((3, 2), 0.5), np.zeros(0, dtype=np.int64), blank=1)[0].size == 0


words = st.lists(st.sampled_from("abc"), max_size=7)


@given(words, words)
def test_word_steps_agree_with_the_stored_counts(reference: list[str], hypothesis: list[str]) -> None:
    steps = align_words(reference, hypothesis)
    counts = align(reference, hypothesis)
    kinds = [kind for kind, _, _ in steps]
    assert (kinds.count("substitution"), kinds.count("insertion"), kinds.count("deletion")) == (
        counts.substitutions,
        counts.insertions,
        counts.deletions,
    )
    assert [word for kind, word, _ in steps if kind != "insertion"] == reference
    assert [word for kind, _, word in steps if kind != "deletion"] == hypothesis
