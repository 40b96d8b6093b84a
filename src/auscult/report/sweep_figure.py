"""Figures of a sweep of attacks: what each defence costs and hides, and where the attack fails.

Curves put both sides of a defence into one panel: to the right what it costs, upwards what the attack finds, so that two defences are
compared where they cost the same; low and to the left is good. Costs differ by orders of magnitude, hence the logarithm. The map shows
all cells and says where the attack itself gave up: a number that an attacker knows to be wrong is not the same as one that misleads him.
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

MOST_SETTINGS = 3
COSTS = {"loss_fall": ("share of the fall of the loss that is lost", 1e-3), "cosine": ("1 less the cosine to the undefended message", 1e-5)}
"""What a row of panels shows to the right, as 1 less the measure of an undefended message; and the least that is drawn, for less too."""
FLOOR, TOP = -10.0, 60.0
"""Decibels at which anything worse or better is drawn: how far below zeros, or how exact, does not matter."""
DECIBELS = range(-10, 61, 10)
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "p", "h", "<", ">", "d")
UNDEFENDED = "none"
LARGEST = 40.0
"""Decibels at which the colours of the map end: beyond, features are the truth for every purpose."""


def draw_curves(sweep: SweepRun) -> tuple[Figure, dict[str, list[Row]]]:
    """Return the figure of SNR against cost, a column for each setting besides the defence, and its points."""
    settings = [(name, [cell for cell in cells if _has_both(cell)]) for name, cells in sweep.contexts.items()]
    settings = [(name, cells) for name, cells in settings if len(cells) > 1]
    best = sorted(settings, key=lambda setting: -max(_snr(cell) for cell in setting[1]))[:MOST_SETTINGS]
    shown = [setting for setting in settings if setting in best]
    families = list(dict.fromkeys(cell["defence"]["family"] for _, cells in shown for cell in cells))
    families.sort(key=lambda family: family == UNDEFENDED)  # the styles of the others do not depend on whether it is there
    left_out = f"  ·  the {len(shown)} of {len(settings)} settings that give most away" if len(settings) > len(shown) else ""
    figure = new_figure("What defences cost and hide", f"{sweep.subtitle}{left_out}", 8.0)
    if not shown or len(families) < 2:
        not_available(figure.subplots(), "fewer than two defences are done: there is nothing to compare yet")
        return figure, {"curves": []}
    grid = figure.subplots(len(COSTS), len(shown), squeeze=False, sharex="row", sharey=True)
    table: list[Row] = []
    for line, (cost, (words, least)) in zip(grid, COSTS.items(), strict=True):
        for axes, (_, cells) in zip(line, shown, strict=True):
            table += _curves(axes, cells, families, cost)
            axes.set_xlabel(words)
            axes.set(xscale="log", xlim=(0.6 * least, 1.6), ylim=(FLOOR - 3, TOP + 4))
            axes.set_yticks(DECIBELS, [f"≤ {one}" if one == FLOOR else f"≥ {one}" if one == TOP else str(one) for one in DECIBELS])
        line[0].set_ylabel("median SNR of features, dB")
    for axes, letter, (name, _) in zip(grid[0], "abc", shown, strict=False):
        axes.set_title(f"{letter}  {name.replace(chr(10), ', ') or 'all cells'}")
    named = {label: handle for axes in grid.flat for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)}
    figure.legend(named.values(), named.keys(), loc="outside lower center", ncols=min(5, len(named)))
    return figure, {"curves": table}


def _has_both(cell: Row) -> bool:
    return cell["state"] == "done" and "snr" in cell["scores"].get("attack", {}) and all(cost in cell["utility"] for cost in COSTS)


def _curves(axes: Axes, cells: Sequence[Row], families: Sequence[str], cost: str) -> list[Row]:
    """Draw the defences of one setting and what needs no message."""
    table: list[Row] = []
    baseline = float(np.median([cell["scores"]["random_other"]["snr"]["value"] for cell in cells]))
    axes.axhline(0.0, color=INK, linewidth=0.9, linestyle=(0, (4, 2)), label="zeros (no message)")
    axes.axhline(baseline, color=INK, linewidth=0.9, linestyle=(0, (1, 1.5)), label="another utterance (no message)")
    for place, family in enumerate(families):
        own = [cell for cell in cells if cell["defence"]["family"] == family]
        own.sort(key=lambda cell: float(cell["utility"][cost]["value"]))
        if not own:
            continue
        if family == UNDEFENDED:
            look: dict[str, Any] = {"color": INK, "linestyle": "none", "marker": "*", "markersize": 13, "label": "undefended"}
            look |= {"markerfacecolor": "none", "markeredgewidth": 1.4}  # clipping stands at the same place
        else:
            look = {**line_style(place), "marker": MARKERS[place % len(MARKERS)], "markersize": 5.5, "label": _named(family, own)}
        x, y = (_estimates(own, *path) for path in (("utility", cost), ("scores", "attack", "snr")))
        right, up = np.maximum(1.0 - x[[0, 2, 1]], COSTS[cost][1]), np.clip(y, FLOOR, TOP)
        axes.errorbar(right[0], up[0], xerr=_bars(right), yerr=_bars(up), elinewidth=0.9, capsize=2, zorder=3, **look)
        if cost == list(COSTS)[-1]:  # where points are farthest from one another
            _strengths(axes, own, right[0], up[0], look["color"])
        for cell, *numbers in zip(own, *x, *y, strict=True):
            names = ("is", "low", "high", "snr", "snr_low", "snr_high")
            told = {"setting": context(cell).replace("\n", ", "), "defence": defence(cell), "cost": cost}
            table.append({**told, **dict(zip(names, numbers, strict=True))})
    return table


def _named(family: str, cells: Sequence[Row]) -> str:
    """Return a family's name, with that of the strength that its points are marked with."""
    return f"{family} ({cells[0]['defence']['strength'].split(' ')[0]})" if len(cells) > 1 else family


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
    """Write the strength beside each point of a line; a single one is in the table."""
    if len(cells) < 2:
        return
    for cell, right, up in zip(cells, x, y, strict=True):
        text = cell["defence"]["strength"].split(", ")[0].split(" ")[-1]
        axes.annotate(text, (right, up), (4, 4), textcoords="offset points", ha="left", va="bottom", fontsize=7, color=colour, zorder=4)


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
