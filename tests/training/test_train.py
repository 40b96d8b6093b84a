"""The verb `train`: reuse, resume, say what changed, and end in one clear sentence without losing anything."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import soundfile
import torch
from safetensors.torch import load_file

from auscult.errors import UserError
from auscult.recipe import Recipe
from auscult.runs import identity
from auscult.runs.directory import RunDirectory, find_runs
from auscult.runs.state import State
from auscult.tasks.recognition import Recognition
from auscult.testing.corpora import toy_corpus
from auscult.training import train as verb
from auscult.training.checkpoint import load_checkpoint
from auscult.training.stepper import Step, Stepper
from auscult.training.train import train

Make = Callable[..., Recipe]
SHORT = {"updates": 6, "evaluate_every": 3, "checkpoint_every": 3}


class Killed(BaseException):
    """Ends training where it is raised, as kill -9 would."""


@pytest.fixture
def crashed(recipe: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[Recipe, RunDirectory]]:
    """Make a run that ended at update 5 of 6, after the checkpoint at 3."""

    def make(**sections: Any) -> tuple[Recipe, RunDirectory]:
        made = recipe(**{"budget": SHORT, **sections})
        step = Stepper.step

        def dying(self: Stepper, batches: Any, number: int) -> Step:
            if number == 5:
                raise Killed
            return step(self, batches, number)

        with monkeypatch.context() as patch:
            patch.setattr(Stepper, "step", dying)
            with pytest.raises(Killed):
                train(made, root=tmp_path / "runs")
        [path] = find_runs(tmp_path / "runs")
        return made, RunDirectory.open(path)

    return make


def contents(run: RunDirectory) -> dict[str, bytes]:
    return {path.relative_to(run.path).as_posix(): path.read_bytes() for path in sorted(run.path.rglob("*")) if path.is_file()}


def test_a_finished_run_is_reused_and_nothing_is_written(recipe: Make, tmp_path: Path) -> None:
    first = train(recipe(budget=SHORT), root=tmp_path)
    before = contents(RunDirectory.open(first.run))
    second = train(recipe(budget=SHORT), root=tmp_path)
    assert (first.action, second.action, second.state) == ("trained", "reused", "COMPLETE")
    assert second.run == first.run
    assert second.metrics == first.metrics
    assert second.notes == []
    assert contents(RunDirectory.open(first.run)) == before


def test_what_is_without_effect_finds_the_same_run_and_what_has_one_does_not(recipe: Make, tmp_path: Path) -> None:
    first = train(recipe(budget=SHORT), root=tmp_path)
    again = train(recipe(budget={**SHORT, "log_every": 2}, data={"workers": 1}), root=tmp_path)
    other = train(recipe(budget={**SHORT, "clip": 1.0}), root=tmp_path)
    assert (again.action, again.run) == ("reused", first.run)
    assert (other.action, other.run == first.run) == ("trained", False)


def test_an_interrupted_run_is_resumed(crashed: Callable[..., tuple[Recipe, RunDirectory]]) -> None:
    made, run = crashed()
    assert run.state is State.CRASHED
    result = train(made, root=run.path.parent)
    assert result.action == "resumed"
    events = [event["event"] for event in run.events.read()]
    assert events.count("start") == events.count("resumed") == 1
    assert [event["update"] for event in run.events.read() if event["event"] == "step"] == [1, 2, 3, 4, 5, 6]


def test_changed_code_is_named(recipe: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    train(recipe(budget=SHORT), root=tmp_path)
    code = {**identity._package_code(), "training/stepper.py": "edited"}
    monkeypatch.setattr(identity, "_package_code", lambda: code)
    result = train(recipe(budget=SHORT), root=tmp_path)
    assert result.action == "reused"
    assert result.notes == ["code changed: training/stepper.py"]


def test_changed_code_is_noted_in_a_resumed_run(
    crashed: Callable[..., tuple[Recipe, RunDirectory]], monkeypatch: pytest.MonkeyPatch
) -> None:
    made, run = crashed()
    code = {**identity._package_code(), "training/stepper.py": "edited"}
    monkeypatch.setattr(identity, "_package_code", lambda: code)
    train(made, root=run.path.parent)
    assert "code changed: training/stepper.py" in [event["text"] for event in run.events.read() if event["event"] == "note"]


def test_changed_data_are_another_run_and_said(recipe: Make, tmp_path: Path) -> None:
    data = {"corpus": {"name": "folder", "source": str(tmp_path / "corpus")}}
    toy_corpus(tmp_path / "corpus", speakers=3, utterances=6, letters=(8, 10), sample_rate=8000)
    first = train(recipe(budget=SHORT, data=data), root=tmp_path / "runs")
    manifest = tmp_path / "corpus" / "manifest.jsonl"
    rows = [json.loads(line) for line in manifest.read_text().splitlines()]
    rows[0]["text"] = rows[0]["text"][::-1]
    manifest.write_text("".join(json.dumps(row) + "\n" for row in rows))
    second = train(recipe(budget=SHORT, data=data), root=tmp_path / "runs")
    assert second.action == "trained"
    assert second.run != first.run
    assert second.notes == [f"the data changed since {first.run.name}, which used the same recipe; this is a new run"]


@pytest.mark.parametrize("damage", ["truncated", "flipped", "empty", "text"])
def test_a_damaged_checkpoint_is_one_sentence_and_nothing_is_lost(crashed: Callable[..., tuple[Recipe, RunDirectory]], damage: str) -> None:
    made, run = crashed()
    path = run.checkpoint("last")
    good = path.read_bytes()
    flipped = bytearray(good)
    tensor = max(load_checkpoint(path)["model"].values(), key=torch.Tensor.numel)
    flipped[good.find(tensor.numpy().tobytes()) + 9] ^= 4
    path.write_bytes({"truncated": good[:-200], "flipped": bytes(flipped), "empty": b"", "text": b"hello"}[damage])
    before = contents(run)
    with pytest.raises(
        UserError, match=r"last\.pt: .*(not a readable checkpoint|does not match).*restore a copy of it, or delete it"
    ) as caught:
        train(made, root=run.path.parent)
    assert "\n" not in str(caught.value)
    after = contents(run)
    assert {name for name in before if before[name] != after.get(name)} <= {"state.json", "lock"}
    assert run.state is State.CRASHED
    assert run.reason == str(caught.value)
    path.write_bytes(good)  # "restore a copy"
    assert train(made, root=run.path.parent).action == "resumed"


def test_a_deleted_checkpoint_starts_over(crashed: Callable[..., tuple[Recipe, RunDirectory]]) -> None:
    made, run = crashed()
    run.checkpoint("last").unlink()
    assert train(made, root=run.path.parent).action == "trained"
    assert [event["update"] for event in run.events.read() if event["event"] == "step"] == [1, 2, 3, 4, 5, 6]


def test_another_label_map_in_the_run_is_refused(crashed: Callable[..., tuple[Recipe, RunDirectory]]) -> None:
    made, run = crashed()
    labels = run.path / "labels.json"
    record = {"labels": ["x", "y"], "checksum": identity.canonical_hash(["x", "y"])}
    labels.write_text(json.dumps(record))
    before = contents(run)
    with pytest.raises(UserError, match="its label map differs"):
        train(made, root=run.path.parent)
    assert contents(run) == before


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"model": {"channels": 8}}, "holds another model"),
        ({"data": {"sample_rate": 16000}}, "at 8000 Hz, this run is recognition at 16000 Hz"),
        ({"task": {"alphabet": "english"}}, "its label map has"),
        ({"optimizer": {"name": "sgd", "lr": 0.1}}, "written by a run of another recipe"),
    ],
)
def test_the_checkpoint_of_another_run_is_refused(
    crashed: Callable[..., tuple[Recipe, RunDirectory]], recipe: Make, tmp_path: Path, other: dict[str, Any], message: str
) -> None:
    _, run = crashed()
    second = recipe(**{"budget": SHORT, **other})
    done = train(second, root=tmp_path / "other")
    record = json.loads((done.run / "state.json").read_text())
    (done.run / "state.json").write_text(json.dumps({**record, "state": "CANCELLED"}))
    (done.run / "checkpoints" / "last.pt").write_bytes(run.checkpoint("last").read_bytes())
    with pytest.raises(UserError, match=message):
        train(second, root=tmp_path / "other")


class FullDisk:
    """A disk that fills up when a file of some name is written for the n-th time."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, name: str, call: int) -> None:
        self.name, self.call, self.calls, self.full = name, call, 0, False
        replace = Path.replace

        def replacing(path: Path, target: Any) -> Any:
            self.calls += Path(target).name == name
            if self.full or (Path(target).name == name and self.calls == call):
                self.full = True
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return replace(path, target)

        monkeypatch.setattr(Path, "replace", replacing)


@pytest.mark.parametrize(("name", "call"), [("last.pt", 2), ("best.pt", 1), ("validation.jsonl", 1), ("model.safetensors", 1)])
def test_a_full_disk_ends_in_a_sentence_and_the_run_continues_later(
    recipe: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, call: int
) -> None:
    """Nothing can be written any more, the state of the run included: it still reads as crashed, and loses nothing."""
    made = recipe(budget=SHORT)
    whole = train(made, root=tmp_path / "whole")
    with monkeypatch.context() as patch:
        FullDisk(patch, name, call)
        with pytest.raises(UserError, match=rf"{name}: cannot be written \(no space left on device\); free some space"):
            train(made, root=tmp_path / "full")
    [path] = find_runs(tmp_path / "full")
    run = RunDirectory.open(path)
    if name == "last.pt":
        assert load_checkpoint(run.checkpoint("last"))["update"] == 3
    assert not list(run.path.rglob("*.tmp"))
    result = train(made, root=tmp_path / "full")
    assert result.state == "COMPLETE"
    assert (result.run / "model.safetensors").read_bytes() == (whole.run / "model.safetensors").read_bytes()


def test_a_disk_that_is_full_for_a_moment_leaves_the_reason(recipe: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disk = FullDisk(monkeypatch, "last.pt", 1)
    record = verb._record_failure

    def relieved(*arguments: Any) -> None:
        disk.full = False
        record(*arguments)

    monkeypatch.setattr(verb, "_record_failure", relieved)
    with pytest.raises(UserError, match="no space left on device"):
        train(recipe(budget=SHORT), root=tmp_path)
    [path] = find_runs(tmp_path)
    assert RunDirectory.open(path).state is State.CRASHED
    assert "last.pt: cannot be written" in RunDirectory.open(path).reason


def test_an_unknown_metric_of_the_stop_rule_is_named(recipe: Make, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r'budget\.stop\.metric: "los" is not measured \(did you mean "loss"\?\); choose one of wer, cer'):
        train(recipe(budget={**SHORT, "stop": {"metric": "los", "patience": 1}}), root=tmp_path)


def scripted(monkeypatch: pytest.MonkeyPatch, scores: list[float]) -> None:
    """Let evaluations have these word error rates, in order; the last one stays."""
    summarise, calls = Recognition.summarise, 0

    def summarised(self: Recognition, items: Any) -> dict[str, float]:
        nonlocal calls
        calls += 1
        return {**summarise(self, items), "wer": scores[min(calls, len(scores)) - 1]}

    monkeypatch.setattr(Recognition, "summarise", summarised)


def test_the_best_files_are_those_of_the_best_scores(recipe: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scripted(monkeypatch, [0.9, 0.5, 0.7, 0.5, 0.6, 0.8])
    result = train(recipe(budget={"updates": 6, "evaluate_every": 1, "keep": 3}), root=tmp_path)
    folder = result.run / "checkpoints"
    assert sorted(path.name for path in folder.iterdir()) == ["best-2.pt", "best-4.pt", "best-5.pt", "best.pt", "last.pt"]
    assert load_checkpoint(folder / "best.pt")["update"] == 2


@pytest.mark.parametrize(("average", "kept"), [(0.4, True), (0.5, False), (0.6, False)])
def test_the_average_of_the_best_is_kept_only_if_better(
    recipe: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, average: float, kept: bool
) -> None:
    scripted(monkeypatch, [0.9, 0.5, 0.7, average])
    result = train(recipe(budget={"updates": 3, "evaluate_every": 1, "keep": 2, "average_best": True}), root=tmp_path)
    run = RunDirectory.open(result.run)
    best = load_checkpoint(run.checkpoint("best"))
    parts = [load_checkpoint(run.checkpoint(f"best-{update}"))["model"] for update in (2, 3)]
    name = next(iter(parts[0]))
    mean = (parts[0][name].double() + parts[1][name].double()) / 2
    assert torch.equal(best["model"][name], mean.float() if kept else parts[0][name])
    assert best.get("averaged") == ([2, 3] if kept else None)
    [note] = [event["text"] for event in run.events.read() if event["event"] == "note"]
    assert note.endswith("kept" if kept else "not kept")
    assert ("not kept" in note) is not kept


def test_early_stop_ends_the_run_at_its_evaluation(recipe: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scripted(monkeypatch, [0.9, 0.5, 0.45, 0.45, 0.1, 0.1])
    result = train(recipe(budget={"updates": 9, "evaluate_every": 1, "stop": {"patience": 2, "minimum_improvement": 0.1}}), root=tmp_path)
    run = RunDirectory.open(result.run)
    assert run.reason == "no improvement of 0.1 in 2 evaluations"
    assert max(event["update"] for event in run.events.read() if event["event"] == "step") == 4
    assert load_checkpoint(run.checkpoint("best"))["update"] == 3


def test_the_stored_copy_is_the_moving_average_also_without_validation(values: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    plain = values(budget={"updates": 4, "ema": 0.9})
    del plain["data"]["validation"]
    result = train(Recipe.from_dict(plain), root=tmp_path)
    last = load_checkpoint(result.run / "checkpoints" / "last.pt")
    stored = load_file(result.run / "model.safetensors")
    average = last["training"]["parts"]["average"]["shadow"]
    assert all(torch.equal(stored[name], average[name]) for name in stored)
    assert any(not torch.equal(stored[name], last["model"][name]) for name in stored)


def test_seconds_of_audio_and_training_are_counted(crashed: Callable[..., tuple[Recipe, RunDirectory]]) -> None:
    made, run = crashed()
    train(made, root=run.path.parent)
    steps = [event for event in run.events.read() if event["event"] == "step"]
    assert all(2.5 < event["audio_seconds"] < 4.5 for event in steps if event["items"] == 4)
    assert all(earlier["elapsed"] < later["elapsed"] for earlier, later in pairwise(steps))


def test_a_missing_audio_file_is_named(recipe: Make, tmp_path: Path) -> None:
    manifest = toy_corpus(tmp_path / "corpus", speakers=3, utterances=6, letters=(8, 10), sample_rate=8000)
    victim = tmp_path / "corpus" / "s2" / "s2_001.wav"
    soundfile.read(victim)
    victim.unlink()
    with pytest.raises(UserError, match=r"s2_001\.wav"):
        train(recipe(data={"corpus": {"name": "folder", "source": str(manifest)}}), root=tmp_path / "runs")
