"""Figure of what others make of reconstructions: voices, words and transcripts, each method with its interval, chance as a line.

Problem: "40 % of the speakers found" is a leak where chance is 1 % and the truth reaches 45 %, and none where a mean spectrum reaches 38 %.
Choice: one panel per measure, one row per method in one order, so that attack, bound and controls are read off one line of sight; intervals
are drawn wherever there are several utterances.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from matplotlib.figure import Figure

from auscult.report.attack_record import AttackRun
from auscult.report.attack_words import ATTACK, METHODS, SCORES
from auscult.report.figure import COLOURS, OUTSIDE, Row, new_figure, not_available

SHOWN = ("speaker_top1", "speaker_top5", "speaker_eer", "recogniser_wer", "transcript_exact", "transcript_cer")
"""Measures that get a panel, in this order; all are shares."""
CHANCE = "chance"
BETTER = {"speaker_eer": "lower", "recogniser_wer": "lower", "transcript_cer": "lower"}
"""Measures of which less means more is given away."""

Estimates = Mapping[str, Mapping[str, float]]


def panels(summary: Mapping[str, Any]) -> dict[str, dict[str, Mapping[str, float]]]:
    """Return the estimates by measure and method that a summary has to show; empty where nobody listened and nothing was read.

    >>> panels({"heard": {"attack": {"stoi": {"value": 0.5}}}})
    {}
    """
    found: dict[str, dict[str, Mapping[str, float]]] = {}
    for name in SHOWN:
        for table in ("heard", "transcripts"):
            rows: Mapping[str, Estimates] = summary.get(table, {})
            mine = {method: scores[name] for method, scores in rows.items() if name in scores}
            if mine:
                found[name] = mine
    return found


def draw_heard(attack: AttackRun) -> tuple[Figure, dict[str, list[Row]]]:
    """Return the figure, and its numbers."""
    shown = panels(attack.summary)
    methods = list(dict.fromkeys(method for mine in shown.values() for method in mine if method != CHANCE))
    lines = max(1, -(-len(shown) // 3))
    figure = new_figure("Voices and words", f"{attack.subtitle}  ·  95 % intervals", 0.9 + lines * (0.9 + 0.26 * len(methods)))
    if not shown:
        not_available(figure.subplots(), "nobody listened, and no transcript was looked for")
        return figure, {"heard": []}
    grid, table = figure.add_gridspec(lines, min(3, len(shown))), list[Row]()
    for place, (name, mine) in enumerate(shown.items()):
        axes = figure.add_subplot(grid[place // 3, place % 3])
        for row, method in enumerate(methods):
            if method in mine:
                one, colour = mine[method], COLOURS[1] if method == ATTACK else COLOURS[0]
                axes.plot([one["low"], one["high"]], [row, row], color=colour, linewidth=2.0, solid_capstyle="butt")
                axes.plot([one["value"]], [row], marker="D" if method == ATTACK else "o", color=colour, markersize=6)
        if CHANCE in mine:
            axes.axvline(mine[CHANCE]["value"], color=OUTSIDE, linestyle="--", linewidth=1.0, label="by chance")
            axes.legend(loc="best")
        axes.set_yticks(range(len(methods)), [METHODS.get(method, method) for method in methods] if place % 3 == 0 else [""] * len(methods))
        axes.set_ylim(len(methods) - 0.5, -0.5)
        axes.set_xlim(-0.04, max(1.04, *(one["high"] * 1.04 for one in mine.values())))
        axes.set_title(f"{'abcdef'[place]}  {_title(name)}")
        axes.set_xlabel(f"share; {BETTER.get(name, 'higher')} gives more away")
        table += [
            {"measure": name, "method": method, **{key: one[key] for key in ("value", "low", "high")}} for method, one in mine.items()
        ]
    return figure, {"heard": table}


def _title(name: str) -> str:
    return f"transcript: {SCORES[name]}" if name.startswith("transcript") else SCORES[name]
