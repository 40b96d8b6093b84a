from __future__ import annotations

import json
import math
import shutil
import sqlite3
import subprocess
import sys
import textwrap

import pytest

from auscult.errors import UserError
from auscult.runs import index as index_module
from auscult.runs.index import RunIndex
from auscult.runs.process import this_process
from auscult.runs.state import State


@pytest.fixture
def root(tmp_path):
    return tmp_path / "runs"


@pytest.fixture
def three(make_run, root):
    """Runs a (test wer 0.2, seed 7), b (validation wer 0.1, seed 8), c (nothing measured)."""
    a, b, c = make_run("a"), make_run("b", "task: recognition\nmodel: {name: deepspeech2}\nseed: 8\n"), make_run("c")
    a.events.append("step", update=10, loss=1.0)
    a.write_summary("validation", {"metrics": {"wer": 0.3, "cer": 0.15}})
    a.write_summary("test", {"metrics": {"wer": 0.2}})
    a.set_state(State.COMPLETE)
    b.events.append("evaluation", update=5, split="validation", metrics={"wer": 0.1}, seconds=1.0)
    b.events.append("step", update=6, loss=1.0)
    b.set_state(State.DIVERGED, "nan")
    return a, b, c


def names(rows):
    return [row["run"] for row in rows]


def test_rows_say_what_the_folders_say(three, root):
    a, b, c = RunIndex(root).rows()
    facts = ("task", "model", "verb", "state", "reason", "updates", "seed", "split", "wer", "problem")
    assert [a[key] for key in facts] == ["recognition", "conv_ctc", "train", "COMPLETE", "", 10, 7, "test", 0.2, None]
    assert [b[key] for key in facts] == ["recognition", "deepspeech2", "train", "DIVERGED", "nan", 6, 8, "validation", 0.1, None]
    assert [c.get(key) for key in facts] == ["recognition", "conv_ctc", "train", "QUEUED", "", None, 7, None, None, None]


def test_metrics_of_a_row_are_all_of_one_split(three, root):
    a, *_ = RunIndex(root).rows()
    assert "cer" not in a, "cer was measured on validation only and the row is about test"


def test_where_and_sort(three, root):
    index = RunIndex(root)
    assert names(index.rows(where={"state": "COMPLETE"})) == ["a"]
    assert names(index.rows(where={"state": ["COMPLETE", "QUEUED"], "seed": "7"})) == ["a", "c"]
    assert names(index.rows(sort="wer")) == ["b", "a", "c"]
    assert names(index.rows(sort="wer", descending=True)) == ["a", "b", "c"]
    assert names(index.rows(sort="model", descending=True)) == ["b", "a", "c"]


def test_nan_sorts_last_either_way(three, root):
    three[0].write_summary("test", {"metrics": {"wer": math.nan}})
    index = RunIndex(root)
    assert names(index.rows(sort="wer")) == names(index.rows(sort="wer", descending=True)) == ["b", "a", "c"]


@pytest.mark.parametrize("arguments", [{"sort": "wre"}, {"where": {"wre": 1}}])
def test_unknown_column_is_an_error_with_the_nearest(three, root, arguments):
    with pytest.raises(UserError, match=r'no run has a column "wre" .did you mean "wer"'):
        RunIndex(root).rows(**arguments)


def test_folder_without_runs_has_no_rows(root):
    assert RunIndex(root).rows(sort="wer") == []
    assert not root.exists()
    root.mkdir()
    assert RunIndex(root).rows(sort="wer") == []


def test_only_changed_runs_are_read_again(three, root):
    a, b, c = three
    index = RunIndex(root)
    assert index.refresh() == 3
    assert index.refresh() == 0
    a.events.append("step", update=11)
    b.write_summary("test", {"metrics": {"wer": 0.4}})
    assert index.refresh() == 2
    c.set_state(State.RUNNING)
    assert index.refresh() == 1
    assert [(row["updates"], row.get("wer"), row["state"]) for row in index.rows()] == [
        (11, 0.2, "COMPLETE"),
        (6, 0.4, "DIVERGED"),
        (None, None, "RUNNING"),
    ]


def test_summary_replaced_within_one_tick_of_the_clock_is_noticed(three, root):
    index = RunIndex(root)
    for wer in (0.11, 0.12, 0.13, 0.14):
        three[0].write_summary("test", {"metrics": {"wer": wer}})
        assert index.rows()[0]["wer"] == wer


def test_deleted_run_disappears(three, root):
    index = RunIndex(root)
    index.refresh()
    shutil.rmtree(three[1].path)
    assert names(index.rows()) == ["a", "c"]


def test_run_whose_process_died_is_crashed_although_no_file_changed(three, root, monkeypatch):
    index = RunIndex(root)
    three[2].set_state(State.RUNNING)
    assert index.rows()[2]["state"] == "RUNNING"
    path = three[2].path / "state.json"
    record = json.loads(path.read_text())
    assert record["process"] == this_process()
    monkeypatch.setattr("auscult.runs.directory.is_gone", lambda process: True)
    assert index.refresh() == 0
    assert index.rows()[2]["state"] == "CRASHED"


def test_duration_counts_only_the_time_spent_running(three, root):
    path = three[0].path / "state.json"
    record = json.loads(path.read_text())
    spans = [("QUEUED", 0), ("RUNNING", 10), ("CRASHED", 25), ("RUNNING", 100), ("COMPLETE", 107)]
    record["times"] = [{"state": state, "time": time} for state, time in spans]
    path.write_text(json.dumps(record))
    assert RunIndex(root).rows()[0]["duration"] == 22


@pytest.mark.parametrize(
    "content", [b"this is no database, it is a text that somebody saved here", b"SQLite format 3\x00" + b"\x55" * 8000, b""]
)
def test_damaged_index_is_rebuilt(three, root, content):
    index = RunIndex(root)
    before = index.rows()
    index.path.write_bytes(content)
    assert index.rows() == before
    assert index.refresh() == 0


def test_damaged_row_is_rebuilt(three, root):
    index = RunIndex(root)
    before = index.rows()
    with sqlite3.connect(index.path) as connection:
        connection.execute("UPDATE runs SET content = '{\"half'")
    connection.close()
    assert index.rows() == before


def test_index_of_another_version_is_rebuilt(three, root, monkeypatch):
    index = RunIndex(root)
    before = index.rows()
    monkeypatch.setattr(index_module, "_VERSION", 2)
    assert index.refresh() == 3
    assert index.rows() == before


def test_deleted_index_is_rebuilt(three, root):
    index = RunIndex(root)
    before = index.rows()
    index.path.unlink()
    assert index.rows() == before
    assert index.path.exists()


def test_folder_that_cannot_be_written_is_listed_all_the_same(three, root, monkeypatch):
    monkeypatch.setattr(index_module.os, "access", lambda path, mode: False)
    assert names(RunIndex(root).rows()) == ["a", "b", "c"]
    assert not RunIndex(root).path.exists()


def test_broken_run_says_so_and_hides_no_other(three, root):
    (three[1].path / "state.json").write_text("{")
    a, b, c = RunIndex(root).rows()
    assert (a["problem"], c["problem"]) == (None, None)
    assert "state.json: is damaged" in b["problem"]
    (three[1].path / "state.json").write_text('{"state": "COMPLETE"}')
    assert "damaged" in RunIndex(root).rows()[1]["problem"]


def test_last_update_is_read_from_the_end_of_a_long_torn_log(three, root):
    with three[0].events.path.open("ab") as stream:
        stream.write(b'{"event": "note", "time": 1, "text": "' + b"x" * 100_000 + b'"}\n')
        stream.write(b'{"event": "step", "time": 1, "update": 99}\n{"event": "step", "upd')
    assert RunIndex(root).rows()[0]["updates"] == 99


def test_several_processes_make_runs_and_list_them_at_once(root, program_environment):
    program = textwrap.dedent(
        """
        import sys
        from pathlib import Path
        from auscult.runs.directory import RunDirectory
        from auscult.runs.identity import Identity
        from auscult.runs.index import RunIndex
        from auscult.runs.state import State
        root, worker = Path(sys.argv[1]), sys.argv[2]
        for number in range(12):
            run = RunDirectory.create(root, f"{worker}-{number}", "seed: 1", Identity("r", "d", {}, {}), None, "train")
            run.set_state(State.COMPLETE)
            rows = {row["run"]: row["state"] for row in RunIndex(root).rows()}
            assert all(rows[f"{worker}-{earlier}"] == "COMPLETE" for earlier in range(number + 1)), rows
            if number % 4 == 3:
                RunIndex(root).path.write_bytes(b"damage done on purpose, long enough to be no database") if worker == "a" else None
        """
    )
    root.mkdir()
    processes = [
        subprocess.Popen([sys.executable, "-c", program, str(root), worker], env=program_environment, stderr=subprocess.PIPE, text=True)
        for worker in "abc"
    ]
    errors = [process.communicate()[1] for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0], errors
    assert len(RunIndex(root).rows(where={"state": "COMPLETE"})) == 36


def test_the_benchmark_of_the_listing_runs(program_environment):
    """The benchmark itself, with fewer runs; `python benchmarks/run_index.py` makes 5,000."""
    from pathlib import Path

    script = Path(__file__).parents[2] / "benchmarks" / "run_index.py"
    result = subprocess.run(
        [sys.executable, str(script), "--runs", "300", "--json"], env=program_environment, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr + result.stdout
    measured = json.loads(result.stdout)
    assert measured["runs"] == measured["listed"] == 300
