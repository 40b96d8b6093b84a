"""Confidence intervals of EER, minimum costs and Cllr by resampling the speakers of a trial list.

Problem: 37,611 trials of 40 speakers are not 37,611 independent observations; resampling trials gives intervals several times too
narrow, and recomputing a sorted curve per replicate takes minutes. Choice: draw as many speakers as there are, with replacement; a
trial counts as often as its speakers were drawn on both sides (the product of their counts for a non-target trial, the count
of the one speaker for a target trial). The scores are sorted once, and every replicate is two running sums of integer weights over that
order. Trials without speakers are resampled as they are, within each class. Rejected: the normal approximation of one proportion
(knows no dependence); resampling files (trials of one speaker stay dependent). An interval of one model says nothing about other seeds.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from auscult.errors import UserError
from auscult.metrics.bootstrap import Interval
from auscult.metrics.detection import COST_PRIORS, checked_trials, cost_weights, surprise

_BLOCK = 1 << 18  # weights held at once: 2 MB a temporary, which stays in cache


@dataclass(frozen=True)
class DetectionIntervals:
    """Intervals by the name of their figure (eer, min_dcf_p01, min_dcf_p05, cllr), and what was resampled, in words."""

    intervals: dict[str, Interval]
    over: str


def bootstrap_detection(
    scores: ArrayLike,
    target: ArrayLike,
    speakers: tuple[Sequence[str], Sequence[str]] | None = None,
    replicates: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> DetectionIntervals:
    """Return percentile intervals of the figures of `detection_metrics`.

    Args:
        scores: (trials,) finite numbers; higher means more likely the same speaker.
        target: (trials,) bool or 0 and 1.
        speakers: who speaks in the first and in the second file of each trial, two lists (trials,); None resamples trials.
        replicates: number of resamples; those that draw trials of one class only are left out.
        seed: of a NumPy `Generator`; the same seed gives the same intervals.
        level: coverage, between 0 and 1.

    Raises:
        UserError: as `DetectionCurve.of`; a target trial names two speakers or another trial one; a parameter is out of range.

    >>> bootstrap_detection([1.0, 0.0, 0.9, 0.1], [1, 0, 1, 0], replicates=10).intervals["eer"]
    Interval(low=0.0, high=0.0)
    """
    if replicates < 1 or not 0.0 < level < 1.0:
        raise UserError(f"bootstrap: expected at least 1 replicate and a level between 0 and 1, got {replicates} and {level}")
    values, labels = checked_trials(scores, target)
    sides, count = (None, 0) if speakers is None else _sides(speakers, labels)
    order = np.argsort(values, kind="stable")
    values, labels = values[order], labels[order]
    random = np.random.default_rng(seed)
    if sides is None:
        blocks, over = _trial_weights(labels, replicates, random), "trials"
    else:
        blocks, over = _speaker_weights(sides[:, order], labels, count, replicates, random), f"{count} speakers on both sides"
    ends = np.append(np.flatnonzero(values[1:] != values[:-1]), len(values) - 1)
    costs = surprise(values, labels)
    rows = np.concatenate([_figures(weights, labels, ends, costs) for weights in blocks], axis=1)
    if not rows.shape[1]:
        raise UserError(f"bootstrap: every resample of {over} lost the target or the non-target trials; an interval needs more speakers")
    tail = (1.0 - level) / 2.0
    low, high = np.quantile(rows, [tail, 1.0 - tail], axis=1)
    names = ("eer", *COST_PRIORS, "cllr")
    return DetectionIntervals({name: Interval(float(low[row]), float(high[row])) for row, name in enumerate(names)}, over)


def _sides(speakers: tuple[Sequence[str], Sequence[str]], labels: NDArray[np.bool_]) -> tuple[NDArray[np.intp], int]:
    """Return (2, trials) numbers of speakers, and how many there are."""
    first, second = speakers
    if len(first) != len(labels) or len(second) != len(labels):
        raise UserError(f"bootstrap: {len(first)} and {len(second)} speakers for {len(labels)} trials")
    numbers: dict[str, int] = {}
    sides = np.asarray([[numbers.setdefault(name, len(numbers)) for name in side] for side in speakers], dtype=np.intp)
    wrong = np.flatnonzero((sides[0] == sides[1]) != labels)
    if len(wrong):
        index = int(wrong[0])
        kind, names = ("target", "different speakers") if labels[index] else ("non-target", "the same speaker")
        raise UserError(
            f'bootstrap: trial {index + 1} is a {kind} trial of {names}, "{first[index]}" and "{second[index]}"; '
            "look at the labels, and at how speakers are read from the ids"
        )
    return sides, len(numbers)


def _speaker_weights(
    sides: NDArray[np.intp], labels: NDArray[np.bool_], speakers: int, replicates: int, random: np.random.Generator
) -> Iterator[NDArray[np.int32]]:
    """Yield (some replicates, trials) weights until all replicates are done."""
    for rows in _rows(replicates, len(labels)):
        drawn = random.integers(0, speakers, size=(rows, speakers))
        drawn += np.arange(rows)[:, None] * speakers
        counts = np.bincount(drawn.ravel(), minlength=rows * speakers).reshape(rows, speakers).astype(np.int32)
        weights = counts[:, sides[0]]
        weights *= np.where(labels, 1, counts[:, sides[1]])
        yield weights


def _trial_weights(labels: NDArray[np.bool_], replicates: int, random: np.random.Generator) -> Iterator[NDArray[np.int32]]:
    """Yield (some replicates, trials) weights; each class keeps its number of trials."""
    classes = [np.flatnonzero(labels), np.flatnonzero(~labels)]
    for rows in _rows(replicates, len(labels)):
        weights = np.empty((rows, len(labels)), dtype=np.int32)
        for members in classes:
            for row in range(rows):
                weights[row, members] = np.bincount(random.integers(0, len(members), size=len(members)), minlength=len(members))
        yield weights


def _rows(replicates: int, trials: int) -> Iterator[int]:
    block = max(1, _BLOCK // trials)
    for first in range(0, replicates, block):
        yield min(block, replicates - first)


def _figures(
    weights: NDArray[np.int32], labels: NDArray[np.bool_], ends: NDArray[np.intp], costs: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return (figures, usable replicates) from weights (replicates, trials in rising order of score); `ends` closes groups of ties."""
    hits, alarms = weights * labels, weights * ~labels
    misses, rejected = (np.cumsum(part, axis=1, dtype=np.int32)[:, ends] for part in (hits, alarms))
    usable = (misses[:, -1] > 0) & (rejected[:, -1] > 0)
    hits, alarms, misses, rejected = hits[usable], alarms[usable], misses[usable], rejected[usable]
    targets, nontargets = misses[:, -1:].astype(np.float64), rejected[:, -1:].astype(np.float64)
    miss_rates, alarm_rates = misses / targets, 1.0 - rejected / nontargets  # (replicates, distinct scores), above each score
    figures = [_crossings(miss_rates, alarm_rates)]
    for prior in COST_PRIORS.values():
        miss, false_alarm = cost_weights(prior)
        # The end where everything is accepted is not among the points: there, misses are 0 and false alarms 1.
        figures.append(np.minimum((miss * miss_rates + false_alarm * alarm_rates).min(axis=1), false_alarm))
    figures.append(((hits @ costs) / targets[:, 0] + (alarms @ costs) / nontargets[:, 0]) / 2)
    return np.stack(figures)


def _crossings(miss_rates: NDArray[np.float64], alarm_rates: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return (replicates,) equal error rates, interpolated as in `DetectionCurve`."""
    replicate = np.arange(len(miss_rates))
    index = np.argmax(miss_rates >= alarm_rates, axis=1)  # the first such point; the last point always is one
    after_miss, after_alarm = miss_rates[replicate, index], alarm_rates[replicate, index]
    before_miss = np.where(index > 0, miss_rates[replicate, index - 1], 0.0)
    before_alarm = np.where(index > 0, alarm_rates[replicate, index - 1], 1.0)
    before, after = before_alarm - before_miss, after_miss - after_alarm
    return np.asarray(before_miss + (after_miss - before_miss) * before / (before + after))
