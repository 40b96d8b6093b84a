"""Misses against false alarms on normal-deviate axes, with the points that single figures are read from.

Why these axes: scores that are normal within each class give a straight line, and the low rates that matter take as much room as
the high ones (Martin et al. 1997). All kinds of scores share one panel, the untrained ones too, so that no curve is seen without what it
takes to beat. The points are those of `metrics.detection`; far beyond the last of them there are no trials, and no line.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray
from scipy.special import ndtri

from auscult.metrics.detection import COST_PRIORS, DetectionCurve, cost_weights
from auscult.report.figure import COLOURS, FAINT, INK, Row

Floats = NDArray[np.float64]
TICKS = (0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 0.9, 0.95, 0.98)
LOOKS: tuple[tuple[str, Any], ...] = ((COLOURS[0], "-"), (COLOURS[2], (0, (5, 1.5))), (COLOURS[3], (0, (1.5, 1.2))))
MARKERS = {"min_dcf_p01": "D", "min_dcf_p05": "s"}
MOST_POINTS = 1500


def draw_det(axes: Axes, curves: Mapping[str, DetectionCurve], interval: tuple[float, float] | None = None) -> list[Row]:
    """Draw curves by name, with the point of equal errors (circle) and of both minimum costs (diamond, square).

    Args:
        curves: first the one that matters.
        interval: of its equal error rate.

    Returns:
        The points drawn, thinned to `MOST_POINTS` a curve.
    """
    low_x, low_y = (_lowest(curves, key) for key in ("nontargets", "targets"))
    high = float(np.clip(2.5 * max(curve.equal_error_rate() for curve in curves.values()), 0.45, 0.97))
    highest = max(miss for curve in curves.values() for _, miss in operating_points(curve).values())
    high_y = float(np.clip(1.05 * highest, high, 0.985))
    rows: list[Row] = []
    diagonal = ndtri(np.array([max(low_x, low_y), high]))
    axes.plot(diagonal, diagonal, color=FAINT, linewidth=1.0, zorder=1)
    if interval is not None:
        ends = ndtri(np.clip(np.array(interval), max(low_x, low_y), high))
        axes.plot(ends, ends, color=LOOKS[0][0], linewidth=7, alpha=0.22, solid_capstyle="butt", label="95 % interval of the EER")
    for (name, curve), (colour, dash) in zip(curves.items(), LOOKS, strict=False):
        misses, alarms = curve.rates()
        x, y = ndtri(np.clip(alarms, low_x, 1 - low_x)), ndtri(np.clip(misses, low_y, 1 - low_y))
        kept = _thinned(x, y)
        axes.plot(x[kept], y[kept], color=colour, linestyle=dash, label=f"{name}: EER {100 * curve.equal_error_rate():.2f} %")
        points = operating_points(curve)
        for which, (alarm, miss) in points.items():
            place = ndtri(np.clip(alarm, low_x, high)), ndtri(np.clip(miss, low_y, high_y))
            axes.plot(*place, MARKERS.get(which, "o"), markersize=7, color=colour, markeredgecolor=INK, zorder=5, clip_on=False)
        rows += [
            {"scores": name, "false_alarm_rate": a, "miss_rate": m, "point": ""} for a, m in zip(alarms[kept], misses[kept], strict=True)
        ]
        rows += [{"scores": name, "false_alarm_rate": a, "miss_rate": m, "point": which} for which, (a, m) in points.items()]
    _scale(axes, "x", low_x, high)
    _scale(axes, "y", low_y, high_y)
    axes.set(xlabel="false alarms, % of non-target trials", ylabel="misses, % of target trials")
    axes.legend(loc="upper right", title="● EER   ◆ min DCF .01   ■ min DCF .05", title_fontsize=8.5, alignment="left")
    return rows


def _scale(axes: Axes, side: str, low: float, high: float) -> None:
    """Write rates in % at places that are their normal deviates, none so near to another that they run together."""
    ticks: list[float] = []
    for tick in TICKS:
        if low <= tick <= high and (not ticks or ndtri(tick) - ndtri(ticks[-1]) > 0.045 * (ndtri(high) - ndtri(low))):
            ticks.append(tick)
    places = {f"{side}ticks": ndtri(ticks), f"{side}ticklabels": [f"{100 * tick:g}" for tick in ticks], f"{side}lim": ndtri([low, high])}
    axes.set(**places)


def operating_points(curve: DetectionCurve) -> dict[str, tuple[float, float]]:
    """Return (false-alarm rate, miss rate) of the equal error rate and of both minimum costs."""
    misses, alarms = curve.rates()
    points = {"eer": (curve.equal_error_rate(),) * 2}
    for name, prior in COST_PRIORS.items():
        miss, alarm = cost_weights(prior)
        best = int(np.argmin(miss * misses + alarm * alarms))
        points[name] = float(alarms[best]), float(misses[best])
    return points


def _lowest(curves: Mapping[str, DetectionCurve], kind: str) -> float:
    """Half a trial: below it no rate was measured."""
    return float(np.clip(min(0.5 / getattr(curve, kind) for curve in curves.values()), 1e-4, 0.02))


def _thinned(x: Floats, y: Floats) -> NDArray[np.intp]:
    """Return places of points that differ by a visible amount, at most about `MOST_POINTS`."""
    if len(x) <= MOST_POINTS:
        return np.arange(len(x))
    travelled = np.concatenate([[0.0], np.cumsum(np.abs(np.diff(x)) + np.abs(np.diff(y)))])
    bins = np.floor(travelled / max(travelled[-1], 1e-12) * (MOST_POINTS - 1))
    return np.unique(bins, return_index=True)[1]
