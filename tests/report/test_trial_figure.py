from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from matplotlib.figure import Figure

from auscult.report import trial_figure
from auscult.report.figure import house_style
from auscult.report.train_record import Judged, Training, read_training


@pytest.fixture(scope="module")
def training(speakers: Any, tmp_path_factory: pytest.TempPathFactory) -> Training:
    return read_training(speakers.verification_run(tmp_path_factory.mktemp("runs"), alarms=[speakers.ALARM]))


def _draw(training: Training, judged: Judged) -> tuple[Figure, dict[str, Any], str]:
    with house_style():
        figure, tables = trial_figure.draw(training, judged)
    texts = [text.get_text() for axes in figure.axes for text in axes.texts]
    titles = [axes.get_title(loc="left") for axes in figure.axes]
    return figure, tables, "\n".join([*texts, *titles])


def test_every_panel_has_rows_and_they_hold_the_trials(training: Training) -> None:
    _, tables, _ = _draw(training, training.judged[1])
    assert all(tables.values())
    for panel in ("scores", "likelihood_ratios"):
        assert sum(row["targets"] for row in tables[panel]) == 36
        assert sum(row["nontargets"] for row in tables[panel]) == 276 - 36
    assert {row["speaker"] for row in tables["by_speaker"][:3]} == {"v0", "v1", "v2"}


def test_an_alarm_is_part_of_the_picture(training: Training) -> None:
    _, _, said = _draw(training, training.judged[1])
    assert "ALARM: the trained encoder" in said
    _, _, said = _draw(training, training.judged[0])
    assert "ALARM" not in said


def test_without_a_calibration_the_untrained_scores_take_the_panel(training: Training) -> None:
    assert "c  Calibrated log-likelihood ratios" in _draw(training, training.judged[1])[2]
    validation = training.judged[0]
    assert "c  Untrained scores (trained: not calibrated)" in _draw(training, validation)[2]
    bare = tuple({key: value for key, value in item.items() if key != "untrained_score"} for item in validation.items)
    assert "not run: the scores of this split are not calibrated" in _draw(training, replace(validation, items=bare))[2]


def test_trials_of_one_kind_and_speakers_without_names_are_said_to_be_so(training: Training) -> None:
    test = training.judged[1]
    one_kind = tuple(item for item in test.items if item["target"])
    assert "one kind only" in _draw(training, replace(test, items=one_kind))[2]
    nameless = tuple({key: value for key, value in item.items() if "speaker" not in key} for item in test.items)
    assert "have no names" in _draw(training, replace(test, items=nameless))[2]


def test_of_many_speakers_the_worst_are_drawn_and_all_are_in_the_table(speakers: Any, training: Training, tmp_path: Path) -> None:
    many = Judged("test", tuple(speakers.trials(speakers=30, each=2)), {})
    _, tables, said = _draw(training, many)
    assert "worst 12 of 30" in said
    assert len(tables["by_speaker"]) == 30
