from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from auscult.report import windows_figure
from auscult.report.figure import house_style
from auscult.report.train_record import Training, read_training


@pytest.fixture(scope="module")
def training(speakers: Any, tmp_path_factory: pytest.TempPathFactory) -> Training:
    return read_training(speakers.diarization_run(tmp_path_factory.mktemp("runs")))


def test_groups_add_up_to_the_metrics(speakers: Any, training: Training) -> None:
    [judged] = training.judged
    metrics = judged.summary["metrics"]
    groups = windows_figure.by_speakers(judged.items)
    assert [group["speakers"] for group in groups] == [0, 1, 2, 3]
    assert sum(group["windows"] for group in groups) == 9
    speech = sum(group["speech_frames"] for group in groups)
    errors = sum(group[part] * group["speech_frames"] for group in groups if group["speech_frames"] for part in windows_figure.PARTS)
    silent = sum(item["false_alarm"] for item in judged.items if item["speakers"] == 0)
    assert (errors + silent) / speech == pytest.approx(metrics["local_der_full"])
    table = windows_figure.class_table(judged.items, len(speakers.CLASSES))
    assert table is not None
    assert 1 - table.trace() / table.sum() == pytest.approx(metrics["frame_error"])


def test_windows_without_speech_have_no_local_rate(speakers: Any) -> None:
    assert np.isnan(windows_figure.local_rate([item for item in speakers.windows() if item["speakers"] == 0]))


def test_every_panel_has_rows_and_the_constant_answers_stand_beside(training: Training) -> None:
    with house_style():
        figure, tables = windows_figure.draw(training, training.judged[0])
    assert all(tables.values())
    assert [(row["metric"], row["without_audio"]) for row in tables["rates"]] == [("frame_error", 0.6), ("local_der_full", 0.7)]
    said = " ".join(text.get_text() for axes in figure.axes for text in axes.texts)
    assert "60.0%  same class always" in said
    assert "nobody speaks" in said
    assert tables["by_recording"][0]["recording"] == "meeting2"  # holds window 7
    drawn = sum(row["windows"] for row in tables["by_window"])
    assert drawn == 9


def test_records_from_before_classes_were_kept_say_what_to_do(training: Training) -> None:
    [judged] = training.judged
    old = tuple({key: value for key, value in item.items() if key not in ("classes", "speakers")} for item in judged.items)
    with house_style():
        figure, tables = windows_figure.draw(training, replace(judged, items=old))
    assert tables["class_confusion"] == tables["by_speakers"] == []
    assert tables["rates"]
    assert sum("judge the split again" in text.get_text() for axes in figure.axes for text in axes.texts) == 3


def test_an_alarm_is_part_of_the_picture(training: Training, tmp_path: Path) -> None:
    [judged] = training.judged
    warned = replace(judged, summary={**judged.summary, "alarms": ["frame_error 0.6 is no better than majority_frame_error 0.6"]})
    with house_style():
        figure, _ = windows_figure.draw(training, warned)
    assert any("ALARM: frame_error" in text.get_text() for axes in figure.axes for text in axes.texts)


def test_bars_of_classes_are_the_margins_of_their_table(training: Training) -> None:
    with house_style():
        figure, tables = windows_figure.draw(training, training.judged[0])
    heights = [bar.get_height() for bar in figure.axes[2].patches]
    frames = sum(row["true"] for row in tables["class_shares"])
    expected = [row[side] / frames for side in ("true", "found") for row in tables["class_shares"]]
    assert heights == pytest.approx(expected)
    assert expected[:7] != expected[7:]
