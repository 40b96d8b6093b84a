"""The operating points that decide EER and minimum costs, found without sorting all trials.

Problem: sorting is nine tenths of the time of an equal error rate, and nearly all of the curve is far from the crossing and from the
minimum. Choice: count the scores on a coarse grid in linear time, which gives exact points at the cells' borders; only a cell that can
hold the crossing, or a cost below the best one at the borders, is sorted. Both figures stay exact, to the last bit. Area, minimum Cllr and
costs at other priors need the whole `DetectionCurve`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from auscult.metrics.detection import COST_PRIORS, DetectionCurve, checked_trials, cost_weights

_CELLS = 2048


def decisive_curve(scores: ArrayLike, target: ArrayLike, priors: Sequence[float] = tuple(COST_PRIORS.values())) -> DetectionCurve:
    """Return a curve of few points with the exact equal error rate, and the exact minimum costs at the given priors.

    Args:
        scores: (trials,) finite numbers; higher means more likely the same speaker.
        target: (trials,) bool or 0 and 1.
        priors: of the costs that will be asked for.

    Raises:
        UserError: as `DetectionCurve.of`, or a prior is not between 0 and 1.

    >>> decisive_curve([1.0, 0.0, 0.9, 0.1], [1, 0, 1, 0]).equal_error_rate()
    0.0
    """
    values, labels = checked_trials(scores, target)
    low, high = float(values.min()), float(values.max())
    with np.errstate(over="ignore"):
        scale = np.float64(_CELLS - 1) / (np.float64(high) - low or 1.0)
    if not 0.0 < scale < np.inf:  # the spread of the scores overflows, or nearly vanishes: no grid
        return DetectionCurve.of(values, labels)
    cell = ((values - low) * scale).astype(np.intp)  # (trials,) rises with the score
    counts = np.bincount(2 * cell + labels, minlength=2 * _CELLS).reshape(_CELLS, 2)  # columns: non-targets, targets
    passed, misses = (np.concatenate([[0], np.cumsum(column)]) for column in counts.T)  # below each border
    borders = DetectionCurve(low + np.arange(_CELLS + 1) / scale, misses, passed[-1] - passed, int(misses[-1]), int(passed[-1]))
    chosen = np.flatnonzero(_can_decide(borders, priors)[cell])
    chosen = chosen[np.argsort(values[chosen])]
    return _refined(borders, cell[chosen], values[chosen], labels[chosen])


def _can_decide(curve: DetectionCurve, priors: Sequence[float]) -> NDArray[np.bool_]:
    """Return (points - 1,) whether points between two neighbours can be the crossing, or cost less than every point of the curve."""
    excess = curve.misses * curve.nontargets - curve.false_alarms * curve.targets
    needed = (excess[:-1] < 0) & (excess[1:] >= 0)
    for prior in priors:
        miss, false_alarm = cost_weights(prior)
        # The best that lies between: all false alarms have gone, and no miss has come yet.
        floor = curve.misses[:-1] * (miss / curve.targets) + curve.false_alarms[1:] * (false_alarm / curve.nontargets)
        needed |= floor < curve.minimum_detection_cost(prior)
    return needed


def _refined(borders: DetectionCurve, cell: NDArray[np.intp], values: NDArray[np.float64], labels: NDArray[np.bool_]) -> DetectionCurve:
    """Add the points inside some cells; all arguments but the first are (trials of those cells,), ordered by score."""
    before = np.concatenate([[0], np.cumsum(labels)])
    first = np.searchsorted(cell, cell)  # index of the first trial of each trial's cell
    ends = np.append(np.flatnonzero(values[1:] != values[:-1]), len(values) - 1)
    hits = (before[1:] - before[first])[ends]
    rejected = (np.arange(1, len(cell) + 1) - first)[ends] - hits
    misses = np.concatenate([borders.misses, borders.misses[cell[ends]] + hits])
    false_alarms = np.concatenate([borders.false_alarms, borders.false_alarms[cell[ends]] - rejected])
    thresholds = np.concatenate([borders.thresholds, np.nextafter(values[ends], np.inf)])
    order = np.argsort(misses - false_alarms, kind="stable")  # rises with every trial below the threshold
    return DetectionCurve(thresholds[order], misses[order], false_alarms[order], borders.targets, borders.nontargets)
