"""How well scores tell target trials (same speaker) from non-target trials: EER, detection cost, Cllr and area, from one sort.

Problem: thresholds on a fixed grid (.5 to .99) miss where a model's scores really lie, splitting tied scores by their order in the file
invents accuracy, and inverted scores look like a bad model. Choice: the exact operating points of the ROC, one threshold at each
distinct score and both ends, so that ties move together; every figure is read from those points. A trial is accepted where its score
is at or above the threshold. The equal error rate is interpolated linearly where misses and false alarms cross. Rejected: the
larger of the two rates at the nearest point (voxceleb_trainer), which depends on where the points happen to lie. Costs: NIST speaker
recognition evaluations; Cllr: Brümmer and du Preez 2006; its minimum over all monotone maps by the convex hull of the ROC, which is what
pool-adjacent-violators computes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from auscult.errors import UserError

COST_PRIORS = {"min_dcf_p01": 0.01, "min_dcf_p05": 0.05}
"""Priors of the two detection costs in use; costs of different priors are not comparable, so both are always reported."""

PROTOCOL = (
    "EER by linear interpolation between exact operating points, tied scores move together; minimum detection cost with costs 1 and "
    "divided by min(prior, 1 - prior); Cllr in bits, scores read as natural logarithms of likelihood ratios"
)
"""How the figures of this module are defined, to stand beside them."""


@dataclass(frozen=True)
class DetectionCurve:
    """Every operating point of a set of scored trials, from "accept all" to "reject all".

    Args:
        thresholds: (points,) float64, rising; the distinct scores, then infinity.
        misses: (points,) integer, target trials below the threshold, from 0 to `targets`.
        false_alarms: (points,) integer, non-target trials at or above it, from `nontargets` to 0.
        targets: number of target trials.
        nontargets: number of non-target trials.

    >>> curve = DetectionCurve.of([1.0, 0.0, 0.9, 0.1], [1, 0, 1, 0])
    >>> curve.equal_error_rate(), curve.minimum_detection_cost(0.05), curve.area()
    (0.0, 0.0, 1.0)
    """

    thresholds: NDArray[np.float64]
    misses: NDArray[np.int64]
    false_alarms: NDArray[np.int64]
    targets: int
    nontargets: int

    @classmethod
    def of(cls, scores: ArrayLike, target: ArrayLike) -> DetectionCurve:
        """Sort the trials once.

        Args:
            scores: (trials,) finite numbers; higher means more likely the same speaker.
            target: (trials,) bool or 0 and 1.

        Raises:
            UserError: lengths differ, scores are not finite, labels are not 0 and 1, or a class is missing.
        """
        values, labels = checked_trials(scores, target)
        order = np.argsort(values)
        values, below = values[order], np.cumsum(labels[order], dtype=np.int64)  # targets up to and including each trial
        ends = np.append(np.flatnonzero(values[1:] != values[:-1]), len(values) - 1)  # the last of each group of tied scores
        nontargets = len(values) - int(below[-1])
        misses = np.concatenate([[0], below[ends]])
        false_alarms = nontargets - np.concatenate([[0], ends + 1 - below[ends]])
        return cls(np.append(values[ends], np.inf), misses, false_alarms, int(below[-1]), nontargets)

    def rates(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return (points,) miss rates, rising from 0 to 1, and (points,) false-alarm rates, falling from 1 to 0."""
        return self.misses / self.targets, self.false_alarms / self.nontargets

    def equal_error_rate(self) -> float:
        """Return the rate, in [0, 1], at which misses and false alarms are equally frequent."""
        return self._crossing()[0]

    def equal_error_threshold(self) -> float:
        """Return the lowest score at which misses are at least as frequent as false alarms; the greatest score if there is none."""
        index = self._crossing()[1]
        return float(self.thresholds[min(index, len(self.thresholds) - 2)])

    def minimum_detection_cost(self, prior: float) -> float:
        """Return min over thresholds of [p misses + (1 - p) false alarms] / min(p, 1 - p), in [0, 1]; both errors cost 1.

        Raises:
            UserError: the prior is not between 0 and 1.
        """
        miss, false_alarm = cost_weights(prior)
        return float((self.misses * (miss / self.targets) + self.false_alarms * (false_alarm / self.nontargets)).min())

    def area(self) -> float:
        """Return the area under the ROC: the chance that a target scores above a non-target, ties counted half."""
        steps = np.diff(self.misses)  # (distinct scores,) targets at each score
        beaten = self.nontargets - (self.false_alarms[:-1] + self.false_alarms[1:]) / 2  # non-targets below, and half of those level
        return float(steps @ beaten / (self.targets * self.nontargets))

    def minimum_cllr(self) -> float:
        """Return the Cllr, in bits, that the best monotone map from scores to likelihood ratios would reach."""
        misses, false_alarms = (column / total for column, total in zip(self._hull(), (self.targets, self.nontargets), strict=True))
        hits, alarms = np.diff(misses), -np.diff(false_alarms)  # shares of both classes on each edge; their ratio is the likelihood ratio
        with np.errstate(divide="ignore", invalid="ignore"):
            terms = [np.where(one > 0, one * np.log2(1.0 + other / one), 0.0) for one, other in ((hits, alarms), (alarms, hits))]
        return float(sum(term.sum() for term in terms) / 2)

    def _crossing(self) -> tuple[float, int]:
        """Return the equal error rate and the first point at which misses / targets >= false alarms / non-targets."""
        excess = self.misses * self.nontargets - self.false_alarms * self.targets  # integers: equal rates compare equal
        index = int(np.searchsorted(excess, 0))  # rises from -targets * nontargets, so the first point lies before
        before, after = -int(excess[index - 1]), int(excess[index])
        step = int(self.misses[index] - self.misses[index - 1]) * before / (before + after)
        return (int(self.misses[index - 1]) + step) / self.targets, index

    def _hull(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return misses and false alarms at the corners of the lower convex hull of the operating points."""
        hits, alarms = np.diff(self.misses), -np.diff(self.false_alarms)
        turns = (hits[:-1] * alarms[1:]) != (hits[1:] * alarms[:-1])  # inner points of straight stretches are no corners
        kept = np.concatenate([[0], np.flatnonzero(turns) + 1, [len(hits)]])
        corners: list[tuple[int, int]] = []
        for miss, alarm in zip(self.misses[kept].tolist(), self.false_alarms[kept].tolist(), strict=True):
            while len(corners) > 1:
                (first_miss, first_alarm), (last_miss, last_alarm) = corners[-2:]
                if (last_miss - first_miss) * (alarm - last_alarm) > (miss - last_miss) * (last_alarm - first_alarm):
                    break  # the curve turns left: the last corner stays
                corners.pop()
            corners.append((miss, alarm))
        columns = np.asarray(corners)
        return columns[:, 0], columns[:, 1]


def checked_trials(scores: ArrayLike, target: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return scores as float64 and labels as bool, both (trials,).

    Raises:
        UserError: lengths differ, scores are not finite, labels are not 0 and 1, or a class is missing.
    """
    values, given = np.asarray(scores, dtype=np.float64), np.asarray(target)
    if values.ndim != 1 or values.shape != given.shape:
        raise UserError(f"trials: expected two equally long lists, got scores {values.shape} and labels {given.shape}")
    labels = given if given.dtype == np.bool_ else given == 1
    if given.dtype != np.bool_ and not (labels | (given == 0)).all():
        raise UserError("trials: a label is neither 0 nor 1; give 1 for target trials (same speaker) and 0 for the others")
    if not np.isfinite(values).all():
        first = int(np.flatnonzero(~np.isfinite(values))[0])
        raise UserError(
            f"trials: the score of trial {first + 1} is {values[first]}; look for embeddings that are not finite, or of silence"
        )
    targets = int(np.count_nonzero(labels))
    if targets in (0, len(labels)):
        missing = "non-target trials (label 0)" if targets else "target trials (label 1)"
        raise UserError(f"trials: no {missing} among {len(labels)} trials; error rates need both kinds")
    return values, labels


def cost_weights(prior: float) -> tuple[float, float]:
    """Return the weights of the miss rate and of the false-alarm rate in the normalised detection cost.

    Raises:
        UserError: the prior is not between 0 and 1.
    """
    if not 0.0 < prior < 1.0:
        raise UserError(f"prior {prior}: expected the share of target trials to plan for, above 0 and below 1")
    return prior / min(prior, 1.0 - prior), (1.0 - prior) / min(prior, 1.0 - prior)


def equal_error_rate(scores: ArrayLike, target: ArrayLike) -> float:
    """Return the equal error rate in [0, 1]; arguments and errors of `DetectionCurve.of`.

    >>> equal_error_rate([1.0, 0.0, 0.9, 0.1], [0, 1, 0, 1])
    1.0
    """
    return DetectionCurve.of(scores, target).equal_error_rate()


def minimum_detection_cost(scores: ArrayLike, target: ArrayLike, prior: float) -> float:
    """Return the minimum normalised detection cost at a prior; arguments and errors of `DetectionCurve.of`."""
    return DetectionCurve.of(scores, target).minimum_detection_cost(prior)


def area_under_curve(scores: ArrayLike, target: ArrayLike) -> float:
    """Return the chance that a target trial scores above a non-target trial; arguments and errors of `DetectionCurve.of`."""
    return DetectionCurve.of(scores, target).area()


def minimum_cllr(scores: ArrayLike, target: ArrayLike) -> float:
    """Return the Cllr, in bits, after the best monotone map of the scores; arguments and errors of `DetectionCurve.of`."""
    return DetectionCurve.of(scores, target).minimum_cllr()


def cllr(scores: ArrayLike, target: ArrayLike) -> float:
    """Return the cost of scores read as natural logarithms of likelihood ratios, in bits; 1 says nothing, 0 is perfect.

    Cllr = [mean over targets of log2(1 + e^-s) + mean over non-targets of log2(1 + e^s)] / 2.

    >>> cllr([0.0, 0.0], [1, 0])
    1.0
    """
    values, labels = checked_trials(scores, target)
    costs = surprise(values, labels)
    return float((costs[labels].mean() + costs[~labels].mean()) / 2)


def surprise(values: NDArray[np.float64], labels: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return each trial's log2(1 + e^-s), s counted positive towards its own class; (trials,) bits, never infinite for finite scores."""
    return np.asarray(np.logaddexp(0.0, np.where(labels, -values, values)) / np.log(2.0))


def detection_metrics(scores: ArrayLike, target: ArrayLike) -> dict[str, float]:
    """Return eer, min_dcf_p01, min_dcf_p05, cllr, min_cllr and auc; arguments and errors of `DetectionCurve.of`.

    >>> sorted(detection_metrics([1.0, 0.0, 0.9, 0.1], [1, 0, 1, 0]))
    ['auc', 'cllr', 'eer', 'min_cllr', 'min_dcf_p01', 'min_dcf_p05']
    """
    curve = DetectionCurve.of(scores, target)
    return {
        "eer": curve.equal_error_rate(),
        **{name: curve.minimum_detection_cost(prior) for name, prior in COST_PRIORS.items()},
        "cllr": cllr(scores, target),
        "min_cllr": curve.minimum_cllr(),
        "auc": curve.area(),
    }


def inverted_scores_alarm(area: float) -> str | None:
    """Return what to say about an area under the ROC below 1/2, or None where there is nothing to say.

    >>> inverted_scores_alarm(0.97) is None
    True
    """
    if area >= 0.5:
        return None
    return (
        f"the area under the ROC is {area:.3f}, below 1/2: same-speaker trials score lower than others, worse than guessing; "
        "the scores are probably distances (change their sign), or the labels are swapped"
    )
