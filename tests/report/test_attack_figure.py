"""Figures of an attack: what happened in one step must be seen as well as what took a thousand."""

from __future__ import annotations

from pathlib import Path

from auscult.report.attack_figure import draw_course
from auscult.report.attack_record import AttackRun
from auscult.runs.directory import RunDirectory


def attack(path: Path, course: dict[str, dict[int, dict[int, float]]]) -> AttackRun:
    return AttackRun(RunDirectory(path), {}, {}, {}, (), (), course, (), {})


def test_a_search_that_ends_at_once_leaves_a_dot(tmp_path: Path) -> None:
    """Planted: lines of one point, which are drawn as nothing."""
    figure, tables = draw_course(attack(tmp_path, {"distance": {0: {1: 0.1}, 1: {1: 0.5, 2: 0.2}}}))
    single, several = figure.axes[0].get_lines()
    assert single.get_marker() == "."
    assert several.get_marker() == "None"
    assert [row["is"] for row in tables["course"]] == [0.1, 0.5, 0.2]


def test_attacks_without_iterations_say_so(tmp_path: Path) -> None:
    figure, tables = draw_course(attack(tmp_path, {}))
    assert "this attack has no iterations" in " ".join(text.get_text() for axes in figure.axes for text in axes.texts)
    assert tables == {"course": []}
