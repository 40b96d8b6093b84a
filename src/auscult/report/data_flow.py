"""Figure 4 of a check: what each stage makes of the data, and whether the output is long enough to spell the target.

R0 reported the convolution's output length as the "input size". Here input frames T, output frames T' and symbols L are three
panels, and a fourth shows T' - (L + r), the frames to spare; below 0 no alignment exists and CTC has no finite loss.
"""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch
from numpy.typing import NDArray

from auscult.report.check_record import Check
from auscult.report.figure import COLOURS, INK, OUTSIDE, PALE, SMOKE, WARNING, Row, blank_panel, new_figure
from auscult.report.panels import CROWD, draw_distribution, line_style, note_box

Floats = NDArray[np.float64]


def draw(check: Check) -> tuple[Figure, dict[str, list[Row]]]:
    """Return the figure and the rows behind its panels."""
    figure = new_figure("Data flow", check.subtitle, 8.6, tag=SMOKE)
    grid = figure.add_gridspec(3, 3, height_ratios=[0.72, 1.0, 1.0])
    stages = pipeline(check)
    _draw_pipeline(figure.add_subplot(grid[0, :]), stages)
    labels = [utterance.label for utterance in check.utterances]
    margin = check.column("output_frames") - check.column("required_frames")
    panels = [
        ("duration", "b  Duration", check.column("seconds"), "duration", "seconds", 2),
        ("input_frames", "c  Input frames T", check.column("input_frames"), "input frames", "", 0),
        ("output_frames", "d  Output frames T'", check.column("output_frames"), "output frames", "", 0),
        ("symbols", "e  Target length L", check.column("symbols"), "symbols", "", 0),
        ("margin", "f  Frames to spare, T' − (L + r)", margin, "spare output frames", "", 0),
    ]
    tables: dict[str, list[Row]] = {"pipeline": [{"stage": a, "shape": b, "rate": c} for a, b, c in stages]}
    for position, (key, title, values, name, unit, digits) in enumerate(panels):
        axes = figure.add_subplot(grid[1 + position // 3, position % 3])
        axes.set_title(title)
        tables[key] = draw_distribution(axes, labels, values, name, unit, digits)
        if key == "margin":
            _mark_infeasible(axes, values)
    axes = figure.add_subplot(grid[2, 2])
    tables["reduction"] = _draw_reduction(axes, check)
    return figure, tables


def pipeline(check: Check) -> list[tuple[str, str, str]]:
    """Return the stages from samples to symbols: name, sizes (median, least to most where they differ), rate."""
    front_end = check.model.get("front_end", {})
    rate, step = front_end.get("sample_rate"), front_end.get("frame_step")
    seconds = check.column("seconds")
    samples = _spread(np.round(seconds * rate)) if isinstance(rate, int | float) else "not stated"
    bins = _spread(check.column("bins"))
    speed = check.column("symbols") / np.where(seconds > 0, seconds, np.nan)
    return [
        ("samples", samples, f"{rate:,} Hz" if isinstance(rate, int | float) else "rate not stated"),
        (f"input frames\n{front_end.get('name', 'front-end')}", f"{_spread(check.column('input_frames'))}\n× {bins} bins", _hertz(step)),
        (f"output frames\n{check.start.get('model', 'model')}", _spread(check.column("output_frames")), _hertz(check.frame_step)),
        ("symbols\nCTC target", _spread(check.column("symbols")), f"{_spread(speed, 1)} per second"),
    ]


def _spread(values: Floats, digits: int = 0) -> str:
    known = values[np.isfinite(values)]
    if not known.size:
        return "not known"
    low, middle, high = (f"{value:,.{digits}f}" for value in np.quantile(known, [0.0, 0.5, 1.0]))
    return middle if low == high else f"{middle} ({low} to {high})"


def _hertz(step: object) -> str:
    return f"{1 / step:g} Hz ({step * 1000:g} ms)" if isinstance(step, int | float) and step > 0 else "step not stated"


def _draw_pipeline(axes: Axes, stages: list[tuple[str, str, str]]) -> None:
    axes.set_title("a  From samples to symbols: median (least to most)")
    blank_panel(axes)
    width, gap = 0.205, 0.047
    for position, (name, shape, rate) in enumerate(stages):
        left = 0.018 + position * (width + gap)
        box = FancyBboxPatch(
            (left, 0.1), width, 0.8, boxstyle="round,pad=0,rounding_size=0.012", facecolor=PALE, edgecolor=COLOURS[position], linewidth=1.6
        )
        axes.add_patch(box)
        middle = left + width / 2
        axes.text(middle, 0.70, name, ha="center", va="center", fontweight="bold", fontsize=9.5)
        axes.text(middle, 0.42, shape, ha="center", va="center", fontsize=9)
        axes.text(middle, 0.20, rate, ha="center", va="center", fontsize=8.5, color=OUTSIDE)
        if position:
            axes.annotate(
                "", (left, 0.5), (left - gap, 0.5), arrowprops={"arrowstyle": "-|>", "color": INK, "lw": 1.4, "shrinkA": 2, "shrinkB": 2}
            )


def _mark_infeasible(axes: Axes, margin: Floats) -> None:
    count = int((margin < 0).sum())
    axes.axvline(0.0, color=WARNING, linewidth=1.4)
    if count:
        axes.text(
            0.03, 0.95, f"{count:,} cannot be spelled", transform=axes.transAxes, va="top", fontsize=8.5, color="#9a3c00", bbox=note_box()
        )


def _draw_reduction(axes: Axes, check: Check) -> list[Row]:
    axes.set_title("g  Output against input frames")
    before, after = check.column("input_frames"), check.column("output_frames")
    axes.set(xlabel="input frames T", ylabel="output frames T'")
    if len(check.utterances) > CROWD:
        axes.plot(before, after, ".", markersize=3, alpha=0.35, color=COLOURS[0], markeredgewidth=0, rasterized=True)
    else:
        for position, (x, y) in enumerate(zip(before, after, strict=True)):
            axes.plot(x, y, "o", markersize=7, color=line_style(position)["color"])
            axes.annotate(f"{x:.0f} → {y:.0f}", (x, y), (7, -3), textcoords="offset points", fontsize=8.5)
        axes.margins(x=0.35, y=0.25)
    ratio = before / after
    axes.text(
        0.03,
        0.95,
        f"T / T' {np.nanmin(ratio):.2f} to {np.nanmax(ratio):.2f}",
        transform=axes.transAxes,
        va="top",
        fontsize=8.5,
        bbox=note_box(),
    )
    return [{"utterance": u.label, "input_frames": x, "output_frames": y} for u, x, y in zip(check.utterances, before, after, strict=True)]
