"""What an audit can prove about the privacy of a mechanism, from the scores of planted canaries.

Problem: a claimed epsilon is a theorem about code that may be another than the code that ran (noise forgotten, clipped per batch, scaled by
the wrong number), and an attack that fails proves nothing. Choice: canaries are put into some updates and not into others; a test that
tells the two apart better than (epsilon, delta) permits refutes the claim. Three statistics, each a **lower bound with a stated
confidence, never an estimate of what is safe**:

- `epsilon_lower_bound`, free of assumptions about the noise: rates on both sides of a threshold, with exact binomial limits. A
  threshold that is judged where it was chosen finds leaks in noise more often than its confidence says, so scores are divided at random:
  one half chooses threshold and direction, the other is counted, and no further correction is due. Rejected: Bonferroni over all
  thresholds (with n canaries it divides the error by n).
- `mu_lower_bound`, the same halves and limits, read as Gaussian differential privacy. Where the noise is Gaussian it shows two to
  four times as much epsilon (at delta 1e-5), because it need not see the rare events that a small delta is about.
- `one_run_epsilon`: guesses about many canaries of one run (Steinke, Nasr and Jagielski 2023), for pure epsilon.

Scores must be independent of one another. With canaries of one coordinate each in Gaussian noise they are; in training they are
nearly so.

Sources: the exact curve of the Gaussian mechanism, Balle and Wang 2018, and Gaussian differential privacy, Dong, Roth and Su 2022; binomial
limits, Clopper and Pearson 1934; thresholds and mu in audits, Nasr et al. 2023 (arXiv:2302.07956).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import brentq
from scipy.special import betainccinv, betaincinv, erfcx, ndtr, ndtri

from auscult.errors import UserError

Scores = NDArray[np.float64]
Counts = NDArray[np.int64]


class MuEstimate(NamedTuple):
    """An estimate of mu and its interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class LowerBound:
    """What canaries prove.

    Attributes:
        value: the true epsilon (or mu) is at least this, with the confidence.
        largest: what a test without any error would have proved with as many canaries: a small one says that there are too few.
        confidence: of the statement, not of a run.
        threshold: of the test, chosen on the other half.
        above: whether scores from the threshold on are guessed to have their canary, or those below it.
        detected: (guessed, all) counted canaries that were there.
        mistaken: (guessed, all) counted canaries that were not.
    """

    value: float
    largest: float
    confidence: float
    threshold: float
    above: bool
    detected: tuple[int, int]
    mistaken: tuple[int, int]


def gaussian_mu(noise_multiplier: float, rounds: int = 1) -> float:
    """Return mu = sqrt(rounds) / z of Gaussian noise of z times the clipping norm, the canary being in every round.

    >>> gaussian_mu(2.0, 4)
    1.0
    """
    if not (noise_multiplier > 0 and math.isfinite(noise_multiplier) and rounds >= 1):
        raise UserError(
            f"epsilon: noise multiplier {noise_multiplier} and {rounds} rounds; expected a finite multiplier above 0 "
            "(no noise is no privacy), and 1 round or more"
        )
    return math.sqrt(rounds) / noise_multiplier


def expected_auc(noise_multiplier: float, rounds: int = 1) -> float:
    """Return the area under the curve of canary scores, Phi(mu / sqrt(2)).

    >>> round(expected_auc(1.0), 3), round(expected_auc(1.0, rounds=10), 3)
    (0.76, 0.987)
    """
    return float(ndtr(gaussian_mu(noise_multiplier, rounds) / math.sqrt(2)))


def gaussian_mechanism_delta(epsilon: float, mu: float) -> float:
    """Return delta(epsilon) = Phi(-epsilon/mu + mu/2) - e^epsilon Phi(-epsilon/mu - mu/2), to about 13 digits of itself.

    Since e^epsilon is the ratio of the two densities, the difference is one density times a difference of `erfcx`, in which nothing
    overflows and nothing of note cancels.

    Args:
        epsilon: 0 or more.
        mu: above 0.

    >>> round(gaussian_mechanism_delta(4.377, 1.0) * 1e5, 2)
    1.0
    """
    if not (epsilon >= 0 and mu > 0 and math.isfinite(epsilon) and math.isfinite(mu)):
        raise UserError(f"epsilon: epsilon {epsilon} and mu {mu}; expected a finite epsilon of 0 or more and a finite mu above 0")
    near, far = (epsilon / mu - mu / 2) / math.sqrt(2), (epsilon / mu + mu / 2) / math.sqrt(2)
    density = 0.5 * math.exp(-near * near)
    if near < 0:  # erfcx would overflow
        return float(ndtr(-near * math.sqrt(2))) - density * float(erfcx(far))
    return density * float(erfcx(near) - erfcx(far))


def epsilon_at(delta: float, mu: float) -> float:
    """Return the epsilon of a Gaussian mechanism at a delta, 0 where delta alone covers it.

    Args:
        delta: between 0 and 1.
        mu: 0 or more; 0 is a mechanism that shows nothing.

    >>> round(epsilon_at(1e-5, 1.0), 3), round(epsilon_at(1e-5, 10**0.5), 3)
    (4.377, 17.857)
    """
    if not 1e-200 < delta < 1 or not (mu >= 0 and math.isfinite(mu)):
        raise UserError(f"epsilon: delta {delta} and mu {mu}; expected a delta between 0 and 1 (such as 1e-5) and a finite mu of 0 or more")
    if mu == 0 or gaussian_mechanism_delta(0.0, mu) <= delta:
        return 0.0
    highest = mu**2 / 2 + mu * math.sqrt(2 * math.log(1 / delta))  # Phi(-x) <= exp(-x^2 / 2)
    target = math.log(delta)
    return float(brentq(lambda epsilon: math.log(gaussian_mechanism_delta(epsilon, mu)) - target, 0.0, highest, xtol=1e-13 * highest))


def one_run_epsilon(guesses: int, correct: int, confidence: float = 0.95) -> float:
    """Return the largest epsilon at which so many right guesses have at most a probability of 1 - confidence; pure epsilon, delta 0.

    Args:
        guesses: about canaries that were each in or out by a fair coin; those on which the auditor abstained do not count.
        correct: of them.
        confidence: between 0 and 1.

    >>> [round(one_run_epsilon(*counts), 3) for counts in ((100, 100), (1000, 1000), (1000, 900), (100, 50))]
    [3.493, 5.809, 2.021, 0.0]
    """
    if not (0 <= correct <= guesses and guesses >= 1):
        raise UserError(f"epsilon: {correct} right of {guesses} guesses; expected at least one guess, and no more right ones than guesses")
    if correct == 0:
        return 0.0
    low, rest = _lowest_rates(np.array([correct]), guesses, 1 - _checked_confidence(confidence))
    return max(0.0, math.log(low[0]) - math.log(rest[0]))


def gaussian_mu_estimate(without: ArrayLike, present: ArrayLike, confidence: float = 0.95) -> MuEstimate:
    """Return the difference of the mean scores in pooled standard deviations, for Gaussian scores of equal spread.

    The interval is that of an effect size in large samples (Hedges and Olkin 1985, section 5.F). It is narrower than `mu_lower_bound` and
    leans on the shape of the scores; a mechanism whose noise has another shape is not bounded by it.

    Args:
        without: (canaries,) scores of canaries that were not there.
        present: (canaries,) scores of canaries that were.
        confidence: of the interval.

    Returns:
        Infinite where scores do not vary and differ: the noise is missing.

    Raises:
        UserError: fewer than four scores on a side, scores that are not finite, or all alike.
    """
    absent, there = _checked_scores(without, "without"), _checked_scores(present, "with")
    quantile = float(ndtri(0.5 + _checked_confidence(confidence) / 2))
    difference, total = float(there.mean() - absent.mean()), len(absent) + len(there)
    spread = math.sqrt((absent.var() * len(absent) + there.var() * len(there)) / (total - 2))
    if spread <= 1e-12 * max(1.0, float(np.abs(there).max()), float(np.abs(absent).max())):
        if abs(difference) <= spread:
            raise UserError("epsilon: canary scores are all alike, with and without a canary; were canaries planted at all?")
        return MuEstimate(*(3 * (math.copysign(math.inf, difference),)))
    value = difference / spread
    error = quantile * math.sqrt(1 / len(absent) + 1 / len(there) + value**2 / (2 * total))
    return MuEstimate(value, value - error, value + error)


def epsilon_lower_bound(
    without: ArrayLike, present: ArrayLike, delta: float, random: np.random.Generator, confidence: float = 0.95
) -> LowerBound:
    """Return a lower bound of epsilon at a delta: log((detected - delta) / mistaken), with limits of both rates.

    Args:
        without: (canaries,) scores of canaries that were not there.
        present: (canaries,) scores of canaries that were.
        delta: 0 or more, below 1.
        random: divides the scores into the half that chooses and the half that is counted.
        confidence: between 0 and 1; the error is shared by the two rates.

    Raises:
        UserError: fewer than four scores on a side, scores that are not finite, or delta or confidence out of range.
    """
    if not 0 <= delta < 1:
        raise UserError(f"epsilon: delta {delta}; expected 0 or more, below 1")

    def bound(detected: Scores, mistaken: Scores) -> Scores:
        return np.log(np.maximum(detected - delta, 0.0)) - np.log(mistaken)

    return _tested(without, present, bound, random, confidence)


def mu_lower_bound(without: ArrayLike, present: ArrayLike, random: np.random.Generator, confidence: float = 0.95) -> LowerBound:
    """Return a lower bound of mu, Phi^-1(detected) - Phi^-1(mistaken), with limits of both rates; `epsilon_at` makes an epsilon of it.

    That epsilon is a bound only if the mechanism's noise is Gaussian. Arguments and errors of `epsilon_lower_bound`.
    """

    def bound(detected: Scores, mistaken: Scores) -> Scores:
        return np.asarray(ndtri(detected) - ndtri(mistaken))

    return _tested(without, present, bound, random, confidence)


Bound = Callable[[Scores, Scores], Scores]
"""(rates detected, at least; rates mistaken, at most) -> what they prove, minus infinity where nothing."""


def _tested(without: ArrayLike, present: ArrayLike, bound: Bound, random: np.random.Generator, confidence: float) -> LowerBound:
    absent, there = _checked_scores(without, "without"), _checked_scores(present, "with")
    error = 1 - _checked_confidence(confidence)
    (choose_absent, absent), (choose_there, there) = _halves(absent, random), _halves(there, random)
    candidates = np.unique(np.concatenate([choose_absent, choose_there]))
    proved = [
        _proved(*_counts(choose_absent, choose_there, candidates, above), len(choose_absent), len(choose_there), bound, error)
        for above in (True, False)
    ]
    above = bool(proved[0].max() >= proved[1].max())
    threshold = candidates[[int(np.argmax(proved[0 if above else 1]))]]  # (1,)
    mistaken, detected = _counts(absent, there, threshold, above)
    none, all_there = np.zeros(1, dtype=np.int64), np.full(1, len(there))
    return LowerBound(
        value=max(0.0, float(_proved(mistaken, detected, len(absent), len(there), bound, error)[0])),
        largest=max(0.0, float(_proved(none, all_there, len(absent), len(there), bound, error)[0])),
        confidence=confidence,
        threshold=float(threshold[0]),
        above=above,
        detected=(int(detected[0]), len(there)),
        mistaken=(int(mistaken[0]), len(absent)),
    )


def _counts(absent: Scores, there: Scores, thresholds: Scores, above: bool) -> tuple[Counts, Counts]:
    """Return how many canaries on each side are guessed to be there, for every threshold."""
    below = [np.searchsorted(np.sort(scores), thresholds, side="left") for scores in (absent, there)]
    return (len(absent) - below[0], len(there) - below[1]) if above else (below[0], below[1])


def _proved(mistaken: Counts, detected: Counts, absent: int, there: int, bound: Bound, error: float) -> Scores:
    """Return the better of what a test and its complement prove: both follow from the same two limits."""
    caught, missed = _lowest_rates(detected, there, error / 2)  # missed: the greatest rate of canaries overlooked
    passed, alarms = _lowest_rates(absent - mistaken, absent, error / 2)  # alarms: the greatest rate of false ones
    with np.errstate(divide="ignore"):
        return np.maximum(bound(caught, alarms), bound(passed, missed))


def _lowest_rates(successes: Counts, trials: int, error: float) -> tuple[Scores, Scores]:
    """Return one-sided Clopper-Pearson lower limits of rates, and their complements, which are not got by subtraction."""
    some = np.maximum(successes, 1)
    low = np.where(successes > 0, betaincinv(some, trials - some + 1, error), 0.0)
    return low, np.where(successes > 0, betainccinv(trials - some + 1, some, error), 1.0)


def _halves(scores: Scores, random: np.random.Generator) -> tuple[Scores, Scores]:
    shuffled = random.permutation(scores)
    return shuffled[: len(scores) // 2], shuffled[len(scores) // 2 :]


def _checked_scores(scores: ArrayLike, which: str) -> Scores:
    values = np.asarray(scores, dtype=np.float64)
    if values.ndim != 1 or len(values) < 4 or not np.isfinite(values).all():
        raise UserError(f"epsilon: the scores {which} a canary have shape {values.shape}; expected a list of at least 4 finite numbers")
    return values


def _checked_confidence(confidence: float) -> float:
    if not 0 < confidence < 1:
        raise UserError(f"epsilon: confidence {confidence}; expected a number between 0 and 1, such as 0.95")
    return confidence
