"""Bootstrap intervals: coverage, clustering, determinism, refusals."""

from __future__ import annotations

import numpy as np
import pytest

from auscult.errors import UserError
from auscult.metrics.bootstrap import Interval, bootstrap_ratio


def speech(seed: int, speakers: int = 20, utterances: int = 15, spread: float = 0.03) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Errors and words of speakers whose own error rates vary around 0.1."""
    random = np.random.default_rng(seed)
    rates = np.clip(random.normal(0.1, spread, speakers), 0.0, 1.0).repeat(utterances)
    words = random.integers(5, 40, speakers * utterances)
    return random.binomial(words, rates), words, [f"speaker-{index // utterances}" for index in range(speakers * utterances)]


def obvious(errors: np.ndarray, words: np.ndarray, speakers: list[str], replicates: int) -> Interval:
    random = np.random.default_rng(99)
    groups = [np.flatnonzero(np.asarray(speakers) == name) for name in sorted(set(speakers))]
    rates = []
    for _ in range(replicates):
        drawn = [groups[index] for index in random.integers(0, len(groups), len(groups))]
        chosen = np.concatenate([random.choice(group, len(group)) for group in drawn])
        rates.append(errors[chosen].sum() / words[chosen].sum())
    return Interval(*np.quantile(rates, [0.025, 0.975]))


def test_equals_the_obvious_loop_with_uneven_speakers() -> None:
    errors, words, speakers = speech(0)
    kept = np.random.default_rng(1).random(len(words)) < 0.6
    errors, words, speakers = errors[kept], words[kept], [name for name, keep in zip(speakers, kept, strict=True) if keep]
    assert len({speakers.count(name) for name in speakers}) > 3
    fast, slow = bootstrap_ratio(errors, words, speakers, replicates=20_000), obvious(errors, words, speakers, 3_000)
    width = slow.high - slow.low
    assert abs(fast.low - slow.low) < 0.06 * width
    assert abs(fast.high - slow.high) < 0.06 * width


def test_coverage_with_speaker_effects() -> None:
    """About 95 % of clustered intervals hold the true rate; intervals over utterances hold it too rarely."""
    clustered = independent = 0
    for seed in range(200):
        errors, words, speakers = speech(seed)
        low, high = bootstrap_ratio(errors, words, speakers, replicates=400, seed=seed)
        clustered += low <= 0.1 <= high
        low, high = bootstrap_ratio(errors, words, None, replicates=400, seed=seed)
        independent += low <= 0.1 <= high
    assert 180 <= clustered <= 199
    assert independent < 170


def test_one_utterance_per_speaker_is_the_utterance_bootstrap() -> None:
    errors, words, _ = speech(3)
    each = bootstrap_ratio(errors, words, [str(index) for index in range(len(words))], seed=5)
    assert each == bootstrap_ratio(errors, words, None, seed=5)


def test_deterministic_from_the_seed_and_independent_of_the_block() -> None:
    errors, words, speakers = speech(4)
    first = bootstrap_ratio(errors, words, speakers, seed=7)
    assert first == bootstrap_ratio(errors, words, speakers, seed=7)
    assert first != bootstrap_ratio(errors, words, speakers, seed=8)


def test_order_of_a_speakers_utterances_may_be_scattered() -> None:
    errors, words = np.array([0, 10, 0, 10]), np.full(4, 10)
    low, high = bootstrap_ratio(errors, words, ["a", "b", "a", "b"], replicates=2_000)
    assert (low, high) == (0.0, 1.0)
    assert bootstrap_ratio(errors, words, ["a", "a", "a", "a"], replicates=2_000, level=0.5).high < 1.0


def test_level_widens() -> None:
    errors, words, speakers = speech(5)
    narrow, wide = bootstrap_ratio(errors, words, speakers, level=0.5), bootstrap_ratio(errors, words, speakers, level=0.99)
    assert wide.low < narrow.low < narrow.high < wide.high


def test_replicates_without_denominator_are_left_out() -> None:
    assert bootstrap_ratio([0, 1], [0, 2], replicates=200) == Interval(0.5, 0.5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([1], [1, 2]), "equally long"),
        (([], []), "do not all vanish"),
        (([1], [0]), "do not all vanish"),
        (([1], [-1]), "0 or more"),
        (([float("nan")], [1]), "finite"),
        (([1], [1], ["a", "b"]), "2 speakers for 1 utterances"),
        (([1], [1], None, 0), "at least 1 replicate"),
        (([1], [1], None, 10, 0, 1.0), "level between 0 and 1"),
    ],
)
def test_refusals(arguments: tuple, message: str) -> None:
    with pytest.raises(UserError, match=message):
        bootstrap_ratio(*arguments)
