from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
import textwrap
import time

import pytest

from auscult.errors import UserError
from auscult.runs import directory
from auscult.runs.directory import RunDirectory, find_runs
from auscult.runs.process import this_process
from auscult.runs.state import State


def test_new_run_holds_what_it_was_given(make_run, identity):
    run = RunDirectory.open(make_run(labels=("b", "a", "nan")).path)
    assert run.recipe_text == "task: recognition\nmodel: {name: conv_ctc}\nseed: 7\n"
    assert run.identity == identity
    assert run.labels == ("b", "a", "nan")
    assert run.state is State.QUEUED
    assert run.events.read() == []
    facts = json.loads((run.path / "run.json").read_text())
    assert (facts["run"], facts["verb"], facts["task"], facts["model"], facts["seed"]) == (
        run.path.name,
        "train",
        "recognition",
        "conv_ctc",
        7,
    )
    assert abs(facts["created"] - time.time()) < 60


def test_run_without_labels_has_none(make_run):
    assert make_run(labels=None).labels is None


def test_existing_run_is_never_overwritten(make_run):
    run = make_run()
    run.set_state(State.COMPLETE)
    before = sorted((path, path.read_bytes()) for path in run.path.rglob("*") if path.is_file())
    with pytest.raises(UserError, match="this run exists already; open it to resume"):
        make_run()
    assert before == sorted((path, path.read_bytes()) for path in run.path.rglob("*") if path.is_file())
    assert [path.name for path in run.path.parent.iterdir()] == [run.path.name]


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", ".hidden"])
def test_name_must_be_one_plain_folder(make_run, name):
    with pytest.raises(UserError, match="expected a plain name"):
        make_run(name)


def test_failed_creation_leaves_nothing(make_run, tmp_path, monkeypatch):
    def fail(path, value):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(directory, "write_json", fail)
    with pytest.raises(UserError, match="free some space"):
        make_run()
    assert list((tmp_path / "runs").iterdir()) == []


def test_creation_killed_at_any_moment_leaves_a_whole_run_or_none(tmp_path, kill_after):
    program = textwrap.dedent(
        """
        import sys
        from pathlib import Path
        from auscult.runs.directory import RunDirectory
        from auscult.runs.identity import Identity
        identity = Identity("r", "d", {}, {})
        for number in range(10**9):
            RunDirectory.create(Path(sys.argv[1]), f"{sys.argv[2]}-{number}", "seed: 1", identity, ["a"], "train")
            if number == 0:
                print("ready", flush=True)
        """
    )
    for attempt, seconds in enumerate((0.0, 0.004, 0.013, 0.021)):
        kill_after(program, [str(tmp_path), f"run-{attempt}"], seconds)
        for path in find_runs(tmp_path):
            run = RunDirectory.open(path)
            assert (run.state, run.labels, run.identity.recipe) == (State.QUEUED, ("a",), "r")
    assert len(find_runs(tmp_path)) >= 4
    RunDirectory.create(tmp_path, "last", "seed: 1", run.identity, None, "train")
    assert list(tmp_path.glob(".*")) == []


def test_opening_a_misspelt_run_names_the_nearest(make_run):
    run = make_run("recognition-conv_ctc-aaaa")
    make_run("separation-dprnn-bbbb")
    with pytest.raises(UserError, match=r'there is no such run.*did you mean ".*recognition-conv_ctc-aaaa"'):
        RunDirectory.open(run.path.with_name("recognition-conv_tcc-aaaa"))


def test_opening_a_bare_name_names_the_folder_it_is_in(make_run, tmp_path):
    run = make_run()
    with pytest.raises(UserError, match=f'did you mean "{run.path}"'):
        RunDirectory.open(tmp_path / run.path.name)


def test_opening_another_folder_says_so(tmp_path):
    with pytest.raises(UserError, match="is not a run directory"):
        RunDirectory.open(tmp_path)


def test_states_and_their_reasons_are_kept(make_run):
    run = make_run()
    run.set_state(State.RUNNING)
    assert run.state is State.RUNNING
    run.set_state(State.DIVERGED, "loss was nan 5 times in a row")
    assert (run.state, run.reason) == (State.DIVERGED, "loss was nan 5 times in a row")
    times = json.loads((run.path / "state.json").read_text())["times"]
    assert [entry["state"] for entry in times] == ["QUEUED", "RUNNING", "DIVERGED"]
    assert times == sorted(times, key=lambda entry: entry["time"])


@pytest.mark.parametrize("content", ['{"state": "SLEEPING"}', "[]", '{"state": "RUNNING"}'])
def test_damaged_state_is_named(make_run, content):
    run = make_run()
    (run.path / "state.json").write_text(content)
    with pytest.raises(UserError, match=r"state\.json: is damaged"):
        _ = run.state


TRAINER = textwrap.dedent(
    """
    import os, sys, time
    from pathlib import Path
    from auscult.runs.directory import RunDirectory
    from auscult.runs.state import State
    run = RunDirectory.open(Path(sys.argv[1]))
    with run.lock():
        run.set_state(State.RUNNING)
        run.events.append("step", update=1)
        if len(sys.argv) > 2:
            child = os.fork()
            if child == 0:
                time.sleep(20)
                os._exit(0)
            print(child, flush=True)
        print("ready", flush=True)
        time.sleep(60)
    """
)


def test_killed_run_reads_as_crashed_and_can_be_taken_over(make_run, kill_after):
    run = make_run()
    kill_after(TRAINER, [str(run.path)], 0.0)
    assert run.state is State.CRASHED
    last_event = run.events.path.stat().st_mtime
    leftover = run.path / f".recipe.yaml.{this_process()['host']}.{2**22 + 1}.0.tmp"
    leftover.write_text("")
    with run.lock():
        assert run.state is State.CRASHED
        assert "ended without a word" in run.reason
        run.set_state(State.RUNNING)
    assert not leftover.exists()
    times = json.loads((run.path / "state.json").read_text())["times"]
    assert [entry["state"] for entry in times] == ["QUEUED", "RUNNING", "CRASHED", "RUNNING"]
    assert times[2]["time"] == pytest.approx(max(last_event, times[1]["time"]))


def test_data_worker_that_outlives_a_killed_run_does_not_keep_it_locked(make_run, kill_after):
    run = make_run()
    worker = int(kill_after(TRAINER, [str(run.path), "fork"], 0.05))
    try:
        os.kill(worker, 0)
        with run.lock():
            pass
    finally:
        os.kill(worker, 9)


def test_second_process_is_told_who_trains_the_run(make_run, program_environment):
    run = make_run()
    process = subprocess.Popen([sys.executable, "-c", TRAINER, str(run.path)], stdout=subprocess.PIPE, text=True, env=program_environment)
    try:
        process.stdout.readline()
        assert run.state is State.RUNNING
        with pytest.raises(UserError, match=f"is being trained by process {process.pid} on "), run.lock():
            pass
    finally:
        process.kill()
        process.communicate()
    with run.lock():
        pass


def test_lock_is_given_back_after_an_error_and_not_given_twice(make_run):
    run = make_run()
    with run.lock(), pytest.raises(UserError, match=f"by process {os.getpid()} on "), run.lock():
        pass
    with pytest.raises(RuntimeError, match="stop"), run.lock():
        raise RuntimeError("stop")
    with run.lock() as held:
        assert held is run


def test_changed_identity_is_recorded_and_nothing_is_lost(make_run, identity):
    run = make_run()
    assert run.record_identity(identity) == []
    second = dataclasses.replace(identity, code={**identity.code, "training/stepper.py": "2"})
    third = dataclasses.replace(second, environment={"torch": "2.14", "processors": 2})
    assert run.record_identity(second) == ["code changed: training/stepper.py"]
    assert run.record_identity(third) == ["torch 2.13 -> 2.14"]
    assert run.identity == third
    record = json.loads((run.path / "identity.json").read_text())
    assert record["changes"] == ["torch 2.13 -> 2.14"]
    assert [entry["code_hash"] for entry in record["history"]] == [identity.code_hash, second.code_hash]
    assert record["history"][1]["changes"] == ["code changed: training/stepper.py"]


def test_edited_labels_are_refused(make_run):
    run = make_run(labels=("a", "b"))
    path = run.path / "labels.json"
    path.write_text(path.read_text().replace('"b"', '"c"'))
    with pytest.raises(UserError, match=r"labels\.json: does not match its checksum"):
        _ = run.labels


def test_places_inside_the_run(make_run):
    run = make_run()
    assert run.checkpoint("last") == run.path / "checkpoints" / "last.pt"
    assert run.arrays_folder.is_dir()
    assert run.figures_folder == run.path / "figures"
    with pytest.raises(UserError, match="expected a plain name"):
        run.checkpoint("../../other/last")


def test_runs_are_found_by_name_and_other_folders_are_not(make_run, tmp_path):
    second, first = make_run("b"), make_run("a")
    (tmp_path / "runs" / "notes").mkdir()
    (tmp_path / "runs" / "file").write_text("")
    assert find_runs(tmp_path / "runs") == [first.path, second.path]
    assert find_runs(tmp_path / "absent") == []
