"""Panels that several figures share, each legible for 3 utterances and for 3,000.

Up to `CROWD` utterances every one is drawn and named; above that, quantile bands over the utterances still running, and
histograms. Each function returns the rows it drew, which become the CSV behind the panel: an aggregated panel has an
aggregated CSV.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.gridspec import SubplotSpec
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike, NDArray

from auscult.report.figure import COLOURS, FAINT, INK, PALE, SEQUENTIAL, WARNING, Row

Floats = NDArray[np.float64]

CROWD = 12
"""Most utterances that are shown one by one."""
_ALARM_LETTERS = 125
"""In a line of the strip of alarms, at the width of a figure."""
_LINES: tuple[Any, ...] = ("-", (0, (5, 1.5)))


@dataclass(frozen=True)
class Line:
    """One named curve: x and y (points,) float64."""

    label: str
    x: Floats
    y: Floats


def line_style(position: int) -> dict[str, Any]:
    """Return colour and dash of the utterance at a position; twelve differ."""
    return {"color": COLOURS[position % len(COLOURS)], "linestyle": _LINES[position // len(COLOURS) % len(_LINES)]}


def draw_lines(axes: Axes, lines: Sequence[Line], value: str) -> list[Row]:
    """Draw curves over updates, or their quantiles where they are many; non-finite points are left out.

    Args:
        value: name of y in the returned rows.
    """
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=7))
    if len(lines) > CROWD:
        return _draw_bands(axes, lines, value)
    rows: list[Row] = []
    for position, line in enumerate(lines):
        seen = np.isfinite(line.y)
        axes.plot(line.x[seen], line.y[seen], label=line.label, **line_style(position))
        rows += [{"utterance": line.label, "update": int(x), value: y} for x, y in zip(line.x, line.y, strict=True)]
    return rows


def _draw_bands(axes: Axes, lines: Sequence[Line], value: str) -> list[Row]:
    grid = np.unique(np.concatenate([line.x for line in lines]))
    if len(grid) > 200:
        grid = np.unique(np.round(np.linspace(grid[0], grid[-1], 200)))
    table = np.full((len(lines), len(grid)), np.nan)  # (lines, updates): the last value at or before each update, while it was running
    for row, line in enumerate(lines):
        seen = np.isfinite(line.y)
        if seen.any():
            x, y = line.x[seen], line.y[seen]
            inside = (grid >= x[0]) & (grid <= x[-1])
            table[row, inside] = y[np.searchsorted(x, grid[inside], side="right") - 1]
    running = np.isfinite(table).sum(axis=0)
    grid, table, running = grid[running > 0], table[:, running > 0], running[running > 0]
    if not grid.size:
        return []
    low, ten, middle, ninety, high = np.nanquantile(table, [0.0, 0.1, 0.5, 0.9, 1.0], axis=0)
    axes.fill_between(grid, low, high, color=COLOURS[5], alpha=0.18, linewidth=0, label="least to most")
    axes.fill_between(grid, ten, ninety, color=COLOURS[0], alpha=0.30, linewidth=0, label="10 % to 90 %")
    axes.plot(grid, middle, color=COLOURS[0], label=f"median of {len(lines):,}")
    columns = zip(grid, running, low, ten, middle, ninety, high, strict=True)
    names = ("update", "utterances_running", "least", "q10", "median", "q90", "most")
    return [{**dict(zip(names, column, strict=True)), "of": value} for column in columns]


def draw_distribution(
    axes: Axes, labels: Sequence[str], values: Floats, name: str, unit: str = "", digits: int = 0, noun: str = "utterance"
) -> list[Row]:
    """Draw one value per utterance as labelled bars, or a histogram with median and 5 to 95 % where they are many.

    Args:
        values: (utterances,); non-finite ones are left out and counted in the axis label.
        name: what the values are, for axis and rows.
        digits: decimals of printed numbers.
        noun: what the values are of.
    """
    known = np.isfinite(values)
    missing = f" ({(~known).sum():,} not known)" if not known.all() else ""
    axes.set_xlabel(f"{name}{f' ({unit})' if unit else ''}{missing}")
    if len(labels) > CROWD:
        rows = _draw_histogram(axes, values[known], name, digits)
        axes.set_ylabel(f"{noun}s")
        return rows
    positions = np.arange(len(labels))
    shown = np.where(known, values, 0.0)
    axes.barh(positions, shown, color=[line_style(position)["color"] for position in range(len(labels))], height=0.62)
    for position, value in zip(positions, values, strict=True):
        text = f"{value:z,.{digits}f}" if np.isfinite(value) else "not known"
        place, offset, side = (value if np.isfinite(value) else 0.0, position), -4 if value < 0 else 4, "right" if value < 0 else "left"
        axes.annotate(text, place, (offset, 0), textcoords="offset points", va="center", ha=side)
    axes.set_yticks(positions, [label.split(" · ")[0] for label in labels])
    axes.set_ylabel(noun)
    axes.invert_yaxis()
    axes.grid(axis="y", visible=False)
    axes.margins(x=0.18)
    return [{"utterance": label, name: value} for label, value in zip(labels, values, strict=True)]


def _draw_histogram(axes: Axes, values: Floats, name: str, digits: int) -> list[Row]:
    if not values.size:
        return []
    whole = bool(np.all(values == np.round(values)))
    low, high = float(values.min()), float(values.max())
    if whole:
        width = max(1, int(np.ceil((high - low + 1) / 40)))
        edges = np.arange(low - 0.5, high + width + 0.5, width)
    elif high - low <= 1e-6 * max(abs(low), abs(high)):  # one value: a bar of visible width around it
        edges = np.linspace(low - 0.05 * abs(low), high + 0.05 * abs(high), 6)
    else:
        edges = np.linspace(low, high, 41)
    counts, edges = np.histogram(values, edges)
    axes.stairs(counts, edges, fill=True, color=COLOURS[0], alpha=0.75)
    five, middle, ninety_five = np.quantile(values, [0.05, 0.5, 0.95])
    axes.axvspan(five, ninety_five, color=FAINT, alpha=0.35, linewidth=0, zorder=0)
    axes.axvline(middle, color=INK, linewidth=1.2, linestyle=(0, (4, 2)))
    text = f"median {middle:,.{digits}f}\n5 to 95 %: {five:,.{digits}f} to {ninety_five:,.{digits}f}"
    axes.text(0.97, 0.95, text, transform=axes.transAxes, ha="right", va="top", fontsize=8.5, bbox=note_box())
    axes.set_ylabel("utterances")
    axes.set_ylim(0, counts.max() * 1.3)
    axes.yaxis.set_major_locator(MaxNLocator(integer=True, nbins=5))
    return [{f"{name}_from": a, f"{name}_to": b, "utterances": int(n)} for a, b, n in zip(edges[:-1], edges[1:], counts, strict=True)]


def log_scale(axes: Axes, which: Literal["x", "y"], *values: ArrayLike) -> None:
    """Make an axis logarithmic, unless none of the values on it is finite and above 0: then there is nothing to scale by."""
    known = np.concatenate([np.atleast_1d(np.asarray(value, dtype=np.float64)) for value in values])
    if np.any(np.isfinite(known) & (known > 0)):
        axes.set(**{f"{which}scale": "log"})


def note_box() -> dict[str, Any]:
    """Return the box behind a remark inside a panel."""
    return {"boxstyle": "round,pad=0.3", "facecolor": "white", "edgecolor": FAINT, "alpha": 0.9, "linewidth": 0.8}


def draw_image(axes: Axes, values: NDArray[Any], seconds: float, label: str) -> None:
    """Show (frames, bins) with time to the right; colours end at the 1st and 99th percentile."""
    half = seconds / max(len(values) - 1, 1) / 2.0
    low, high = np.nanquantile(values, [0.01, 0.995])
    axes.imshow(
        values.T,
        origin="lower",
        aspect="auto",
        extent=(-half, seconds + half, 0, values.shape[1]),
        cmap=SEQUENTIAL,
        vmin=low,
        vmax=high if high > low else low + 1.0,
        interpolation="nearest",
    )
    axes.set_ylabel(label)
    axes.grid(False)


def draw_table(axes: Axes, header: Sequence[str], rows: Sequence[Sequence[str]], widths: Sequence[float], size: float = 8.5) -> None:
    """Write a table into a blank panel: first column to the left, the others to the right.

    Args:
        widths: share of the panel's width for each column; they are scaled to add up to 1.
        size: points.
    """
    edges = np.concatenate([[0.0], np.cumsum(widths)]) / sum(widths) * 0.97 + 0.015
    height = 1.0 / (len(rows) + 1.4)
    top = 1.0 - 0.2 * height
    for line, cells in enumerate([header, *rows]):
        middle = top - (line + 0.5) * height
        if line and line % 2 == 0:
            axes.axhspan(middle - height / 2, middle + height / 2, color=PALE, linewidth=0)
        for column, cell in enumerate(cells):
            left = column == 0
            axes.text(
                edges[0] if left else edges[column + 1],
                middle,
                cell,
                ha="left" if left else "right",
                va="center",
                fontsize=size,
                fontweight="bold" if line == 0 else "normal",
                color=INK,
                clip_on=True,
            )
    axes.axhline(top - height, color=INK, linewidth=0.9)


def alarm_row(figure: Figure, alarms: Sequence[str], rows: int, heights: Sequence[float]) -> list[SubplotSpec]:
    """Return the cells of a grid of two columns, row by row, below a strip that says what is wrong with the result, if anything is.

    A figure travels without its page, so the warning is part of it.
    """
    lines = [line for alarm in alarms for line in textwrap.wrap(f"ALARM: {alarm}", _ALARM_LETTERS, subsequent_indent="    ")]
    if not lines:
        whole = figure.add_gridspec(rows, 2, height_ratios=heights)
        return [whole[row, column] for row in range(rows) for column in range(2)]
    share = (0.17 * len(lines) + 0.14) / figure.get_figheight() * sum(heights) * 1.2
    grid = figure.add_gridspec(rows + 1, 2, height_ratios=[share, *heights])
    strip = figure.add_subplot(grid[0, :])
    strip.set(xlim=(0.0, 1.0), ylim=(0.0, 1.0), xticks=[], yticks=[], facecolor="#fff3e8")
    strip.grid(False)
    for spine in strip.spines.values():
        spine.set(edgecolor=WARNING, linewidth=1.4)
    said = strip.text(0.012, 0.5, "\n".join(lines), va="center", fontsize=9.5, fontweight="bold", color="#9a3c00")
    said.set_in_layout(False)
    return [grid[row, column] for row in range(1, rows + 1) for column in range(2)]


def shorten(text: str, length: int) -> str:
    """Return a text of at most `length` characters, cut in the middle where it is longer.

    >>> shorten("1089-134686-0000", 11)
    '1089-…-0000'
    """
    if len(text) <= length:
        return text
    tail = (length - 1) // 2
    return f"{text[: length - 1 - tail]}…{text[len(text) - tail :]}"


def rank_correlation(x: Floats, y: Floats) -> float:
    """Return Spearman's rank correlation of the finite pairs, ties sharing their mean rank; nan below 3 pairs or without spread.

    >>> rank_correlation(np.array([1.0, 2.0, 4.0]), np.array([1.0, 10.0, 99.0]))
    1.0
    """
    kept = np.isfinite(x) & np.isfinite(y)
    if kept.sum() < 3:
        return float("nan")
    first, second = _ranks(x[kept]), _ranks(y[kept])
    if first.std() == 0 or second.std() == 0:
        return float("nan")
    return round(float(np.corrcoef(first, second)[0, 1]), 12)


def _ranks(values: Floats) -> Floats:
    _, places, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    ranks: Floats = (ends - (counts - 1) / 2.0)[places]
    return ranks
