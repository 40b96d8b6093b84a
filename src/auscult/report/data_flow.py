"""Figure 4 of a check: what each stage makes of the data, and for transcripts whether the output is long enough to spell the target.

R0 reported the convolution's output length as the "input size". Here input frames T, output frames T' and symbols L are three
panels, and a fourth shows T' - (L + r), the frames to spare; below 0 no alignment exists and CTC has no finite loss. Tasks without symbols
have other sizes (`check_words`); what a log does not have is left out and named.
"""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch
from numpy.typing import NDArray

from auscult.report.check_record import Check
from auscult.report.check_words import Words, words_of
from auscult.report.figure import COLOURS, INK, OUTSIDE, PALE, SMOKE, WARNING, Row, blank_panel, new_figure
from auscult.report.panels import CROWD, draw_distribution, line_style, note_box, shorten

Floats = NDArray[np.float64]


def draw(check: Check) -> tuple[Figure, dict[str, list[Row]]]:
    """Return the figure and the rows behind its panels."""
    words = words_of(check)
    values = {one.key: check.results(one.key) if one.at_end else check.column(one.key) for one in words.lengths}
    shown = [one for one in words.lengths if np.isfinite(values[one.key]).any()]
    missing = [one.label for one in words.lengths if one not in shown]
    both = all(np.isfinite(check.column(key)).any() for key in ("input_frames", "output_frames"))
    across = 2 if len(shown) + both == 4 else 3
    rows = max(1, -(-(len(shown) + both) // across))
    figure = new_figure("Data flow", check.subtitle, 2.6 + 3.0 * rows, tag=SMOKE)
    grid = figure.add_gridspec(1 + rows, across, height_ratios=[0.72, *[1.0] * rows])
    stages = pipeline(check)
    _draw_pipeline(figure.add_subplot(grid[0, :]), stages, words, missing)
    labels = [utterance.label for utterance in check.utterances]
    tables: dict[str, list[Row]] = {"pipeline": [{"stage": a, "shape": b, "rate": c} for a, b, c in stages]}
    for position, one in enumerate(shown):
        axes = figure.add_subplot(grid[1 + position // across, position % across])
        name = one.label[0].upper() + one.label[1:] + (f" {one.short}" if one.short in ("T", "T'", "L") else "")
        axes.set_title(f"{'bcdefgh'[position]}  {name if one.key != 'margin' else 'Frames to spare, T' + chr(39) + ' − (L + r)'}")
        tables[one.key] = draw_distribution(axes, labels, values[one.key], one.label, one.unit, one.digits, check.noun)
        if one.key == "margin":
            _mark_infeasible(axes, values[one.key])
    if both:
        axes = figure.add_subplot(grid[1 + len(shown) // across, len(shown) % across])
        tables["reduction"] = _draw_reduction(axes, check, "bcdefgh"[len(shown)])
    return figure, tables


def pipeline(check: Check) -> list[tuple[str, str, str]]:
    """Return the stages from samples to the target: name, sizes (median, least to most where they differ), rate."""
    front_end = check.model.get("front_end", {})
    seconds = check.column("seconds")
    stages = [_samples(check, seconds, front_end.get("sample_rate"))]
    if front_end or np.isfinite(check.column("input_frames")).any():  # a model of samples has neither
        size = f"{_spread(check.column('input_frames'))}\n× {_spread(check.column('bins'))} bins"
        stages.append((f"input frames\n{front_end.get('name', 'front-end')}", size, _hertz(front_end.get("frame_step"))))
    else:
        stages += _first_module(check)
    for name, key, unit in words_of(check).flow:
        counts = check.column(key) if key != "label_count" else np.full(len(seconds), float(len(check.run.labels or ())))
        size = f"{_spread(counts)} {unit}".strip()
        if key == "output_frames":
            stages.append((f"{name}\n{check.start.get('model', 'model')}", size, _hertz(check.frame_step)))
        elif key == "symbols":
            stages.append((name, size, f"{_spread(counts / np.where(seconds > 0, seconds, np.nan), 1)} per second"))
        elif key == "sources":
            stages.append((f"{name}\n{check.start.get('model', 'model')}", size, "as long as the mixture"))
        else:
            stages.append((name, size, "per recording" if key == "dimensions" else ""))
    return stages


def _first_module(check: Check) -> list[tuple[str, str, str]]:
    """Return the stage of the first module that ran, where the log has measured one: what a model of samples makes of them first."""
    measured = [part for part in check.model.get("parts", ()) if part.get("output_shape") and isinstance(part.get("order"), int)]
    if not measured:
        return []
    first = min(measured, key=lambda part: int(part["order"]))
    shape = " × ".join(f"{size:,}" for size in first["output_shape"])
    return [(f"{shorten(str(first['name']), 22)}\n{first['type']}", shape, "first module called, on a probe")]


def _samples(check: Check, seconds: Floats, rate: float | None) -> tuple[str, str, str]:
    """Return the first stage: samples as logged, or as seconds and rate give them."""
    rates = check.column("sample_rate") if rate is None else np.full(len(seconds), rate, dtype=np.float64)
    counted = check.column("samples")
    samples = np.where(np.isfinite(counted), counted, np.round(seconds * rates))
    said = _spread(rates)
    size = _spread(samples) if np.isfinite(samples).any() else "not stated"
    return "samples", size, f"{said} Hz" if said != "not known" else "rate not stated"


def _spread(values: Floats, digits: int = 0) -> str:
    known = values[np.isfinite(values)]
    if not known.size:
        return "not known"
    low, middle, high = (f"{value:,.{digits}f}" for value in np.quantile(known, [0.0, 0.5, 1.0]))
    return middle if low == high else f"{middle} ({low} to {high})"


def _hertz(step: object) -> str:
    return f"{1 / step:g} Hz ({step * 1000:g} ms)" if isinstance(step, int | float) and step > 0 else "step not stated"


def _draw_pipeline(axes: Axes, stages: list[tuple[str, str, str]], words: Words, missing: list[str]) -> None:
    last = stages[-1][0].split("\n")[0]
    rest = f"; not in the log: {', '.join(missing)}" if missing else ""
    axes.set_title(f"a  From samples to {last}: median (least to most) over the {words.items}{rest}")
    blank_panel(axes)
    gap = 0.047
    width = min(0.29, (0.964 - gap * (len(stages) - 1)) / len(stages))
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


def _draw_reduction(axes: Axes, check: Check, letter: str) -> list[Row]:
    axes.set_title(f"{letter}  Output against input frames")
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
