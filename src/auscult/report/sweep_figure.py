"""Figures of a sweep of attacks: what each defence costs and hides, and where the attack fails.

Curves put both sides of a defence into one panel: to the right what is left of the message's use, upwards what the attack finds, so that
two defences are compared where they cost the same, and a defence without a line to its left has one strength only. The map shows all cells
and says where the attack itself gave up: a number that an attacker knows to be wrong is not the same as one that misleads him.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from auscult.report.figure import FAINT, INK, OUTSIDE, SEQUENTIAL, Row, new_figure, not_available
from auscult.report.panels import line_style, shorten
from auscult.report.sweep_record import SweepRun, context, defence

MOST_PANELS = 6
PANELS_IN_ROW = 3
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "p", "h", "<", ">", "d")
UNDEFENDED = "none"
LARGEST = 40.0
"""Decibels at which the colours of the map end: beyond, features are the truth for every purpose."""


def draw_curves(sweep: SweepRun) -> tuple[Figure, dict[str, list[Row]]]:
    """Return the figure of SNR against utility, a panel for each setting besides the defence, and its points."""
    panels = [(name, [cell for cell in cells if _has_both(cell)]) for name, cells in sweep.contexts.items()]
    panels = [(name, cells) for name, cells in panels if len(cells) > 1]
    shown = panels[:MOST_PANELS]
    families = list(dict.fromkeys(cell["defence"]["family"] for _, cells in shown for cell in cells))
    families.sort(key=lambda family: family == UNDEFENDED)  # the styles of the others do not depend on whether it is there
    rows = max(1, -(-len(shown) // PANELS_IN_ROW))
    left_out = f"  ·  {len(shown)} of {len(panels)} settings" if len(panels) > len(shown) else ""
    figure = new_figure("What defences cost and hide", f"{sweep.subtitle}{left_out}", 1.5 + 3.4 * rows)
    if not shown or len(families) < 2:
        not_available(figure.subplots(), "fewer than two defences are done: there is nothing to compare yet")
        return figure, {"curves": []}
    columns = min(PANELS_IN_ROW, len(shown)) if len(shown) != 4 else 2
    grid = figure.subplots(-(-len(shown) // columns), columns, squeeze=False, sharex=True, sharey=True)
    table: list[Row] = []
    for place, axes in enumerate(grid.flat):
        if place >= len(shown):
            axes.set_axis_off()
            continue
        name, cells = shown[place]
        table += _curves(axes, cells, families)
        axes.set_title(f"{'abcdef'[place]}  {name.replace(chr(10), ', ') or 'all settings'}")
    for axes in grid[-1]:
        axes.set_xlabel("fall of the loss that is left (1: undefended)")
    for axes in grid[:, 0]:
        axes.set_ylabel("median SNR of features, dB")
    handles, labels = grid[0, 0].get_legend_handles_labels()
    named = dict(zip(labels, handles, strict=True))
    for axes in grid.flat:
        named |= {label: handle for handle, label in zip(*axes.get_legend_handles_labels(), strict=True) if label not in named}
    figure.legend(named.values(), named.keys(), loc="outside lower center", ncols=min(5, len(named)))
    return figure, {"curves": table}


def _has_both(cell: Row) -> bool:
    return cell["state"] == "done" and "snr" in cell["scores"].get("attack", {}) and "loss_fall" in cell["utility"]


def _curves(axes: Axes, cells: Sequence[Row], families: Sequence[str]) -> list[Row]:
    """Draw the defences of one setting and what needs no message."""
    table: list[Row] = []
    baseline = float(np.median([cell["scores"]["corpus_mean"]["snr"]["value"] for cell in cells]))
    axes.axhline(0.0, color=INK, linewidth=0.9, linestyle=(0, (4, 2)), label="zeros, without any message")
    if abs(baseline) > 0.5:
        axes.axhline(baseline, color=INK, linewidth=0.9, linestyle=(0, (1, 1.5)), label="mean of other utterances")
    for place, family in enumerate(families):
        own = sorted(
            (cell for cell in cells if cell["defence"]["family"] == family), key=lambda cell: cell["utility"]["loss_fall"]["value"]
        )
        if not own:
            continue
        if family == UNDEFENDED:
            look: dict[str, Any] = {"color": INK, "linestyle": "none", "marker": "*", "markersize": 11, "label": "undefended"}
        else:
            look = {**line_style(place), "marker": MARKERS[place % len(MARKERS)], "markersize": 5.5, "label": family}
        x, y = (_estimates(own, *path) for path in (("utility", "loss_fall"), ("scores", "attack", "snr")))
        axes.errorbar(x[0], y[0], xerr=_bars(x), yerr=_bars(y), elinewidth=0.9, capsize=2, zorder=3, **look)
        _strengths(axes, own, x[0], y[0], look["color"])
        for cell, *numbers in zip(own, *x, *y, strict=True):
            names = ("loss_fall", "loss_fall_low", "loss_fall_high", "snr", "snr_low", "snr_high")
            table.append({"setting": context(cell).replace("\n", ", "), "defence": defence(cell), **dict(zip(names, numbers, strict=True))})
    return table


def _estimates(cells: Sequence[Row], *path: str) -> Any:
    """Return (3, cells): value, low and high."""
    found = []
    for cell in cells:
        estimate: Any = cell
        for key in path:
            estimate = estimate[key]
        found.append([estimate[name] for name in ("value", "low", "high")])
    return np.array(found).T


def _bars(estimates: Any) -> Any:
    value, low, high = estimates
    return np.maximum([value - low, high - value], 0.0)


def _strengths(axes: Axes, cells: Sequence[Row], x: Any, y: Any, colour: str) -> None:
    """Write the strengths beside the ends of a line; a single one is in the table."""
    for place in sorted({0, len(cells) - 1}) if len(cells) > 1 else ():
        text = cells[place]["defence"]["strength"].split(", ")[0]
        side = "left" if place == 0 else "right"
        offset = (5, 5) if place == 0 else (-5, 5)
        axes.annotate(text, (x[place], y[place]), offset, textcoords="offset points", ha=side, va="bottom", fontsize=7, color=colour)


def draw_map(sweep: SweepRun) -> tuple[Figure, dict[str, list[Row]]]:
    """Return the map of median SNR over all cells, with where the attack gave up, and its numbers."""
    lines, columns, places = _layout(sweep)
    figure = new_figure("Failure map", f"{sweep.subtitle}  ·  median SNR of features in dB; zeros score 0", 1.9 + 0.44 * len(lines))
    if not any("snr" in cell["scores"].get("attack", {}) for cell in sweep.done):
        not_available(figure.subplots(), "no cell with features is done yet")
        return figure, {"map": []}
    axes = figure.subplots()
    values = np.full((len(lines), len(columns)), np.nan)
    for cell, place in places:
        values[place] = _snr(cell)
    colours = mpl.colormaps[SEQUENTIAL].with_extremes(bad=FAINT)
    image = axes.imshow(np.ma.masked_invalid(values), cmap=colours, vmin=0.0, vmax=LARGEST, aspect="auto")
    table: list[Row] = []
    for cell, (line, column) in places:
        text, counted = _mark(cell)
        dark = not np.isnan(values[line, column]) and values[line, column] < 0.6 * LARGEST
        axes.text(column, line, text, ha="center", va="center", fontsize=8.5, color="white" if dark else INK)
        table.append({"cell": cell["id"], "state": cell["state"], "snr": values[line, column], "gave_up": counted})
    axes.set_xticks(range(len(columns)), columns)
    axes.set_yticks(range(len(lines)), [shorten(line, 44) for line in lines])
    axes.set_xticks(np.arange(len(columns) - 1) + 0.5, minor=True)
    axes.set_yticks(np.arange(len(lines) - 1) + 0.5, minor=True)
    axes.grid(False)
    axes.grid(which="minor", color="white", linewidth=1.5)
    axes.tick_params(which="both", length=0)
    bar = figure.colorbar(image, ax=axes, extend="max", fraction=0.03, pad=0.01)
    bar.outline.set_visible(False)
    axes.set_xlabel("× the attack itself gave up on the message, in so many of all messages of the cell", color=OUTSIDE)
    return figure, {"map": table}


def _layout(sweep: SweepRun) -> tuple[list[str], list[str], list[tuple[Row, tuple[int, int]]]]:
    """Return names of lines and columns, and where each cell stands: defences down, or the last axis where none is varied."""
    names = [(defence(cell), context(cell)) for cell in sweep.cells]
    if len({one for one, _ in names}) == 1:
        split = [context(cell).rpartition("\n") for cell in sweep.cells]
        names = [(last, rest) for rest, _, last in split]
    lines, columns = (list(dict.fromkeys(name[side] for name in names)) for side in (0, 1))
    places = [(cell, (lines.index(one), columns.index(other))) for cell, (one, other) in zip(sweep.cells, names, strict=True)]
    return lines, columns, places


def _snr(cell: Row) -> float:
    scores = cell["scores"].get("attack", {}) if cell["state"] == "done" else {}
    return float(scores["snr"]["value"]) if "snr" in scores else float("nan")


def _mark(cell: Row) -> tuple[str, str]:
    """Return what a cell of the map says, and its count of messages that were given up."""
    if cell["state"] != "done":
        return cell["state"], ""
    given_up, of = cell["gave_up"]["messages"], cell["gave_up"]["of"]
    value = _snr(cell)
    number = "–" if np.isnan(value) else f"{value:.1f}" if abs(value) >= 0.05 else "0.0"
    return (f"{number}   × {given_up}/{of}" if given_up else number), f"{given_up} of {of}"
