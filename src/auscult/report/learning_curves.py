"""The course of a training run: loss, gradient norm, learning rate, and validation error with the checkpoint that was kept.

Updates that the sentinel refused are marked where they happened: a curve that is smooth only because bad steps left no trace
would hide the most important thing in it. The best checkpoint was chosen on the curve it is marked on, and the figure says so.
"""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter
from numpy.typing import NDArray

from auscult.report.figure import COLOURS, INK, WARNING, Row, new_figure, not_available
from auscult.report.train_record import Training

Floats = NDArray[np.float64]
RATES = ("wer", "cer")
MOST_POINTS = 4000


def draw(training: Training) -> tuple[Figure, dict[str, list[Row]]]:
    """Return the figure and the rows behind its panels."""
    figure = new_figure("Learning curves", training.subtitle, 7.6)
    axes = figure.subplots(2, 2)
    tables = {
        "loss": _draw_steps(axes[0, 0], training, "loss", "a  Training loss", "loss per item"),
        "gradient_norm": _draw_steps(axes[0, 1], training, "gradient_norm", "b  Gradient norm", "L2 norm before clipping"),
        "lr": _draw_steps(axes[1, 0], training, "lr", "c  Learning rate", "learning rate", smooth=False),
        "validation": _draw_validation(axes[1, 1], training),
    }
    return figure, tables


def running_median(values: Floats, reach: int) -> Floats:
    """Return the median of the finite values within `reach` places, (n,); fewer near the ends.

    >>> running_median(np.array([1.0, 9.0, 2.0]), 1).tolist()
    [5.0, 2.0, 5.5]
    """
    padded = np.pad(values, reach, constant_values=np.nan)
    windows = np.lib.stride_tricks.sliding_window_view(padded, 2 * reach + 1)
    middle: Floats = np.nanmedian(np.where(np.isfinite(windows), windows, np.nan), axis=1)
    return middle


def _draw_steps(axes: Axes, training: Training, key: str, title: str, label: str, smooth: bool = True) -> list[Row]:
    axes.set_title(title)
    updates, values = training.steps["update"], training.steps[key]
    known = np.isfinite(values)
    if not known.any():
        not_available(axes, "not in the log")
        return []
    stride = max(1, len(values) // MOST_POINTS)
    updates, values = updates[known][::stride], values[known][::stride]
    if smooth:
        reach = max(1, len(values) // 60)
        middle = running_median(values, reach)
        axes.plot(
            updates,
            values,
            color=COLOURS[5],
            linewidth=0.7,
            alpha=0.6,
            label="each logged update" if stride == 1 else f"every {stride}th logged update",
            rasterized=len(values) > 1000,
        )
        axes.plot(updates, middle, color=COLOURS[0], label=f"running median, ± {reach * stride} logged")
        if values.min() > 0:
            axes.set_yscale("log")
    else:
        middle = values
        axes.plot(updates, values, color=COLOURS[0])
        axes.set_ylim(bottom=0.0)
    _mark_events(axes, training)
    _axis(axes, label)
    if axes.get_legend_handles_labels()[1]:
        axes.legend(loc="upper right")
    return [{"update": int(u), key: v, "running_median": m} for u, v, m in zip(updates, values, middle, strict=True)]


def _mark_events(axes: Axes, training: Training) -> None:
    refused = [event["update"] for event in training.refused]
    if refused:
        axes.plot(
            refused,
            np.full(len(refused), 0.03),
            "X",
            color=WARNING,
            markersize=7,
            transform=axes.get_xaxis_transform(),
            label=f"{len(refused)} refused",
            clip_on=False,
        )
    for position, update in enumerate(training.resumed[:20]):
        axes.axvline(update, color=INK, linewidth=0.8, linestyle=(0, (2, 3)), label="resumed" if position == 0 else None)


def _axis(axes: Axes, label: str) -> None:
    axes.set(xlabel="update", ylabel=label)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))


def _draw_validation(axes: Axes, training: Training) -> list[Row]:
    axes.set_title("d  Validation error")
    rows: list[Row] = []
    drawn = 0
    for position, name in enumerate(RATES):
        updates, values = training.metric(name)
        if not len(updates):
            continue
        drawn += 1
        at_best = values[updates == training.best_update]
        label = f"{name.upper()}, {at_best[0]:.1%} at ★" if at_best.size else name.upper()
        axes.plot(updates, values, "o-", markersize=3.5, color=COLOURS[position], label=label)
        if at_best.size:
            axes.plot(training.best_update, at_best[0], "*", markersize=14, color=COLOURS[position], markeredgecolor=INK, zorder=5)
        rows += [
            {"update": int(u), "metric": name, "value": v, "best_checkpoint": u == training.best_update}
            for u, v in zip(updates, values, strict=True)
        ]
    if not drawn:
        not_available(axes, "not run: no validation in this run")
        return rows
    axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    axes.set_ylim(bottom=0.0)
    _axis(axes, "error rate")
    axes.legend(
        loc="upper right", title_fontsize=8.5, title="★ kept, chosen on this very curve" if np.isfinite(training.best_update) else None
    )
    return rows
