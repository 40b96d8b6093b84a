"""Figures of an attack: reconstructed features beside the true ones, and what the attack minimised.

Truth and reconstruction share one scale of colours, taken from the truth: one that is too faint, or blown up, looks it.
"""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from auscult.report.attack_record import AttackRun, Floats, Picture
from auscult.report.figure import COLOURS, FAINT, SEQUENTIAL, Row, new_figure, not_available
from auscult.report.panels import shorten

SHOWN = 3
"""Utterances in the figure of reconstructions: the worst, the middle and the best of those kept."""
MOST_PANELS = 4
MOST_LINES = 40


def draw_reconstructions(attack: AttackRun) -> tuple[Figure, dict[str, list[Row]]]:
    """Return the figure of a few utterances, and their scores."""
    pictures = list(attack.pictures)
    pictures = pictures if len(pictures) <= SHOWN else [pictures[0], pictures[len(pictures) // 2], pictures[-1]]
    figure = new_figure(
        "Synthetic reconstructions", f"{attack.subtitle}  ·  as the network takes features", 1.0 + 2.1 * max(len(pictures), 1)
    )
    if not pictures:
        not_available(figure.subplots(), "no features were looked for")
        return figure, {"scores": []}
    grid = figure.subplots(len(pictures), 2, squeeze=False)
    scores = {str(item["id"]): item.get("snr") for item in attack.items}
    for line, picture in zip(grid, pictures, strict=True):
        low, high = np.quantile(picture.truth, [0.01, 0.99])
        said = f"{picture.place}, {shorten(picture.id, 28)}"
        _image(line[0], picture.truth, low, high, f"{said}: truth")
        _image(line[1], _fitted(picture), low, high, f"reconstruction, {scores.get(picture.id, float('nan')):.1f} dB")
        line[0].set_ylabel("coefficient or bin")
    for axes in grid[-1]:
        axes.set_xlabel("frames")
    return figure, {"scores": [{"id": one.id, "place": one.place, "snr": scores.get(one.id)} for one in pictures]}


def _fitted(picture: Picture) -> Floats:
    """Return the reconstruction in as many frames as the truth, missing ones empty."""
    shown = np.full(picture.truth.shape, np.nan)
    frames = min(len(shown), len(picture.reconstruction))
    shown[:frames] = picture.reconstruction[:frames]
    return shown


def _image(axes: Axes, features: Floats, low: float, high: float, title: str) -> None:
    axes.set_facecolor(FAINT)
    axes.imshow(features.T, origin="lower", aspect="auto", cmap=SEQUENTIAL, vmin=low, vmax=high, interpolation="nearest")
    axes.set_title(title)
    axes.grid(False)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))


def draw_course(attack: AttackRun) -> tuple[Figure, dict[str, list[Row]]]:
    """Return the figure of what was reported at every iteration, and its numbers."""
    names = sorted(attack.course, key=lambda name: (name != "objective", name))[:MOST_PANELS]
    rows = max(1, -(-len(names) // 2))
    figure = new_figure("Course of the attack", f"{attack.subtitle}  ·  a line for each message", 0.9 + 2.8 * rows)
    if not names:
        not_available(figure.subplots(), "this attack has no iterations: it solves")
        return figure, {"course": []}
    grid = figure.add_gridspec(rows, min(2, len(names)))
    table: list[Row] = []
    for place, name in enumerate(names):
        axes = figure.add_subplot(grid[place // 2, place % 2])
        lines = attack.course[name]
        for number, values in list(lines.items())[:MOST_LINES]:
            order = sorted(values)
            colour, dot = COLOURS[number % len(COLOURS)], "." if len(order) == 1 else None  # a line of one point cannot be seen
            axes.plot(order, [values[one] for one in order], color=colour, linewidth=1.0, alpha=0.8, marker=dot)
            table += [{"value": name, "message": number, "iteration": one, "is": values[one]} for one in order]
        every = [value for values in lines.values() for value in values.values() if np.isfinite(value)]
        if every and min(every) > 0 and max(every) > 30 * min(every):
            axes.set_yscale("log")
        axes.set_title(f"{'abcd'[place]}  {name}")
        axes.set_xlabel("iteration")
        axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
    return figure, {"course": table}
