from __future__ import annotations

import csv

import pytest

from auscult.registry import build
from auscult.runs.sinks.csv import CsvSink
from auscult.testing.sinks import RECIPE, check_sink, evaluation, first_session, step


def rows(path):
    with path.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def test_keeps_the_contract_of_sinks_and_no_update_appears_twice(tmp_path):
    check_sink(CsvSink, tmp_path)
    steps = rows(tmp_path / "csv" / "steps.csv")
    assert [(row["update"], row["loss"]) for row in steps] == [("1", "3.0"), ("2", "nan"), ("3", "inf"), ("4", "1.9"), ("5", "0.5")]
    evaluations = [(row["update"], row["split"], row["metric"], row["value"]) for row in rows(tmp_path / "csv" / "evaluations.csv")]
    assert evaluations == [
        ("3", "validation", "wer", "0.5"),
        ("3", "validation", "cer", "0.25"),
        ("4", "validation", "wer", "0.25"),
        ("4", "validation", "cer", "0.125"),
    ]


def test_one_header_even_when_a_column_appears_late(tmp_path):
    check_sink(CsvSink, tmp_path)
    lines = (tmp_path / "csv" / "steps.csv").read_text().splitlines()
    assert sum(line.startswith("time,update,") for line in lines) == 1
    steps = rows(tmp_path / "csv" / "steps.csv")
    assert [row["frame_error"] for row in steps] == ["", "", "", "", "0.1"]
    assert steps[0]["lr"] == "0.001"


def test_row_torn_by_a_kill_is_dropped_on_reopening(tmp_path):
    sink = CsvSink()
    sink.open(tmp_path, RECIPE)
    for event in first_session():
        sink.write(event)
    path = tmp_path / "csv" / "steps.csv"
    path.write_bytes(path.read_bytes()[:-4])
    sink = CsvSink()
    sink.open(tmp_path, RECIPE)
    sink.write(step(4, 1.5))
    sink.close()
    assert [row["loss"] for row in rows(path)] == ["3.0", "nan", "inf", "1.5"]


def test_is_built_from_a_recipe_section_and_writes_at_once(tmp_path):
    sink = build("sink", {"name": "csv", "folder": "tables"})
    sink.open(tmp_path, RECIPE)
    sink.write(evaluation(1, 0.5))
    assert rows(tmp_path / "tables" / "evaluations.csv")[0]["value"] == "0.5"
    sink.close()


@pytest.mark.parametrize("content", ["", "time,update\n"])
def test_empty_tables_are_fine(tmp_path, content):
    (tmp_path / "csv").mkdir()
    (tmp_path / "csv" / "steps.csv").write_text(content)
    sink = CsvSink()
    sink.open(tmp_path, RECIPE)
    sink.write(step(1, 2.0))
    sink.close()
    assert rows(tmp_path / "csv" / "steps.csv")[0]["loss"] == "2.0"
