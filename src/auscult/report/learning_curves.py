"""The course of a training run: loss, gradient norm, learning rate, what was logged beside the loss, and validation.

Updates that the sentinel refused are marked where they happened: a curve that is smooth only because bad steps left no trace
would hide the most important thing in it. The best checkpoint was chosen on the curve it is marked on, and the figure says so. A metric
of validation comes with that of the answer that needs no training, where the log has one, as a thin line of the same colour. What
a loss logs beside its value keeps its name: "accuracy" is over all training speakers, "batch_accuracy" within the batch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter
from numpy.typing import NDArray

from auscult.report.figure import COLOURS, GOOD, INK, WARNING, Row, new_figure, not_available
from auscult.report.train_record import Training

Floats = NDArray[np.float64]
RATES = {
    "wer": None,
    "cer": None,
    "eer": "eer_untrained",
    "frame_error": "majority_frame_error",
    "local_der_full": "one_speaker_local_der",
    "error_rate": None,
}
"""Error rates of validation, each with the metric of the answer that needs no training."""
LEVELS = {"si_sdri": None, "si_sdr": "input_si_sdr"}
"""Levels of validation in dB, each with that of the unprocessed mixture; an improvement has 0 for it."""
COSTS = ("min_dcf_p01", "min_dcf_p05", "min_cllr")
"""Costs of validation: 1 is what an answer without listening costs."""
MOST_POINTS = 4000


def draw(training: Training) -> tuple[Figure, dict[str, list[Row]]]:
    """Return the figure and the rows behind its panels."""
    panels = _panels(training)
    rows = -(-len(panels) // 2)
    figure = new_figure("Learning curves", training.subtitle, 0.8 + 3.4 * rows)
    grid = figure.add_gridspec(rows, 2)
    tables = {}
    for place, (key, title, drawn) in enumerate(panels):
        axes = figure.add_subplot(grid[place // 2, place % 2])
        axes.set_title(f"{'abcdefghij'[place]}  {title}")
        tables[key] = drawn(axes, training)
    return figure, tables


def _panels(training: Training) -> list[tuple[str, str, Callable[[Axes, Training], list[Row]]]]:
    """Return the panels that this run has something to show in: key, title, and what draws it."""
    levels = any(len(training.metric(name)[0]) for name in LEVELS)
    panels: list[tuple[str, str, Callable[[Axes, Training], list[Row]]]] = [
        ("loss", "Training loss", lambda axes, run: _draw_steps(axes, run, "loss", "loss per item")),
        ("gradient_norm", "Gradient norm", lambda axes, run: _draw_steps(axes, run, "gradient_norm", "L2 norm before clipping")),
        ("lr", "Learning rate", lambda axes, run: _draw_steps(axes, run, "lr", "learning rate", smooth=False)),
        ("validation", "Validation level", _draw_levels) if levels else ("validation", "Validation error", _draw_validation),
    ]
    shares = [name for name in training.terms if name.endswith("accuracy")][:3]
    others = [name for name in training.terms if name not in shares][:5]
    if shares:
        panels.append(("terms", "Right answers on training batches", lambda axes, run: _draw_terms(axes, run, shares, share=True)))
    if any(len(training.metric(name)[0]) for name in COSTS):
        panels.append(("costs", "Validation costs", _draw_costs))
    if others:
        panels.append(("parts", "Logged beside the loss", lambda axes, run: _draw_terms(axes, run, others, share=False)))
    return panels


def running_median(values: Floats, reach: int) -> Floats:
    """Return the median of the finite values within `reach` places, (n,); fewer near the ends.

    >>> running_median(np.array([1.0, 9.0, 2.0]), 1).tolist()
    [5.0, 2.0, 5.5]
    """
    padded = np.pad(values, reach, constant_values=np.nan)
    windows = np.lib.stride_tricks.sliding_window_view(padded, 2 * reach + 1)
    middle: Floats = np.nanmedian(np.where(np.isfinite(windows), windows, np.nan), axis=1)
    return middle


def _draw_steps(axes: Axes, training: Training, key: str, label: str, smooth: bool = True) -> list[Row]:
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
    if key == "loss":
        _mark_theory(axes, training)
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


def _mark_theory(axes: Axes, training: Training) -> None:
    """Mark what theory says the first loss is."""
    event = training.initial_loss
    if not event:
        return
    holds = bool(event.get("holds", True))
    label = f"theory at the start: {float(event['expected']):.3f}" + ("" if holds else f", NOT the {float(event['loss']):.3f} found")
    axes.plot(event.get("update", 1), event["expected"], marker=">", markersize=8, color=GOOD if holds else WARNING,
              markeredgecolor=INK, linestyle="none", label=label, zorder=5)  # fmt: skip


def _draw_terms(axes: Axes, training: Training, names: Sequence[str], share: bool) -> list[Row]:
    updates = training.steps["update"]
    rows: list[Row] = []
    for position, name in enumerate(names):
        values = training.steps[name]
        known = np.isfinite(values)
        stride = max(1, int(known.sum()) // MOST_POINTS)
        x, y = updates[known][::stride], values[known][::stride]
        axes.plot(x, y, color=COLOURS[position], linewidth=0.6, alpha=0.45)
        axes.plot(x, running_median(y, max(1, len(y) // 60)), color=COLOURS[position], label=name)
        rows += [{"update": int(u), "name": name, "value": v} for u, v in zip(x, y, strict=True)]
    if share:
        axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
        axes.set_ylim(-0.02, 1.02)
    _axis(axes, "share of items, as logged" if share else "as logged")
    axes.legend(loc="best")
    return rows


def _draw_costs(axes: Axes, training: Training) -> list[Row]:
    rows: list[Row] = []
    for position, name in enumerate(COSTS):
        rows += _draw_metric(axes, training, name, COLOURS[position], ".3f")
    _axis(axes, "normalised cost; Cllr in bits")
    axes.set_ylim(0.0, 1.12 * axes.dataLim.y1)
    axes.legend(loc="best")
    return rows


def _draw_metric(axes: Axes, training: Training, name: str, colour: str, pattern: str, without: str | None = None) -> list[Row]:
    """Draw a metric of validation, a star at the kept checkpoint, and thinly the same without training."""
    updates, values = training.metric(name)
    if not len(updates):
        return []
    at_best = values[updates == training.best_update]
    said = _words(name) + (f", {at_best[0]:{pattern}} at ★" if at_best.size else "")
    axes.plot(updates, values, "o-", markersize=3.5, color=colour, label=said)
    if at_best.size:
        axes.plot(training.best_update, at_best[0], "*", markersize=14, color=colour, markeredgecolor=INK, zorder=5)
    if without is not None and len(training.metric(without)[0]):
        places, worth = training.metric(without)
        axes.plot(places, worth, color=colour, linewidth=1.0, linestyle=(0, (4, 2)), label=_words(without))
    return [
        {"update": int(u), "metric": name, "value": v, "best_checkpoint": u == training.best_update}
        for u, v in zip(updates, values, strict=True)
    ]


def _words(name: str) -> str:
    """Return a metric's name as it is written in a legend.

    >>> _words("eer_untrained"), _words("min_dcf_p01")
    ('EER untrained', 'min DCF .01')
    """
    written = {"wer": "WER", "cer": "CER", "eer": "EER", "dcf": "DCF", "cllr": "Cllr", "p01": ".01", "p05": ".05", "der": "error rate"}
    levels = {"si_sdri": "SI-SDRi", "si_sdr": "SI-SDR", "input_si_sdr": "SI-SDR of the mixture"}
    return levels.get(name) or " ".join(written.get(part, part) for part in name.split("_") if part != "full")


def _axis(axes: Axes, label: str) -> None:
    axes.set(xlabel="update", ylabel=label)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))


def _draw_levels(axes: Axes, training: Training) -> list[Row]:
    rows: list[Row] = []
    for position, (name, without) in enumerate(LEVELS.items()):
        rows += _draw_metric(axes, training, name, COLOURS[position], ".2f", without)
    axes.axhline(0.0, color=INK, linewidth=0.8)
    _axis(axes, "dB")
    _name_curves(axes, training, "lower right")
    return rows


def _draw_validation(axes: Axes, training: Training) -> list[Row]:
    rows: list[Row] = []
    names = [name for name in RATES if len(training.metric(name)[0])]
    for position, name in enumerate(names):
        rows += _draw_metric(axes, training, name, COLOURS[position], ".1%", RATES[name])
    if rows:
        axes.yaxis.set_major_formatter(PercentFormatter(1.0))
        axes.set_ylim(0.0, 1.12 * axes.dataLim.y1)
        _axis(axes, "error rate")
    else:
        first = next((name for event in training.evaluations for name in event.get("metrics", {})), None)
        if first is None:
            not_available(axes, "not run: no validation in this run")
            return rows
        rows = _draw_metric(axes, training, first, COLOURS[0], ".4g")  # a task's first metric is as good a guess as any
        _axis(axes, first.replace("_", " "))
    _name_curves(axes, training)
    return rows


def _name_curves(axes: Axes, training: Training, place: Literal["best", "lower right"] = "best") -> None:
    kept = "★ kept, chosen on this run's validation" if np.isfinite(training.best_update) else None
    axes.legend(loc=place, title_fontsize=8.5, title=kept, alignment="left")
