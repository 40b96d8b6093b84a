"""The figure of listeners: attack, bound, controls and chance in one line of sight, and nothing where nobody listened."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from auscult.report.attack_heard_figure import draw_heard, panels
from auscult.report.attack_page import HEARD, figures_of
from auscult.report.attack_record import AttackRun
from auscult.runs.directory import RunDirectory


def estimate(value: float) -> dict[str, float]:
    return {"value": value, "low": max(0.0, value - 0.1), "high": value + 0.1, "utterances": 20}


SUMMARY: dict[str, Any] = {
    "heard": {
        "attack": {"speaker_top1": estimate(0.4), "recogniser_wer": estimate(0.3), "stoi": estimate(0.8)},
        "zero": {"speaker_top1": estimate(0.0), "recogniser_wer": estimate(1.2)},
        "recording": {"speaker_top1": estimate(0.9), "recogniser_wer": estimate(0.1)},
        "chance": {"speaker_top1": {"value": 0.01, "low": 0.01, "high": 0.01}},
    },
    "transcripts": {"attack": {"transcript_exact": estimate(1.0)}, "other_transcripts": {"transcript_exact": estimate(0.0)}},
}


def attack(path: Path, summary: dict[str, Any]) -> AttackRun:
    return AttackRun(RunDirectory(path), {}, {}, summary, (), (), {}, (), {})


def test_every_measure_has_a_panel_with_all_its_methods(tmp_path: Path) -> None:
    figure, tables = draw_heard(attack(tmp_path, SUMMARY))
    titles = [(axes.get_title(loc="left") or axes.get_title()) for axes in figure.axes]
    assert titles == ["a  speaker first", "b  WER, another recogniser", "c  transcript: exact"]
    said = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert said == ["the attack", "zeros", "the recording itself", "other transcripts"]
    assert "by chance" in [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    assert figure.axes[1].get_xlim()[1] > 1.3  # more errors than words must be seen
    rows = {(row["measure"], row["method"]): row["value"] for row in tables["heard"]}
    assert rows["recogniser_wer", "attack"] == 0.3
    assert len(rows) == 9
    assert HEARD in figures_of(attack(tmp_path, SUMMARY))


def test_nothing_is_drawn_where_nobody_listened(tmp_path: Path) -> None:
    silent: dict[str, Any] = {"heard": {}, "transcripts": {}, "table": {}}
    assert panels(silent) == {}
    assert HEARD not in figures_of(attack(tmp_path, silent))
    assert HEARD not in figures_of(attack(tmp_path, {}))  # not finished, or made before anybody could listen
