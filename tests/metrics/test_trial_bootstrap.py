"""Intervals over speakers: weights against literal repetition of trials, and wider where speakers differ."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from auscult.errors import UserError
from auscult.metrics import trial_bootstrap
from auscult.metrics.detection import COST_PRIORS, DetectionCurve, cllr
from auscult.metrics.trial_bootstrap import bootstrap_detection

FIGURES = ("eer", "min_dcf_p01", "min_dcf_p05", "cllr")


def all_pairs(
    speakers: int, files: int, spread: float, random: np.random.Generator
) -> tuple[NDArray[np.float64], NDArray[np.bool_], tuple[list[str], list[str]]]:
    """Every pair of files; `spread` is how much a trial's score depends on who its speakers are."""
    speaker = np.repeat(np.arange(speakers), files)
    first, second = np.triu_indices(len(speaker), 1)
    target = speaker[first] == speaker[second]
    ease = random.normal(size=speakers) * spread
    scores = random.normal(size=len(first)) + np.where(target, 2.0 + ease[speaker[first]], 0.0)
    return scores, target, ([f"s{one}" for one in speaker[first]], [f"s{one}" for one in speaker[second]])


def test_weights_equal_repeated_trials() -> None:
    """A trial that weighs three is the trial written three times."""
    random = np.random.default_rng(0)
    for number in range(200):
        trials = int(random.integers(4, 30))
        scores = np.sort(random.normal(size=trials) if number % 2 else random.integers(0, 6, trials).astype(float))
        target = random.random(trials) < 0.5
        weights = random.integers(0, 4, size=(1, trials)).astype(np.int32)
        repeated, labels = np.repeat(scores, weights[0]), np.repeat(target, weights[0])
        ends = np.append(np.flatnonzero(scores[1:] != scores[:-1]), trials - 1)
        found = trial_bootstrap._figures(weights, target, ends, trial_bootstrap.surprise(scores, target))
        if not 0 < labels.sum() < len(labels):
            assert found.shape == (4, 0)
            continue
        curve = DetectionCurve.of(repeated, labels)
        costs = [curve.minimum_detection_cost(prior) for prior in COST_PRIORS.values()]
        assert found[:, 0] == pytest.approx([curve.equal_error_rate(), *costs, cllr(repeated, labels)], abs=1e-9)


def test_weights_of_trials_are_counts_of_their_speakers() -> None:
    _, target, names = all_pairs(3, 2, 0.0, np.random.default_rng(0))
    sides, count = trial_bootstrap._sides(names, target)
    for weights in trial_bootstrap._speaker_weights(sides, target, count, 50, np.random.default_rng(1)):
        for row in weights:
            draws = {}
            for weight, is_target, speaker in zip(row.tolist(), target, names[0], strict=True):
                if is_target:
                    draws[speaker] = weight
            assert sum(draws.values()) == 3
            expected = [
                draws[one] if is_target else draws[one] * draws[other] for one, other, is_target in zip(*names, target, strict=True)
            ]
            assert row.tolist() == expected


def test_speakers_that_differ_widen_the_interval() -> None:
    """Resampling trials takes 4,560 dependent trials of 16 speakers for independent ones: its interval is far too narrow."""
    scores, target, names = all_pairs(16, 6, 1.0, np.random.default_rng(3))
    over_speakers = bootstrap_detection(scores, target, names, replicates=300)
    over_trials = bootstrap_detection(scores, target, replicates=300)
    assert over_speakers.over == "16 speakers on both sides"
    assert over_trials.over == "trials"
    widths = [one.intervals["eer"].high - one.intervals["eer"].low for one in (over_speakers, over_trials)]
    assert widths[0] > 1.5 * widths[1]


@pytest.mark.parametrize("by_speaker", [True, False])
def test_intervals_hold_the_estimate_and_repeat_with_the_seed(by_speaker: bool) -> None:
    scores, target, names = all_pairs(12, 4, 0.3, np.random.default_rng(0))
    speakers = names if by_speaker else None
    one = bootstrap_detection(scores, target, speakers, replicates=200, seed=4)
    assert one == bootstrap_detection(scores, target, speakers, replicates=200, seed=4)
    assert one != bootstrap_detection(scores, target, speakers, replicates=200, seed=5)
    curve = DetectionCurve.of(scores, target)
    figures = [curve.equal_error_rate(), *(curve.minimum_detection_cost(p) for p in COST_PRIORS.values()), cllr(scores, target)]
    assert tuple(one.intervals) == FIGURES
    for name, figure in zip(FIGURES, figures, strict=True):
        low, high = one.intervals[name]
        assert low <= figure <= high


def test_the_block_size_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    scores, target, names = all_pairs(6, 3, 0.3, np.random.default_rng(0))
    whole = bootstrap_detection(scores, target, names, replicates=50)
    monkeypatch.setattr(trial_bootstrap, "_BLOCK", 3 * len(scores))
    split = bootstrap_detection(scores, target, names, replicates=50)
    for name in FIGURES:
        assert split.intervals[name] == pytest.approx(whole.intervals[name], abs=1e-12)


def test_a_coverage_of_simulated_lists() -> None:
    """Nine in ten intervals of 90 % hold the rate of a much larger list of the same kind (within chance)."""
    random = np.random.default_rng(7)
    big_scores, big_target, _ = all_pairs(400, 3, 0.8, random)
    truth = DetectionCurve.of(big_scores, big_target).equal_error_rate()
    held = 0
    for _ in range(60):
        scores, target, names = all_pairs(25, 4, 0.8, random)
        low, high = bootstrap_detection(scores, target, names, replicates=120, level=0.9).intervals["eer"]
        held += low <= truth <= high
    assert 44 <= held <= 60


def test_bad_input_is_refused() -> None:
    scores, target = [0.1, 0.9, 0.2], [0, 1, 0]
    with pytest.raises(UserError, match="trial 2 is a target trial of different speakers"):
        bootstrap_detection(scores, target, (["a", "b", "c"], ["b", "c", "a"]))
    with pytest.raises(UserError, match="trial 3 is a non-target trial of the same speaker"):
        bootstrap_detection(scores, target, (["a", "b", "c"], ["b", "b", "c"]))
    with pytest.raises(UserError, match="2 and 3 speakers for 3 trials"):
        bootstrap_detection(scores, target, (["a", "b"], ["b", "b", "c"]))
    for replicates, level in ((0, 0.95), (10, 1.0), (10, float("nan"))):
        with pytest.raises(UserError, match="replicate"):
            bootstrap_detection(scores, target, None, replicates=replicates, level=level)
    with pytest.raises(UserError, match="no target trials"):
        bootstrap_detection(scores, [0, 0, 0])
