"""The figure of judged windows: frame errors beside answers that need no audio, where the errors are, and which classes are mixed up.

Everything here is local: speakers are matched anew in every window, so no panel shows the error rate of a recording, and the words
"diarization error" do not occur. True classes count a window's speakers from the most to the least active one; found classes bear
the names that suit them best.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter
from numpy.typing import NDArray

from auscult.report.figure import COLOURS, FAINT, INK, Row, new_figure, not_available
from auscult.report.panels import alarm_row, note_box, shorten
from auscult.report.train_record import Judged, Training

PARTS = ("missed", "false_alarm", "confusion")
LINES = {
    "frame_error": ("majority_frame_error", "same class always"),
    "local_der_full": ("one_speaker_local_der", "one speaker always"),
    "speech_error": ("", ""),
}
"""Metrics of windows, each with that of the answer that needs no audio and what this answer is."""
MOST_RECORDINGS = 12
_AGAIN = "the records do not say; judge the split again"


def draw(training: Training, judged: Judged) -> tuple[Figure, dict[str, list[Row]]]:
    """Return the figure of one split and the rows behind its panels."""
    frames = sum(int(item["frames"]) for item in judged.items)
    recordings = len({item.get("recording") for item in judged.items})
    count = f"{len(judged.items):,} windows of {recordings:,} recordings, {frames:,} frames"
    figure = new_figure(f"Windows of {judged.split}", f"{training.subtitle}  ·  {count}", 11.2)
    axes = [figure.add_subplot(cell) for cell in alarm_row(figure, judged.alarms, 3, [0.85, 1.0, 1.0])]
    labels = list(training.run.labels or ())
    return figure, {
        "rates": _draw_rates(axes[0], judged),
        "by_speakers": _draw_by_speakers(axes[1], judged.items),
        "class_shares": _draw_classes(axes[2], judged.items, labels),
        "class_confusion": _draw_confusion(axes[3], judged.items, labels),
        "by_recording": _draw_recordings(axes[4], judged.items),
        "by_window": _draw_windows(axes[5], judged.items),
    }


def local_rate(items: Sequence[Mapping[str, Any]], parts: Sequence[str] = PARTS) -> float:
    """Return errors per reference speaker frame, a ratio of sums; nan where nobody speaks."""
    speech = sum(int(item["speech"]) for item in items)
    return sum(int(item[part]) for item in items for part in parts) / speech if speech else float("nan")


def frame_rate(items: Sequence[Mapping[str, Any]]) -> float:
    """Return the share of frames with a wrong class."""
    return sum(int(item["frame_errors"]) for item in items) / max(sum(int(item["frames"]) for item in items), 1)


def by_speakers(items: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return windows, local errors and frame error by the number of speakers in the window; empty where the records have none."""
    groups: dict[int, list[Mapping[str, Any]]] = {}
    for item in items:
        if "speakers" in item:
            groups.setdefault(int(item["speakers"]), []).append(item)
    return [
        {
            "speakers": number, "windows": len(own), "speech_frames": sum(int(item["speech"]) for item in own),
            **{part: local_rate(own, [part]) for part in PARTS}, "frame_error": frame_rate(own),
        }
        for number, own in sorted(groups.items())
    ]  # fmt: skip


def class_table(items: Sequence[Mapping[str, Any]], classes: int) -> NDArray[np.int64] | None:
    """Return frames by true and found class, (classes, classes); None where the records have none of this size."""
    tables = [item["classes"] for item in items if len(item.get("classes", ())) == classes]
    return np.sum(np.array(tables, dtype=np.int64), axis=0) if tables and classes else None


def _draw_rates(axes: Axes, judged: Judged) -> list[Row]:
    axes.set_title("a  The model, and answers that need no audio")
    metrics, intervals = judged.summary.get("metrics", {}), judged.summary.get("intervals", {})
    rows: list[Row] = []
    names = [name for name in LINES if name in metrics]
    for place, name in enumerate(names):
        line, answer = LINES[name]
        low, high = intervals.get(name, (float("nan"),) * 2)
        value = float(metrics[name])
        rows.append({"metric": name, "value": value, "low": low, "high": high, "without_audio": metrics.get(line), "answer": answer})
        reach = np.nan_to_num(np.array([[value - low], [high - value]]))
        shift = 0.2 if line in metrics else 0.0
        axes.barh(place - shift, value, xerr=np.maximum(reach, 0), height=0.36, color=COLOURS[0], alpha=0.85,
                  error_kw={"elinewidth": 1.0, "ecolor": INK})  # fmt: skip
        axes.annotate(f"{value:.1%}", (max(value, high if high == high else 0), place - shift), (5, 0), textcoords="offset points",
                      va="center", fontsize=8.5)  # fmt: skip
        if line in metrics:
            worth = float(metrics[line])
            axes.barh(place + 0.2, worth, height=0.36, color=FAINT)
            axes.annotate(f"{worth:.1%}  {answer}", (worth, place + 0.2), (5, 0), textcoords="offset points", va="center", fontsize=8.5)
    if not rows:
        not_available(axes, "no metrics in the summary of this split")
        return rows
    axes.set_yticks(range(len(names)), [name.replace("_", " ").replace("der full", "error rate") for name in names])
    axes.set_ylim(len(names) - 0.5, -0.6)
    axes.set_xlim(0, 1.75 * max(axes.dataLim.x1, 1e-3))
    axes.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    axes.set_xlabel("blue: the model, 95 % interval; grey: without listening")
    axes.grid(axis="y", visible=False)
    return rows


def _draw_by_speakers(axes: Axes, items: Sequence[Mapping[str, Any]]) -> list[Row]:
    axes.set_title("b  Local errors by speakers in the window")
    rows = by_speakers(items)
    if not rows:
        not_available(axes, _AGAIN)
        return []
    positions, base = np.arange(len(rows)), np.zeros(len(rows))
    for part, colour, hatch in zip(PARTS, (COLOURS[0], COLOURS[4], COLOURS[3]), ("", "///", "..."), strict=True):
        values = np.nan_to_num(np.array([row[part] for row in rows]))
        axes.bar(positions, values, bottom=base, width=0.62, color=colour, alpha=0.85, hatch=hatch, edgecolor="white", linewidth=0,
                 label=part.replace("_", " "))  # fmt: skip
        base += values
    for place, (row, top) in enumerate(zip(rows, base, strict=True)):
        text = f"{top:.1%}" if row["speech_frames"] else f"nobody speaks;\n{row['frame_error']:.1%}\nof frames wrong"
        size = 8.5 if row["speech_frames"] else 7
        axes.annotate(text, (place, top), (0, 3), textcoords="offset points", ha="center", va="bottom", fontsize=size)
    axes.set_xticks(positions, [f"{row['speakers']}\n({row['windows']:,})" for row in rows])
    axes.set(xlabel="speakers (windows)", ylabel="of reference speaker time")
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    axes.set_ylim(0, max(1.5 * base.max(), 0.01))
    axes.set_xlim(-0.6, len(rows) - 0.4)
    axes.grid(axis="x", visible=False)
    axes.legend(loc="upper left", ncols=3)
    return list(rows)


def _draw_classes(axes: Axes, items: Sequence[Mapping[str, Any]], labels: Sequence[str]) -> list[Row]:
    axes.set_title("c  Frames of each class, true and found")
    table = class_table(items, len(labels))
    if table is None:
        not_available(axes, _AGAIN)
        return []
    positions = np.arange(len(labels))
    true, found = table.sum(axis=1) / table.sum(), table.sum(axis=0) / table.sum()
    for shares, shift, colour, name in ((true, -0.2, FAINT, "true"), (found, 0.2, COLOURS[0], "found")):
        axes.bar(positions + shift, shares, width=0.38, color=colour, alpha=0.9, label=name)
        for place, share in zip(positions, shares, strict=True):
            axes.annotate(f"{100 * share:.1f}", (place + shift, share), (0, 2), textcoords="offset points", ha="center", fontsize=7)
    axes.set_xticks(positions, labels, fontsize=8.5 if len(labels) <= 8 else 6.5)
    axes.set(xlabel="who speaks; 1 is the window's most active speaker", ylabel="share of frames")
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    axes.set_ylim(0, 1.2 * max(true.max(), found.max()))
    axes.grid(axis="x", visible=False)
    axes.legend(loc="upper right")
    return [{"class": label, "true": int(a), "found": int(b)} for label, a, b in zip(labels, table.sum(1), table.sum(0), strict=True)]


def _draw_confusion(axes: Axes, items: Sequence[Mapping[str, Any]], labels: Sequence[str]) -> list[Row]:
    axes.set_title("d  What each true class became, % of its frames")
    table = class_table(items, len(labels))
    if table is None:
        not_available(axes, _AGAIN)
        return []
    shares = 100.0 * table / np.maximum(table.sum(axis=1, keepdims=True), 1)
    axes.imshow(shares, cmap="Blues", vmin=0.0, vmax=100.0, aspect="auto", interpolation="nearest")
    if len(labels) <= 11:
        for row, column in np.argwhere(shares >= 0.5).tolist():
            axes.text(column, row, f"{shares[row, column]:.0f}", ha="center", va="center", fontsize=8,
                      color="white" if shares[row, column] > 55 else INK)  # fmt: skip
    size = 8.5 if len(labels) <= 8 else 6.5
    axes.set_xticks(range(len(labels)), labels, fontsize=size)
    axes.set_yticks(range(len(labels)), labels, fontsize=size)
    axes.set(xlabel="found", ylabel="true")
    axes.grid(False)
    return [
        {"true": labels[row], "found": labels[column], "frames": int(table[row, column])}
        for row in range(len(labels))
        for column in range(len(labels))
    ]


def _draw_recordings(axes: Axes, items: Sequence[Mapping[str, Any]]) -> list[Row]:
    groups: dict[str, list[Mapping[str, Any]]] = {}
    for item in items:
        groups.setdefault(str(item.get("recording", item["id"])), []).append(item)
    rows: list[dict[str, Any]] = sorted(
        ({"recording": name, "windows": len(own), "frame_error": frame_rate(own), **{part: local_rate(own, [part]) for part in PARTS}}
         for name, own in groups.items()),
        key=lambda row: (-row["frame_error"], row["recording"]),
    )  # fmt: skip
    shown = rows[:MOST_RECORDINGS]
    rest = f", worst {len(shown)} of {len(rows)}" if len(shown) < len(rows) else ""
    axes.set_title(f"e  Frame error by recording{rest}")
    positions = np.arange(len(shown))
    axes.barh(positions, [row["frame_error"] for row in shown], height=0.7, color=COLOURS[0], alpha=0.85)
    axes.axvline(frame_rate(items), color=INK, linewidth=1.2, linestyle=(0, (4, 2)), label=f"all: {frame_rate(items):.1%}")
    axes.set_yticks(positions, [f"{shorten(row['recording'], 22)} ({row['windows']})" for row in shown], fontsize=7.5)
    axes.set_ylim(len(shown) - 0.4, -0.6)
    axes.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    axes.set_xlabel("share of frames with a wrong class")
    axes.grid(axis="y", visible=False)
    axes.legend(loc="lower right")
    return list(rows)


def _draw_windows(axes: Axes, items: Sequence[Mapping[str, Any]]) -> list[Row]:
    axes.set_title("f  Frame error per window")
    rates = np.array([int(item["frame_errors"]) / max(int(item["frames"]), 1) for item in items])
    counts, edges = np.histogram(rates, np.linspace(0.0, 1.0, 26))
    axes.stairs(counts, edges, fill=True, color=COLOURS[0], alpha=0.75)
    exact = int((rates == 0).sum())
    text = f"{exact:,} of {len(rates):,} without a wrong frame\nmedian {np.median(rates):.1%}"
    axes.text(0.98, 0.95, text, transform=axes.transAxes, ha="right", va="top", fontsize=8.5, bbox=note_box())
    axes.set(xlabel="share of frames with a wrong class", ylabel="windows")
    axes.set_ylim(0, 1.25 * counts.max())
    axes.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    axes.grid(axis="x", visible=False)
    return [{"from": a, "to": b, "windows": int(n)} for a, b, n in zip(edges[:-1], edges[1:], counts, strict=True)]
