from __future__ import annotations

import numpy as np
import pytest
from matplotlib.figure import Figure

from auscult.metrics.detection import COST_PRIORS, DetectionCurve, cost_weights
from auscult.report import det_curve
from auscult.report.figure import house_style


def _curve(trials: int = 400, shift: float = 2.0, seed: int = 0) -> DetectionCurve:
    random = np.random.default_rng(seed)
    target = np.arange(trials) % 4 == 0
    return DetectionCurve.of(random.standard_normal(trials) + shift * target, target)


def test_points_are_where_the_metrics_are_read() -> None:
    curve = _curve()
    points = det_curve.operating_points(curve)
    assert points["eer"] == (curve.equal_error_rate(),) * 2
    for name, prior in COST_PRIORS.items():
        miss, alarm = cost_weights(prior)
        alarms, misses = points[name]
        assert miss * misses + alarm * alarms == pytest.approx(curve.minimum_detection_cost(prior))


def test_every_curve_has_a_line_its_points_and_a_label_with_its_rate() -> None:
    curves = {"trained": _curve(), "untrained": _curve(shift=0.5)}
    with house_style():
        axes = Figure().subplots()
        rows = det_curve.draw_det(axes, curves, (0.1, 0.2))
    labels = [text.get_text() for text in axes.get_legend().get_texts()]
    assert labels == [
        "95 % interval of the EER",
        *(f"{name}: EER {100 * curve.equal_error_rate():.2f} %" for name, curve in curves.items()),
    ]
    assert {row["point"] for row in rows} == {"", "eer", *COST_PRIORS}
    assert {row["scores"] for row in rows} == set(curves)


def test_normal_scores_of_one_width_give_a_straight_line_of_slope_minus_one() -> None:
    with house_style():
        axes = Figure().subplots()
        det_curve.draw_det(axes, {"trained": _curve(trials=40_000)})
    line = next(line for line in axes.lines if str(line.get_label()).startswith("trained"))
    x, y = (np.asarray(values, float) for values in line.get_data())
    inside = (np.abs(x + 1.0) < 0.7) & np.isfinite(y)
    slope, offset = np.polyfit(x[inside], y[inside], 1)
    assert slope == pytest.approx(-1.0, abs=0.05)
    assert offset == pytest.approx(-2.0, abs=0.1)  # the distance of the means in deviations


def test_long_curves_are_thinned_and_keep_their_ends() -> None:
    curve = _curve(trials=60_000)
    with house_style():
        axes = Figure().subplots()
        rows = [row for row in det_curve.draw_det(axes, {"trained": curve}) if not row["point"]]
    assert len(rows) <= det_curve.MOST_POINTS
    assert (rows[0]["miss_rate"], rows[0]["false_alarm_rate"]) == (0.0, 1.0)
    assert rows[-1]["miss_rate"] > 0.99


def test_perfect_scores_can_be_drawn() -> None:
    with house_style():
        axes = Figure().subplots()
        det_curve.draw_det(axes, {"trained": DetectionCurve.of([1.0, 0.0], [1, 0])})
    assert all(np.isfinite([*axes.get_xlim(), *axes.get_ylim()]))
