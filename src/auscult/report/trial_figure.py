"""The figure of judged trials: detection curve, scores, likelihood ratios, durations, and the speakers who are confused."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter
from numpy.typing import NDArray

from auscult.metrics.detection import cllr
from auscult.report.det_curve import draw_det
from auscult.report.figure import COLOURS, INK, Row, new_figure, not_available
from auscult.report.panels import alarm_row, note_box, shorten
from auscult.report.train_record import Judged, Training
from auscult.report.trial_groups import SCORES, TrialTable

Floats = NDArray[np.float64]
MOST_SPEAKERS = 12
MOST_IN_MATRIX = 20
BINS = 60
_TARGET, _OTHER = COLOURS[0], COLOURS[4]


def draw(training: Training, judged: Judged) -> tuple[Figure, dict[str, list[Row]]]:
    """Return the figure of one split and the rows behind its panels."""
    figure = new_figure(f"Trials of {judged.split}", f"{training.subtitle}  ·  {_count(judged)}", 11.6)
    table = TrialTable(judged.items)
    if not 0 < table.target.sum() < len(table.target):
        not_available(figure.subplots(), "trials of one kind only: there are no error rates")
        return figure, {"det": []}
    grid = alarm_row(figure, judged.alarms, 3, [1.25, 0.85, 1.0])
    axes = [figure.add_subplot(cell) for cell in grid]
    axes[0].set_title("a  Detection error tradeoff, normal-deviate axes")
    interval = judged.summary.get("intervals", {}).get("eer")
    curves = {SCORES[name]: curve for name, curve in table.curves.items()}
    return figure, {
        "det": draw_det(axes[0], curves, tuple(interval) if interval else None),
        "scores": _draw_scores(axes[1], table, "score", "b  Trained scores"),
        "likelihood_ratios": _draw_ratios(axes[2], table),
        "by_duration": _draw_durations(axes[3], table),
        "by_speaker": _draw_speakers(axes[4], table),
        "confusion": _draw_confusion(axes[5], table),
    }


def _count(judged: Judged) -> str:
    targets = sum(bool(item["target"]) for item in judged.items)
    return f"{len(judged.items):,} trials, {targets:,} of them target"


def _draw_scores(axes: Axes, table: TrialTable, column: str, title: str) -> list[Row]:
    axes.set_title(title)
    curve = table.curves[column]
    rows = _histograms(axes, table.column(column), table.target)
    threshold = curve.equal_error_threshold()
    axes.axvline(threshold, color=INK, linewidth=1.2, linestyle=(0, (4, 2)), label=f"threshold of the EER, {threshold:.4g}")
    axes.set(xlabel="score, higher for the same speaker", ylabel="% of the trials of a kind")
    axes.legend(loc="upper left")
    return rows


def _histograms(axes: Axes, values: Floats, target: NDArray[np.bool_]) -> list[Row]:
    """Draw both kinds as shares of their own number, since there are many more non-target trials."""
    low, high = float(values.min()), float(values.max())
    edges = np.linspace(low, high if high > low else low + 1.0, BINS + 1)
    counts = {kind: np.histogram(values[chosen], edges)[0] for kind, chosen in (("target", target), ("non-target", ~target))}
    shares = {kind: 100.0 * count / count.sum() for kind, count in counts.items()}
    axes.stairs(shares["non-target"], edges, fill=True, color=_OTHER, alpha=0.45, label=f"non-target, {counts['non-target'].sum():,}")
    axes.stairs(shares["target"], edges, fill=True, color=_TARGET, alpha=0.45, label=f"target, {counts['target'].sum():,}")
    axes.stairs(shares["target"], edges, color=_TARGET, linewidth=1.1)
    axes.set_ylim(0, 1.42 * max(share.max() for share in shares.values()))
    axes.grid(axis="x", visible=False)
    return [
        {"from": a, "to": b, "targets": int(one), "nontargets": int(other)}
        for a, b, one, other in zip(edges[:-1], edges[1:], counts["target"], counts["non-target"], strict=True)
    ]


def _draw_ratios(axes: Axes, table: TrialTable) -> list[Row]:
    """Show calibrated log-likelihood ratios; where there are none, the untrained scores take the room."""
    if "log_likelihood_ratio" in table.items[0]:
        axes.set_title("c  Calibrated log-likelihood ratios")
        values = table.column("log_likelihood_ratio")
        rows = _histograms(axes, values, table.target)
        axes.axvline(0.0, color=INK, linewidth=1.2, linestyle=(0, (4, 2)), label="0: says nothing")
        text = f"Cllr {cllr(values, table.target):.3f} bit\nminimum {table.curves['score'].minimum_cllr():.3f} bit"
        axes.text(0.98, 0.95, text, transform=axes.transAxes, ha="right", va="top", fontsize=8.5, bbox=note_box())
        axes.set(xlabel="natural logarithm of the likelihood ratio", ylabel="% of the trials of a kind")
        axes.legend(loc="upper left")
        return rows
    if "untrained_score" in table.curves:
        return _draw_scores(axes, table, "untrained_score", "c  Untrained scores (trained: not calibrated)")
    axes.set_title("c  Calibrated log-likelihood ratios")
    not_available(axes, "not run: the scores of this split are not calibrated")
    return []


def _draw_durations(axes: Axes, table: TrialTable) -> list[Row]:
    axes.set_title("d  EER by the shorter recording (trials, target)")
    rows = table.by_duration()
    rates = np.array([100.0 * row["eer"] for row in rows])
    reach = np.array([[100.0 * (row["eer"] - row["low"]), 100.0 * (row["high"] - row["eer"])] for row in rows]).T
    axes.bar(
        range(len(rows)), np.nan_to_num(rates), yerr=np.maximum(np.nan_to_num(reach), 0.0), color=COLOURS[2], alpha=0.85,
        width=min(0.7, 0.18 * len(rows) + 0.1), error_kw={"elinewidth": 1.0, "ecolor": INK},
    )  # fmt: skip
    for place, row in enumerate(rows):
        if np.isnan(row["eer"]):
            axes.annotate("one kind only", (place, 0), (0, 4), textcoords="offset points", ha="center", fontsize=8.5)
    axes.set_xticks(range(len(rows)), [f"{row['seconds']} s\n({row['trials']:,},\n{row['targets']:,})" for row in rows], fontsize=7.5)
    axes.set_xlim(-0.6, max(len(rows) - 0.4, 0.6))
    axes.yaxis.set_major_formatter(PercentFormatter(100.0))
    axes.set_ylabel("EER, 95 % interval" if np.isfinite(reach).any() else "EER (groups too large for intervals)")
    axes.grid(axis="x", visible=False)
    return list(rows)


def _draw_speakers(axes: Axes, table: TrialTable) -> list[Row]:
    found = table.by_speaker
    if not found:
        axes.set_title("e  Errors by speaker")
        not_available(axes, "the speakers of these trials have no names")
        return []
    shown = found[:MOST_SPEAKERS]
    axes.set_title(f"e  Errors by speaker, worst {len(shown)} of {len(found)}" if len(shown) < len(found) else "e  Errors by speaker")
    positions = np.arange(len(shown))
    pairs = (("missed", "targets", _TARGET, -0.2), ("accepted", "nontargets", _OTHER, 0.2))
    for errors, trials, colour, shift in pairs:
        counts = [(getattr(one, errors), getattr(one, trials)) for one in shown]
        shares = [100.0 * wrong / total if total else 0.0 for wrong, total in counts]
        kind = "target trials missed" if errors == "missed" else "non-target trials accepted"
        axes.barh(positions + shift, shares, height=0.36, color=colour, alpha=0.85, label=kind)
        for position, (share, (wrong, total)) in enumerate(zip(shares, counts, strict=True)):
            text = f"{wrong:,} of {total:,}" if total else "no trials"
            axes.annotate(text, (share, position + shift), (3, 0), textcoords="offset points", va="center", fontsize=7)
    axes.set_yticks(positions, [shorten(one.speaker, 16) for one in shown], fontsize=8)
    axes.set_ylim(len(shown) - 0.4, -0.6)
    axes.set_xlim(0, max(1.0, 1.5 * max(axes.dataLim.x1, 1.0)))
    axes.xaxis.set_major_formatter(PercentFormatter(100.0))
    axes.set_xlabel("share of the speaker's trials, at the EER threshold of all")
    axes.grid(axis="y", visible=False)
    axes.legend(loc="lower right")
    return [
        {
            "speaker": one.speaker, "target_trials": one.targets, "missed": one.missed, "nontarget_trials": one.nontargets,
            "accepted": one.accepted, "most_confused_with": one.confused[0] if one.confused else None,
            "accepted_with_them": one.confused[1] if one.confused else None,
        }
        for one in found
    ]  # fmt: skip


def _draw_confusion(axes: Axes, table: TrialTable) -> list[Row]:
    names = [one.speaker for one in table.by_speaker[:MOST_IN_MATRIX]]
    all_of_them = len(names) == len(table.by_speaker)
    axes.set_title("f  Accepted trials between speakers" + ("" if all_of_them else f", worst {len(names)}"))
    if len(names) < 2:
        not_available(axes, "the speakers of these trials have no names")
        return []
    shares = table.shares_accepted(names)
    image = axes.imshow(100.0 * shares, cmap="Blues", vmin=0.0, vmax=100.0, aspect="auto", interpolation="nearest")
    axes.set_facecolor("#d9d9d9")
    labels = _labels(names)
    size = 8 if len(names) <= 12 else 6.5
    axes.set_xticks(range(len(names)), labels, rotation=90, fontsize=size)
    axes.set_yticks(range(len(names)), labels, fontsize=size)
    axes.grid(False)
    axes.figure.colorbar(image, ax=axes, pad=0.01, label="% accepted (grey: no trials)")
    return [
        {"speaker": names[row], "other": names[column], "accepted_share": shares[row, column]}
        for row in range(len(names))
        for column in range(row, len(names))
    ]


def _labels(names: Sequence[str]) -> list[str]:
    return [shorten(name, 10) for name in names]
