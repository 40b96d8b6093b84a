from pathlib import Path

import pytest

from auscult.report import error_breakdown
from auscult.report.figure import house_style
from auscult.report.train_record import Judged, read_training


def test_groups_add_up_to_the_whole(training_run: Path) -> None:
    training = read_training(training_run)
    judged = training.judged[1]
    with house_style():
        _, tables = error_breakdown.draw(training, judged)
    errors = sum(error_breakdown.errors_of(item) for item in judged.items)
    words = sum(item["words"] for item in judged.items)
    for panel in ("by_speaker", "by_duration"):
        assert sum(row["errors"] for row in tables[panel]) == errors
        assert sum(row["words"] for row in tables[panel]) == words
        assert sum(row["utterances"] for row in tables[panel]) == 300
        assert all(row["low"] <= row["wer"] <= row["high"] for row in tables[panel])
    assert sum(row["count"] for row in tables["by_kind"]) == errors
    assert sum(row["word_errors"] * row["utterances"] for row in tables["by_utterance"]) == errors
    assert judged.summary["metrics"]["wer"] == pytest.approx(errors / words)


def test_one_utterance_without_words_draws_without_an_interval(training_run: Path) -> None:
    item = {"id": "a", "duration": 1.0, "substitutions": 0, "insertions": 1, "deletions": 0, "words": 0, "reference": "", "hypothesis": "x"}
    with house_style():
        _, tables = error_breakdown.draw(read_training(training_run), Judged("own", (item,), {}))
    assert tables["by_speaker"][0]["words"] == 0
    assert tables["by_speaker"][0]["low"] != tables["by_speaker"][0]["low"]  # nan: one utterance has no interval


def test_items_of_another_task_say_what_is_missing(training_run: Path) -> None:
    with house_style():
        figure, _ = error_breakdown.draw(read_training(training_run), Judged("test", ({"id": "a"},), {}))
    assert "no word counts" in figure.axes[0].texts[0].get_text()
