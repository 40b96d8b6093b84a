"""Where the errors of a judged split are: by speaker, by duration, by kind.

Bars are ratios of sums with the number of words they rest on, and 95 % intervals by bootstrap over utterances within the bar:
a speaker with 40 words and a rate of 20 % has told us little, and the figure shows it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter
from numpy.typing import NDArray

from auscult.metrics.bootstrap import bootstrap_ratio
from auscult.report.figure import COLOURS, INK, Row, new_figure, not_available
from auscult.report.panels import note_box, shorten
from auscult.report.train_record import Judged, Training

Floats = NDArray[np.float64]
KINDS = ("substitutions", "insertions", "deletions")
MOST_SPEAKERS = 24
REPLICATES = 1000
_COUNTS = (*KINDS, "words", "duration")


def draw(training: Training, judged: Judged) -> tuple[Figure, dict[str, list[Row]]]:
    """Return the figure of one split and the rows behind its panels."""
    figure = new_figure(f"Errors on {judged.split}", f"{training.subtitle}  ·  {_protocol(judged)}", 7.8)
    if not judged.items or any(key not in judged.items[0] for key in _COUNTS):
        not_available(figure.subplots(), "the items of this split carry no word counts and durations")
        return figure, {"by_speaker": []}
    axes = figure.subplots(2, 2)
    items = judged.items
    tables = {
        "by_speaker": _draw_speakers(axes[0, 0], items),
        "by_duration": _draw_durations(axes[0, 1], items),
        "by_kind": _draw_kinds(axes[1, 0], items),
        "by_utterance": _draw_utterances(axes[1, 1], items),
    }
    return figure, tables


def _protocol(judged: Judged) -> str:
    decoder = judged.summary.get("protocol", {}).get("decoder", "decoder not stated")
    return f"{len(judged.items):,} utterances, {decoder}"


def errors_of(item: Mapping[str, Any]) -> int:
    """Return the word errors of an item."""
    return sum(int(item[kind]) for kind in KINDS)


def _rate(name: str, items: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    errors, words = [errors_of(item) for item in items], [int(item["words"]) for item in items]
    total = sum(words)
    low = high = float("nan")
    if sum(errors) and len(items) > 1:  # without an error there is nothing to resample, and [0, 0] would look certain
        low, high = bootstrap_ratio(errors, words, replicates=REPLICATES)
    return {
        "group": name,
        "utterances": len(items),
        "words": total,
        "errors": sum(errors),
        "wer": sum(errors) / total if total else float("nan"),
        "low": low,
        "high": high,
    }


def _whiskers(rows: Sequence[Mapping[str, Any]]) -> Floats:
    below = [row["wer"] - row["low"] if np.isfinite(row["low"]) else 0.0 for row in rows]
    above = [row["high"] - row["wer"] if np.isfinite(row["high"]) else 0.0 for row in rows]
    return np.maximum(np.array([below, above], dtype=np.float64), 0.0)


def _draw_speakers(axes: Axes, items: Sequence[Mapping[str, Any]]) -> list[Row]:
    groups: dict[str, list[Mapping[str, Any]]] = {}
    for item in items:
        groups.setdefault(str(item.get("speaker", "unknown")), []).append(item)
    rows = sorted(
        (_rate(name, group) for name, group in groups.items()), key=lambda row: (-np.nan_to_num(row["wer"], nan=-1.0), row["group"])
    )
    shown = rows[:MOST_SPEAKERS]
    rest = f", worst {len(shown)} of {len(rows)}" if len(shown) < len(rows) else ""
    axes.set_title(f"a  By speaker{rest} (words)")
    positions = np.arange(len(shown))
    rates = [row["wer"] for row in shown]
    axes.barh(
        positions, rates, xerr=_whiskers(shown), color=COLOURS[0], alpha=0.85, height=0.7, error_kw={"elinewidth": 1.0, "ecolor": INK}
    )
    size = 8.5 if len(shown) <= 12 else 7
    axes.set_yticks(positions, [f"{shorten(row['group'], 16)} ({row['words']:,})" for row in shown], fontsize=size)
    axes.set_ylim(len(shown) - 0.4, -0.6)
    axes.grid(axis="y", visible=False)
    axes.xaxis.set_major_formatter(PercentFormatter(1.0))
    axes.set_xlabel("WER, 95 % interval over utterances")
    return list(rows)


def _draw_durations(axes: Axes, items: Sequence[Mapping[str, Any]]) -> list[Row]:
    axes.set_title("b  By duration (words)")
    seconds = np.array([float(item["duration"]) for item in items])
    edges = np.unique(np.quantile(seconds, np.linspace(0.0, 1.0, min(6, max(2, len(items) // 10 + 2)))))
    place = np.clip(np.searchsorted(edges, seconds, side="right") - 1, 0, max(len(edges) - 2, 0))
    rows = []
    for number in range(max(len(edges) - 1, 1)):
        name = f"{edges[number]:.1f} to {edges[min(number + 1, len(edges) - 1)]:.1f}"
        rows.append(_rate(name, [item for item, at in zip(items, place, strict=True) if at == number]))
    positions = np.arange(len(rows))
    axes.bar(
        positions,
        [row["wer"] for row in rows],
        yerr=_whiskers(rows),
        color=COLOURS[2],
        alpha=0.85,
        width=0.7,
        error_kw={"elinewidth": 1.0, "ecolor": INK},
    )
    axes.set_xticks(positions, [f"{row['group']}\n({row['words']:,})" for row in rows])
    axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    axes.set(xlabel="seconds, equally many utterances in each", ylabel="WER")
    axes.grid(axis="x", visible=False)
    return list(rows)


def _draw_kinds(axes: Axes, items: Sequence[Mapping[str, Any]]) -> list[Row]:
    axes.set_title("c  By kind of error")
    words = sum(int(item["words"]) for item in items)
    counts = [sum(int(item[kind]) for item in items) for kind in KINDS]
    axes.barh(range(3), counts, color=[COLOURS[0], COLOURS[4], COLOURS[3]], height=0.6)
    for position, count in enumerate(counts):
        share = f" ({count / words:.2%} of {words:,} words)" if words else ""
        axes.annotate(f"{count:,}{share}", (count, position), (5, 0), textcoords="offset points", va="center", fontsize=8.5)
    axes.set_yticks(range(3), KINDS)
    axes.set_ylim(2.6, -0.6)
    axes.set_xlim(0, max(1.0, max(counts) * 1.75))
    axes.set_xlabel("words")
    axes.grid(axis="y", visible=False)
    return [{"kind": kind, "count": count, "words": words} for kind, count in zip(KINDS, counts, strict=True)]


def _draw_utterances(axes: Axes, items: Sequence[Mapping[str, Any]]) -> list[Row]:
    axes.set_title("d  Errors per utterance")
    counts = np.bincount([errors_of(item) for item in items])
    axes.bar(np.arange(len(counts)), counts, color=COLOURS[0], alpha=0.85, width=0.8)
    failed = sum(bool(item.get("failed")) for item in items)
    text = f"{counts[0]:,} of {len(items):,} without error" + (f"\n{failed:,} could not be judged" if failed else "")
    axes.text(0.97, 0.95, text, transform=axes.transAxes, ha="right", va="top", fontsize=8.5, bbox=note_box())
    axes.set(xlabel="word errors", ylabel="utterances")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=10))
    axes.grid(axis="x", visible=False)
    return [{"word_errors": number, "utterances": int(count)} for number, count in enumerate(counts)]
