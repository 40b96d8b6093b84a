"""The verb attack from a recipe to a report: a small victim, made-up attacks, interruptions, and input that does not fit."""

from __future__ import annotations

import copy
import json
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from auscult import registry
from auscult.cli import main
from auscult.errors import UserError
from auscult.privacy import heard_summary, messages
from auscult.privacy.attack import Attack, Reconstruction, Watch
from auscult.privacy.message import Knowledge, Leak
from auscult.privacy.run import AttackResult, attack
from auscult.privacy.victim import Victim
from auscult.recipe import Recipe
from auscult.recipe.attack import AttackRecipe
from auscult.report.html import write_report
from auscult.runs.directory import RunDirectory
from auscult.runs.state import State
from auscult.specification import Specification
from auscult.testing.recipes import toy_recipe
from auscult.training.checkpoint import save_checkpoint
from auscult.training.interruption import Interrupted
from auscult.training.train import train

STEPS = 6


class Killed(BaseException):
    """What a kill looks like from inside: nothing runs after it that would save anything."""


class Guess(Attack):
    """Walks at random from zeros; every step needs what came before. A hook may strike at any step."""

    strike: Callable[[int, int], None] = staticmethod(lambda number, step: None)
    runs = 0

    def __init__(self, size: float = 1.0) -> None:
        self.size = size

    def run(self, victim: Victim, leak: Leak, knowledge: Knowledge, watch: Watch) -> Reconstruction:
        victim.accept(leak)
        lengths = knowledge.needed_frames("guess")
        width = victim.features.width
        state: dict[str, Any] = {"step": 0, "frames": [torch.zeros(length, width) for length in lengths]}
        if watch.resume is not None:
            state = {"step": watch.resume["step"], "frames": watch.resume["frames"]}
            watch.generator.set_state(watch.resume["generator"])
        type(self).runs += 1
        while state["step"] < STEPS:
            frames = [one + self.size * torch.randn(one.shape, generator=watch.generator) for one in state["frames"]]
            state = {"step": state["step"] + 1, "frames": frames}
            watch.save({**state, "generator": watch.generator.get_state()})
            watch.report(state["step"], STEPS, {"objective": float(frames[0].square().mean())})
            type(self).strike(type(self).runs, state["step"])
        return Reconstruction(tuple(state["frames"]), frozenset("ab"), objective=1.0, gradients=STEPS, notes=("made up",))


@pytest.fixture
def guess(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Guess]]:
    monkeypatch.setattr(messages, "SAVE_SECONDS", 0.0)
    monkeypatch.setattr(Guess, "runs", 0)
    with registry.scope():
        registry.register("attack", "guess")(Guess)
        yield Guess


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("attack")


@pytest.fixture
def values(folder: Path) -> dict[str, Any]:
    front_end = {"name": "mfcc_context", "context": 2, "coefficients": 6, "mel_bins": 16}
    made = toy_recipe(folder / "corpus", speakers=4)
    made |= {"model": {"name": "deepspeech1", "hidden": 16, "dropout": 0.0, "front_end": front_end}, "attack": {"name": "guess"}}
    made |= {"leak": {"layers": ["fc"], "batch": 2}, "utterances": {"count": 4, "pool": 6}}
    return copy.deepcopy(made)


def attacked(values: dict[str, Any], root: Path, *overrides: str) -> AttackResult:
    return attack(AttackRecipe.from_dict(values, overrides), root=root)


def evidence(run: Path) -> dict[str, bytes]:
    """Everything that must not depend on interruptions."""
    return {name: (run / name).read_bytes() for name in ("items/attack.jsonl", "arrays/1.npz", "listening/attack.json")}


def test_a_run_is_scored_beside_its_controls(guess: type[Guess], values: dict[str, Any], tmp_path: Path) -> None:
    result = attacked(values, tmp_path, "defence.name=gaussian_noise", "defence.sigma=1e-3")
    assert result.run.name.startswith("recognition-deepspeech1-")
    assert result.run.name.endswith("-attack")
    table = result.summary["table"]
    assert list(table) == ["attack", "zero", "corpus_mean", "random_other", "true_input"]
    assert table["zero"]["snr"]["value"] == pytest.approx(0.0, abs=1e-9)
    assert table["true_input"]["snr"]["value"] == 100.0
    assert table["true_input"]["identified"]["value"] == 1.0
    assert table["attack"]["snr"]["value"] < 0.0
    assert "wer" not in table["attack"]  # fresh weights recognise nothing
    assert result.summary["characters"]["attack"]["precision"]["messages"] == 2
    assert [item["message"] for item in result.items] == [0, 0, 1, 1]
    again = attacked(values, tmp_path, "defence.name=gaussian_noise", "defence.sigma=1e-3")
    assert again.reused
    assert again.summary == result.summary
    assert attacked(values, tmp_path, "seed=4").run != result.run


def test_the_page_says_who_knows_what_and_marks_sounds(guess: type[Guess], values: dict[str, Any], tmp_path: Path) -> None:
    result = attacked(values, tmp_path, "defence.name=gaussian_noise", "leak.clients=2", "leak.batch=1", "victim.dropout=0.2")
    page = write_report(result.run).read_text()
    for said in (
        "summed over 2 clients", "told the lengths of audio and transcripts", "no epsilon", "masks are not known", "do not publish it",
        "proves no privacy", "another utterance", "synthetic reconstruction", "<audio", "equal utility", "made up",
        "of the fall of the loss",
    ):  # fmt: skip
        assert said in page, said
    assert page.index("Threat model") < page.index("What came out")
    assert {path.name for path in (result.run / "figures").glob("*.png")} == {"attack_reconstructions.png", "attack_course.png"}
    index = json.loads((result.run / "listening" / "attack.json").read_text())
    assert [sound["name"] for sound in index["items"][0]["sounds"]] == ["original", "true features as sound", "synthetic reconstruction"]


def test_a_killed_attack_goes_on_to_the_same_bits(
    guess: type[Guess], values: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = attacked(values, tmp_path / "whole")

    def kill(runs: int, step: int) -> None:
        if step == 3:
            raise Killed

    monkeypatch.setattr(Guess, "runs", 0)
    monkeypatch.setattr(Guess, "strike", staticmethod(kill))
    with pytest.raises(Killed):
        attacked(values, tmp_path / "killed")
    [path] = (tmp_path / "killed").glob("*-attack")
    assert RunDirectory.open(path).state is State.CRASHED
    monkeypatch.setattr(Guess, "strike", staticmethod(lambda runs, step: kill(runs, step) if runs == 3 else None))
    with pytest.raises(Killed):  # this time in the second message
        attacked(values, tmp_path / "killed")
    assert (path / "checkpoints" / "message-0.pt").exists()
    monkeypatch.setattr(Guess, "strike", staticmethod(lambda runs, step: None))
    result = attacked(values, tmp_path / "killed")
    assert guess.runs == 4  # begun twice, never repeated
    assert evidence(result.run) == evidence(whole.run)
    assert result.summary["table"] == whole.summary["table"]
    assert not list((path / "checkpoints").glob("*-state.pt"))


def test_a_stop_is_saved_and_resumed(guess: type[Guess], values: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(messages, "SAVE_SECONDS", 1e9)  # only the stop itself saves

    def stop(runs: int, step: int) -> None:
        if runs == 1 and step == 2:
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(Guess, "strike", staticmethod(stop))
    with pytest.raises(Interrupted, match="continues it"):
        attacked(values, tmp_path)
    [path] = tmp_path.glob("*-attack")
    assert RunDirectory.open(path).state is State.CANCELLED
    assert (path / "checkpoints" / "message-0-state.pt").exists()
    assert "not finished" in write_report(path).read_text()
    assert attacked(values, tmp_path).run == path


def test_bad_input_is_one_sentence(guess: type[Guess], values: dict[str, Any], tmp_path: Path) -> None:
    for overrides, said in (
        (["leak.layers=[fx]"], 'no layer "fx"'),
        (["leak.knowledge=nothing"], "guess needs the feature frames"),
        (["utterances.count=400"], "usable utterances"),
        (["utterances.split=test", "data.test=null"], "test"),
        (["precision.device=cuda"], "attacks run on the CPU"),
        (["victim.run=nowhere"], "no such run"),
    ):
        with pytest.raises(UserError, match=said):
            attacked(values, tmp_path, *overrides)
        assert not list(tmp_path.glob("*-attack")), "a run that never began leaves no folder"


def test_a_run_that_found_something_is_kept_when_its_input_turns_bad(
    guess: type[Guess], values: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def strike(runs: int, step: int) -> None:
        if runs == 2:
            raise UserError("no more")

    monkeypatch.setattr(Guess, "strike", staticmethod(strike))
    with pytest.raises(UserError, match="no more"):
        attacked(values, tmp_path)
    [path] = tmp_path.glob("*-attack")
    assert RunDirectory.open(path).state is State.CRASHED


def test_other_verbs_say_what_an_attack_is(
    guess: type[Guess], values: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    result = attacked(values, tmp_path)
    for words in (["evaluate", str(result.run)], ["transcribe", str(result.run), "some.wav"]):
        assert main(words) == 2
        said = capsys.readouterr().err
        assert "is an attack, which has no model of its own" in said
        assert said.count("\n") == 1
    assert main(["runs", "--root", str(tmp_path), "--json"]) == 0
    [row] = json.loads(capsys.readouterr().out)
    assert row["snr"] == result.summary["metrics"]["snr"]
    assert main(["runs", "--root", str(tmp_path)]) == 0
    heads = capsys.readouterr().out.split("\n")[0].split()
    assert heads == ["run", "state", "updates", "seed", "snr", "duration"]


def test_a_message_of_another_reduction_is_refused(
    guess: type[Guess], values: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    captured = messages.capture

    def other(victim: Victim, *arguments: Any) -> Any:
        return captured(Victim(victim.model, victim.specification, "batch_mean"), *arguments)

    monkeypatch.setattr(messages, "capture", other)
    with pytest.raises(UserError, match="its reduction is batch_mean"):
        attacked(values, tmp_path)


def test_a_trained_victim_reads_aloud_and_cannot_be_swapped(
    guess: type[Guess], values: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = {key: value for key, value in values.items() if key not in ("attack", "leak", "utterances")}
    trained = train(Recipe.from_dict(plain), root=tmp_path)
    values["victim"] = {"run": str(trained.run)}
    result = attacked(values, tmp_path, "seed=5")
    assert "wer" not in result.summary["table"]["attack"]  # hardly trained: it would be 1.0 on anything
    assert any("the victim makes" in note and "would make them on anything" in note for note in result.summary["notes"])
    monkeypatch.setattr(heard_summary, "MEANINGLESS", 5.0)
    result = attacked(values, tmp_path)
    assert {"wer", "cer"} <= set(result.summary["table"]["attack"])
    assert "true_hypothesis" in result.items[0]
    payload = torch.load(trained.run / "checkpoints" / "best.pt", weights_only=True)
    weights = {name: value + 1 for name, value in payload["model"].items()}
    save_checkpoint(trained.run / "checkpoints" / "best.pt", weights, Specification.from_dict(payload["specification"]), update=1)
    with pytest.raises(UserError, match="was trained again"):
        attacked(values, tmp_path)


def test_crops_say_that_their_transcripts_are_approximate(guess: type[Guess], values: dict[str, Any], tmp_path: Path) -> None:
    result = attacked(values, tmp_path, "utterances.seconds=0.25")
    assert any("an approximation" in note for note in result.summary["notes"])
    assert all(item["seconds"] <= 0.25 for item in result.items)
    whole = attacked(values, tmp_path)
    for short, full in zip(result.items, whole.items, strict=True):
        assert full["reference"].startswith(short["reference"])


def test_the_command_prints_a_table_and_json(
    guess: type[Guess], values: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = tmp_path / "attack.yaml"
    recipe.write_text(yaml.safe_dump(values))
    assert main(["attack", str(recipe), "--root", str(tmp_path / "runs"), "--no-report", "--json"]) == 0
    printed = capsys.readouterr()
    assert json.loads(printed.out)["table"]["zero"]
    assert "do not publish it" in printed.err
    assert main(["attack", str(recipe), "--root", str(tmp_path / "runs"), "--no-report"]) == 0
    assert "mean of other utterances" in capsys.readouterr().out
    assert main(["attack", str(recipe), "leak.knowledge=nothing", "--root", str(tmp_path / "runs")]) == 2
    assert "guess needs the feature frames" in capsys.readouterr().err
    assert main(["recipe", "show", str(recipe)]) == 0
    assert "name: guess" in capsys.readouterr().out
