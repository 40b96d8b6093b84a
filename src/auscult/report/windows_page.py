"""What the page of a diarization run says of its windows: beside answers that need no audio, and the windows that went worst."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from auscult.report.html_parts import folded, number, paragraph, section, table
from auscult.report.train_record import Judged
from auscult.report.windows_figure import LINES

MOST_WORST = 30


def beside(judged: Judged) -> str:
    """Return the table of the model's error rates beside those of constant answers."""
    metrics, intervals = judged.summary.get("metrics", {}), judged.summary.get("intervals", {})
    rows = []
    for name, (line, answer) in LINES.items():
        if name in metrics and line in metrics:
            low, high = intervals.get(name, (None, None))
            interval = f"{low:.2%} to {high:.2%}" if low is not None and high is not None else "no interval"
            inside = low is not None and high is not None and low <= metrics[line] <= high
            gained = f"{metrics[line] - metrics[name]:+.2%}" + (", inside the interval" if inside else "")
            rows.append([judged.split, name, f"{metrics[name]:.2%}", interval, f"{metrics[line]:.2%}", answer, gained])
    header = ("split", "metric", "model", "95 % interval", "without audio", "which answer", "better by")
    return table(header, rows) if rows else paragraph(f"{judged.split}: the summary has no error rates")


def worst(judged: Judged) -> str:
    """Return the windows with the largest share of wrong frames."""
    order = sorted(judged.items, key=lambda item: (-_frame_error(item), -int(item["frames"]), str(item["id"])))
    wrong = sum(int(item["frame_errors"]) > 0 for item in judged.items)
    rows = [_window(item) for item in order[:MOST_WORST] if int(item["frame_errors"])]
    header = ("window", "speakers", "frames", "wrong", "frame error", "missed", "false alarm", "confusion", "speaker frames", "loss")
    listing = table(header, rows)
    note = paragraph(
        f"{wrong:,} of {len(judged.items):,} windows have wrong frames; largest share first, {len(rows)} shown. Missed, false alarm and "
        "confusion count frames times speakers. A window's name is its recording and the second at which it starts.",
        "soft",
    )
    shown = folded("show windows", listing) if judged.split == "validation" and len(rows) > 5 else listing
    return section(f"Worst windows of {judged.split}", note, shown)


def _frame_error(item: Mapping[str, Any]) -> float:
    return int(item["frame_errors"]) / max(int(item["frames"]), 1)


def _window(item: Mapping[str, Any]) -> list[str]:
    return [
        str(item["id"]),
        str(item.get("speakers", "–")),
        f"{item['frames']:,}",
        f"{item['frame_errors']:,}",
        f"{_frame_error(item):.1%}",
        *(f"{item[part]:,}" for part in ("missed", "false_alarm", "confusion", "speech")),
        number(item.get("loss"), ".3f"),
    ]
