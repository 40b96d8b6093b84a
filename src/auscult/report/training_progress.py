"""Figure 1 of a check: how each utterance was learned, update by update.

R0's figure called a loss of 0.0012 converged at 0.001 and counted logged points as iterations. Here a marker stands at the
very update that ended the utterance, with its own loss and reason, logged points are called logged points, and the numbers of
an earlier log, where the recipe states some, appear as what they are: another log.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from numpy.typing import NDArray

from auscult.report.check_record import Check, Overfit
from auscult.report.check_words import Words, words_of
from auscult.report.figure import INK, SMOKE, WARNING, Row, new_figure, not_available
from auscult.report.panels import CROWD, Line, draw_distribution, draw_lines, line_style, log_scale, note_box, rank_correlation

Floats = NDArray[np.float64]

BAND_POINTS = 11
"""Logged updates that the gradient band looks at, the one it stands at among them."""
BAND_WIDTH = 3.0
"""Half width of the gradient band in median absolute deviations, scaled by 1.4826 to a standard deviation."""


def draw(check: Check) -> tuple[Figure, dict[str, list[Row]]]:
    """Return the figure and the rows behind its panels."""
    figure = new_figure("Training progress", check.subtitle, 9.4, tag=SMOKE)
    axes = figure.subplots(3, 2)
    words = words_of(check)
    tables = {
        "loss": _draw_loss(axes[0, 0], check, words),
        "gradient_norm": _draw_gradient(axes[0, 1], check.utterances),
    }
    for place in range(2):
        panel, letter = axes[1, place], "cd"[place]
        if place < len(words.curves):
            measure = words.curves[place]
            title = f"{letter}  {measure.short[0].upper()}{measure.short[1:]}"
            tables[measure.key] = _draw_measure(panel, check.utterances, measure.key, title, measure.label)
        else:
            panel.set_title(f"{letter}  Measures of the output")
            not_available(panel, "the task logs none" if place == 0 else "the task logs no second one")
    tables["correlation"] = _draw_correlation(axes[2, 0], check, words)
    tables["efficiency"] = _draw_efficiency(axes[2, 1], check)
    return figure, tables


def _lines(utterances: Sequence[Overfit], key: str) -> list[Line]:
    return [Line(utterance.label, utterance.steps["update"], utterance.steps[key]) for utterance in utterances]


def _draw_loss(axes: Axes, check: Check, words: Words) -> list[Row]:
    axes.set_title(f"a  Loss per {words.per}")
    utterances, lines = check.utterances, _lines(check.utterances, "loss")
    thresholds = {utterance.number_of("threshold") for utterance in utterances}
    if not check.signed:
        lines = [Line(line.label, line.x, np.where(line.y > 0, line.y, np.nan)) for line in lines]
    rows = draw_lines(axes, lines, "loss")
    if not check.signed:
        log_scale(axes, "y", *(line.y for line in lines), list(thresholds))
    for threshold in sorted(value for value in thresholds if np.isfinite(value)):
        axes.axhline(threshold, color=WARNING, linewidth=1.1, linestyle=(0, (4, 2)))
        axes.annotate(
            f"threshold {threshold:g}",
            (0.01, threshold),
            (0, -3),
            xycoords=("axes fraction", "data"),
            textcoords="offset points",
            va="top",
            fontsize=8.5,
            color="#9a3c00",
        )
    axes.margins(y=0.12)
    _mark_ends(axes, utterances if len(utterances) <= CROWD else ())
    axes.set_ylabel(words.loss_axis)
    baseline = any(np.isfinite(utterance.number_of("uniform_loss")) for utterance in utterances)
    start = f"bar at 0: {words.baseline}; " if baseline else ""
    axes.set_xlabel("update" if len(utterances) > CROWD else f"update   ({start}●: threshold reached; ✕: not reached)")
    axes.legend(handlelength=2.6, loc="upper right", title=None)
    return rows


def _mark_ends(axes: Axes, utterances: Sequence[Overfit]) -> None:
    """Mark what theory says of the start, and the very update that ended an utterance."""
    said: set[float] = set()
    for position, utterance in enumerate(utterances):
        colour = line_style(position)["color"]
        axes.plot(0, utterance.number_of("uniform_loss"), marker="_", markersize=11, markeredgewidth=2.2, color=colour, linestyle="none")
        if utterance.end:
            marker = "o" if utterance.reached else "X"
            axes.plot(utterance.result("update"), utterance.result("loss"), marker=marker, markersize=7, color=colour, markeredgecolor=INK)
            if (update := utterance.result("update")) not in said:
                axes.annotate(
                    f"{update:.0f}", (update, utterance.result("loss")), (0, 8), textcoords="offset points", ha="center", fontsize=8.5
                )
            said.add(update)


def _draw_gradient(axes: Axes, utterances: Sequence[Overfit]) -> list[Row]:
    axes.set_title("b  Gradient norm, with its stability band")
    rows = draw_lines(axes, _lines(utterances, "gradient_norm"), "gradient_norm")
    crowd = len(utterances) > CROWD
    bands: list[Row] = []
    outside = total = lost = 0
    for position, utterance in enumerate(utterances):
        updates, norms = utterance.steps["update"], utterance.steps["gradient_norm"]
        kept = np.isfinite(norms) & (norms > 0)
        low, high = (10**edge for edge in stability_band(updates[kept], np.log10(norms[kept])))
        left = (norms[kept] < low) | (norms[kept] > high)
        outside, total, lost = outside + int(left.sum()), total + int(kept.sum()), lost + int((~kept).sum())
        if not crowd:
            axes.fill_between(updates[kept], low, high, color=line_style(position)["color"], alpha=0.18, linewidth=0)
            axes.plot(
                updates[kept][left], norms[kept][left], "o", markersize=7, markerfacecolor="none", markeredgecolor=INK, markeredgewidth=0.9
            )
            bands += [
                {"utterance": utterance.label, "update": int(u), "gradient_norm": n, "low": a, "high": b, "outside": bool(o)}
                for u, n, a, b, o in zip(updates[kept], norms[kept], low, high, left, strict=True)
            ]
    log_scale(axes, "y", *(utterance.steps["gradient_norm"] for utterance in utterances))
    axes.set_ylabel("L2 norm of the gradient")
    remark = f"{outside:,} of {total:,} logged updates outside{'' if crowd else ' (circled)'}" + (
        f"\n{lost:,} not finite or 0" if lost else ""
    )
    axes.text(0.98, 0.95, remark, transform=axes.transAxes, ha="right", va="top", fontsize=8.5, bbox=note_box())
    axes.set_xlabel(f"update   (band: local line ± {BAND_WIDTH:g} MAD, log–log, {BAND_POINTS} logged)")
    return rows if crowd else bands


def stability_band(updates: Floats, values: Floats) -> tuple[Floats, Floats]:
    """Return the lower and upper edge around each logged update of one utterance: a robust local line ± `BAND_WIDTH` scaled deviations.

    The line is Theil and Sen's (median slope, median offset) through the `BAND_POINTS` logged updates around, values against
    log10(update): a norm that falls steadily is stable, however steeply. The deviation is the median absolute one from that line.

    Args:
        updates: (points,) increasing, at least 1.
        values: (points,) log10 of the gradient norm, finite.

    >>> low, high = stability_band(np.array([1.0, 2.0, 4.0, 8.0]), np.array([3.0, 2.0, 1.0, 0.0]))
    >>> low.round(6).tolist() == high.round(6).tolist() == [3.0, 2.0, 1.0, 0.0]
    True
    """
    size = min(BAND_POINTS, len(values))
    if size < 2:
        return values, values
    first = np.clip(np.arange(len(values)) - size // 2, 0, len(values) - size)
    window = first[:, None] + np.arange(size)  # (points, size)
    x, y = np.log10(updates)[window], values[window]
    one, other = np.triu_indices(size, 1)
    slope = np.median((y[:, other] - y[:, one]) / (x[:, other] - x[:, one]), axis=1)[:, None]
    offset = np.median(y - slope * x, axis=1)[:, None]
    spread = BAND_WIDTH * 1.4826 * np.median(np.abs(y - slope * x - offset), axis=1) + 1e-9
    middle = slope[:, 0] * np.log10(updates) + offset[:, 0]
    return middle - spread, middle + spread


def _draw_measure(axes: Axes, utterances: Sequence[Overfit], key: str, title: str, label: str) -> list[Row]:
    axes.set_title(title)
    lines = _lines(utterances, key)
    if not any(np.isfinite(line.y).any() for line in lines):
        not_available(axes, "not measured in this run")
        return []
    rows = draw_lines(axes, lines, key)
    axes.set(ylabel=label, xlabel="update")
    if min(float(np.nanmin(line.y)) for line in lines if np.isfinite(line.y).any()) >= 0.0:
        axes.set_ylim(bottom=0.0)
    else:  # a level in dB: 0 is a place on the axis, not its end
        axes.axhline(0.0, color=INK, linewidth=0.8)
    return rows


def _draw_correlation(axes: Axes, check: Check, words: Words) -> list[Row]:
    axes.set_title("e  Loss against gradient norm")
    axes.set(xlabel=words.loss_axis, ylabel="L2 norm of the gradient")
    utterances = check.utterances
    scale: Literal["linear", "log"] = "linear" if check.signed else "log"
    loss = np.concatenate([utterance.steps["loss"] for utterance in utterances])
    norm = np.concatenate([utterance.steps["gradient_norm"] for utterance in utterances])
    names = np.concatenate([np.full(len(utterance.steps["loss"]), number) for number, utterance in enumerate(utterances)])
    kept = np.isfinite(loss) & np.isfinite(norm) & (check.signed | (loss > 0)) & (norm > 0)
    if not kept.any():
        not_available(axes, "no losses and gradient norms in the log")
        return []
    within = [rank_correlation(utterance.steps["loss"], utterance.steps["gradient_norm"]) for utterance in utterances]
    text = f"Spearman r = {rank_correlation(loss[kept], norm[kept]):.2f} over {kept.sum():,} logged updates"
    if len(utterances) > CROWD:
        cells = axes.hexbin(
            loss[kept], norm[kept], xscale=scale, yscale="log", gridsize=38, cmap="Blues", norm=LogNorm(), linewidths=0, rasterized=True
        )
        axes.figure.colorbar(cells, ax=axes, label="logged updates", pad=0.01)
        text += f"\nwithin one {words.item}: median {np.nanmedian(within):.2f}" if np.isfinite(within).any() else ""
        rows: list[Row] = [
            {"utterance": u.label, "spearman_r": r, "updates": len(u.steps["loss"])} for u, r in zip(utterances, within, strict=True)
        ]
    else:
        for position in range(len(utterances)):
            chosen = kept & (names == position)
            axes.plot(loss[chosen], norm[chosen], "o", markersize=3.5, alpha=0.75, color=line_style(position)["color"], markeredgewidth=0)
        axes.set(xscale=scale, yscale="log")
        text += "".join(f"\n{words.item} {u.number}: {r:.2f}" for u, r in zip(utterances[:6], within, strict=False))
        rows = [{"utterance": utterances[int(n)].label, "loss": x, "gradient_norm": y} for n, x, y in zip(names, loss, norm, strict=True)]
    right, text = check.signed, f"{text}\n(consecutive updates depend on one another)"
    place: tuple[float, float, Any, Any] = (0.97, 0.05, "right", "bottom") if right else (0.03, 0.95, "left", "top")
    axes.text(*place[:2], text, transform=axes.transAxes, ha=place[2], va=place[3], fontsize=8.5, bbox=note_box())
    return rows


def _draw_efficiency(axes: Axes, check: Check) -> list[Row]:
    axes.set_title("f  Updates and seconds until it stopped")
    utterances = check.utterances
    updates = check.results("update")
    rows: list[Row] = [
        {
            "utterance": u.label,
            "updates": u.result("update"),
            "seconds": u.result("seconds"),
            "updates_per_second": u.updates_per_second,
            "stop_reason": u.stop_reason,
        }
        for u in utterances
    ]
    if len(utterances) > CROWD:
        draw_distribution(axes, [u.label for u in utterances], updates, "updates", noun=check.noun)
        rates = np.array([u.updates_per_second for u in utterances])
        if np.isfinite(rates).any():
            axes.set_xlabel(f"updates   (median {np.nanmedian(rates):.2f} updates/s; {np.nansum(check.results('seconds')):,.0f} s in all)")
        return rows
    _draw_bars(axes, utterances, updates, check.noun)
    earlier = check.earlier_updates
    if earlier:
        style: dict[str, Any] = {
            "linestyle": "none",
            "marker": "D",
            "markersize": 7,
            "markerfacecolor": "white",
            "markeredgecolor": INK,
            "zorder": 5,
        }
        axes.plot(
            earlier, range(len(earlier)), label=f"earlier log: {', '.join(map(str, earlier))}\n(its own utterances and stop rule)", **style
        )
        axes.set_ylim(len(utterances) + 0.1, -0.7)
        axes.set_xlim(0, max(axes.get_xlim()[1], 1.08 * max(earlier)))
        axes.legend(loc="lower right")
    return rows


def _draw_bars(axes: Axes, utterances: Sequence[Overfit], updates: Floats, noun: str) -> None:
    colours = [line_style(position)["color"] for position in range(len(utterances))]
    axes.barh(range(len(utterances)), np.nan_to_num(updates), height=0.4, color=colours)
    for position, utterance in enumerate(utterances):
        rate = f"{utterance.result('seconds'):.3g} s, {utterance.updates_per_second:.2f}/s"
        text = f"{updates[position]:.0f} updates, {rate}, {utterance.stop_reason}" if utterance.end else "not finished"
        axes.annotate(text, (0, position - 0.2), (5, 2), textcoords="offset points", va="bottom", fontsize=8.5)
    axes.set_ylim(len(utterances) - 0.5, -0.7)
    axes.set_yticks(range(len(utterances)), [str(utterance.number) for utterance in utterances])
    axes.set(xlabel="updates", ylabel=noun)
    axes.grid(axis="y", visible=False)
    axes.set_xlim(0, max(100.0, float(np.nan_to_num(updates).max()) * 1.12))
