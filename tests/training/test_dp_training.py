"""Private training as a user meets it: what it prints, what it refuses, and that it goes on where it was."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import auscult
from auscult.cli import main
from auscult.errors import UserError
from auscult.models.masked_group_norm import MaskedGroupNorm
from auscult.recipe import Recipe
from auscult.runs.directory import RunDirectory
from auscult.training.checkpoint import load_checkpoint
from auscult.training.distributed import World
from auscult.training.dp_accountant import PrivacyAccount, epsilon_spent, noise_for
from auscult.training.dp_rules import gradient_difference, require_private_training
from auscult.training.dp_step import PrivateStepper
from auscult.training.train import train

opacus = pytest.importorskip("opacus")
Values = Callable[..., dict[str, Any]]
PRIVATE: dict[str, Any] = {
    "task": {"name": "recognition", "alphabet": "english"},
    "model": {"name": "deepspeech2", "channels": 4, "hidden": 16, "layers": 1, "norm": "group", "norm_groups": 2},
    "budget": {"updates": 9, "evaluate_every": 4, "checkpoint_every": 4, "log_every": 1},
    "differential_privacy": {"noise_multiplier": 1.0, "clip": 1.0, "delta": 1e-3, "accountant": "rdp"},
}


@pytest.fixture
def private(values: Values) -> Callable[..., Recipe]:
    """A private recipe on 18 utterances, 2 expected in a batch."""

    def make(*overrides: str) -> Recipe:
        made = values("deepspeech2", **PRIVATE)
        made["data"]["batch"] = {"poisson": 2}
        return Recipe.from_dict(made, overrides)

    return make


def test_a_run_prints_and_records_what_it_spent(private: Callable[..., Recipe], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "private.yaml"
    path.write_text(private().to_yaml(), encoding="utf-8")
    assert main(["train", str(path), "--root", str(tmp_path / "runs")]) == 0
    said = capsys.readouterr()
    [folder] = (tmp_path / "runs").iterdir()
    run = RunDirectory.open(folder)
    told = [event for event in run.events.read() if event["event"] == "privacy"]
    assert [event["update"] for event in told] == [4, 8, 9]
    for event in told:
        expected = opacus.accountants.RDPAccountant()
        expected.history = [(1.0, 2 / 18, event["update"])]
        assert event["epsilon"] == pytest.approx(expected.get_epsilon(1e-3))
        assert f"update {event['update']}: epsilon {event['epsilon']:.3g} at delta 0.001 per utterance" in said.err
    record = json.loads((folder / "privacy.json").read_text(encoding="utf-8"))
    assert record["epsilon"] == told[-1]["epsilon"]
    assert (record["updates"], record["unit"], record["noise_from"]) == (9, "utterance", "the seed in the recipe")
    assert f"privacy: epsilon {record['epsilon']:.3g}" in said.out
    assert f"epsilon {record['epsilon']:.3g} at delta 0.001" in run.read_summary("validation")["protocol"]["privacy"]
    assert f"epsilon {record['epsilon']:.3g}" in (folder / "report.html").read_text(encoding="utf-8")
    assert "noise from the seed" in auscult.evaluate(folder, split="validation").summary["protocol"]["privacy"]
    assert train(private(), root=tmp_path / "runs").privacy == record, "a finished run says it again"


@pytest.mark.parametrize("workers", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_a_run_that_was_stopped_goes_on_to_the_same_bits(
    private: Callable[..., Recipe], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workers: int
) -> None:
    recipe = private(f"data.workers={workers}", "optimizer.lr=0.01", "model.dropout=0.1")
    whole = train(recipe, root=tmp_path / "whole")
    with monkeypatch.context() as patched:
        stop_at(patched, 6)
        with pytest.raises(KeyboardInterrupt):
            train(recipe, root=tmp_path / "stopped")
    [folder] = (tmp_path / "stopped").iterdir()
    saved = load_checkpoint(RunDirectory.open(folder).checkpoint("last"))
    assert saved["training"]["parts"]["private"]["account"] == {"history": [[1.0, 2 / 18, 4]]}
    again = train(recipe, root=tmp_path / "stopped")
    assert again.action == "resumed"
    assert again.privacy == whole.privacy
    assert (again.run / "model.safetensors").read_bytes() == (whole.run / "model.safetensors").read_bytes()


def stop_at(patched: pytest.MonkeyPatch, update: int) -> None:
    step = PrivateStepper.step

    def stopping(self: PrivateStepper, batches: Any, number: int) -> Any:
        if number == update:
            raise KeyboardInterrupt
        return step(self, batches, number)

    patched.setattr(PrivateStepper, "step", stopping)


@pytest.mark.slow
def test_a_secret_run_repeats_for_nobody_but_itself(
    private: Callable[..., Recipe], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = private("differential_privacy.secret=true", "optimizer.lr=0.01")
    drawn: list[bytes] = []
    monkeypatch.setattr(
        "auscult.training.dp_noise.secrets.token_bytes", lambda count: drawn.append(bytes([len(drawn) + 1] * count)) or drawn[-1]
    )
    one, other = (train(recipe, root=tmp_path / name) for name in ("one", "other"))
    assert one.privacy is not None
    assert one.privacy["noise_from"] == "a secret key"
    assert (one.run / "model.safetensors").read_bytes() != (other.run / "model.safetensors").read_bytes()
    for place in one.run.rglob("*"):
        if place.is_file() and place.name != "last.pt":
            assert drawn[0].hex().encode() not in place.read_bytes(), place
    with monkeypatch.context() as patched:
        stop_at(patched, 6)
        with pytest.raises(KeyboardInterrupt):
            train(recipe, root=tmp_path / "stopped")
    monkeypatch.setattr("auscult.training.dp_noise.secrets.token_bytes", lambda count: bytes(count))
    assert train(recipe, root=tmp_path / "stopped").action == "resumed"
    [folder] = (tmp_path / "stopped").iterdir()
    key = load_checkpoint(RunDirectory.open(folder).checkpoint("last"))["training"]["parts"]["private"]["chance"]["key"]
    assert key == drawn[2].hex(), "the key of the run, not a new one"


REFUSED_RECIPES = [
    ("data.batch={items: 4}", "data.batch: epsilon holds for batches drawn by lot"),
    ("budget.accumulate=2", "budget.accumulate"),
    ("budget.clip=1.0", "budget.clip: gradients are clipped per utterance"),
    ("budget.stop={patience: 2}", "budget.stop"),
    ("precision.compute=bfloat16", "precision.compute: bfloat16"),
    ("data.concatenate={strings: {train: 5}}", "data.concatenate"),
    ("differential_privacy.epsilon=3.0", "one of the two"),
    ("data.batch.buckets=2", "has no order by length"),
]


@pytest.mark.parametrize(("override", "words"), REFUSED_RECIPES)
def test_recipes_whose_epsilon_would_be_untrue_are_refused(private: Callable[..., Recipe], override: str, words: str) -> None:
    with pytest.raises(UserError, match=re.escape(words)) as caught:
        private(override)
    assert "\n" not in str(caught.value)


REFUSED_RUNS = [
    ("model.norm=batch", "set model.norm: group"),
    ("model.cell=lstm", "model.cell: gru"),
    ("task.alphabet=data", "task.alphabet: data takes the characters"),
    ("differential_privacy.delta=0.1", "give 0.006 or less"),
    ("data.batch.poisson=19", "give 1 to 18"),
]


@pytest.mark.parametrize(("override", "words"), REFUSED_RUNS)
def test_runs_whose_epsilon_would_be_untrue_are_refused(private: Callable[..., Recipe], tmp_path: Path, override: str, words: str) -> None:
    with pytest.raises(UserError, match=re.escape(words)):
        train(private(override), root=tmp_path)


def test_several_processes_and_utterances_used_twice_are_refused(private: Callable[..., Recipe]) -> None:
    recipe = private()
    task: Any = recipe.task.build(recipe=recipe)
    model, cuts = task.build_model(), list(task.cuts("train"))
    require_private_training(task, model, cuts, 1e-3, World())
    with pytest.raises(UserError, match="one process, this run has 2"):
        require_private_training(task, model, cuts, 1e-3, World(0, 2))
    twice = [*cuts, cuts[0].truncate(offset=0.2).with_id("again")]
    with pytest.raises(UserError, match=f'"{cuts[0].id}" and "again" share a piece'):
        require_private_training(task, model, twice, 1e-3, World())


def test_whatever_ties_utterances_together_is_found_by_their_gradients(
    private: Callable[..., Recipe], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = private()
    task: Any = recipe.task.build(recipe=recipe)
    torch.manual_seed(0)
    model, batch = task.build_model(), task.collate(list(task.cuts("train"))[:3])
    assert gradient_difference(task, model, batch) < 1e-4
    assert model.training
    masked = MaskedGroupNorm.forward
    monkeypatch.setattr(MaskedGroupNorm, "forward", lambda self, values, mask: masked(self, values, None))
    with pytest.raises(UserError, match=r"changes by .* with the batch it is in"):
        train(recipe, root=tmp_path)


@pytest.mark.slow
def test_a_wanted_epsilon_finds_its_noise(private: Callable[..., Recipe], tmp_path: Path) -> None:
    result = train(private("differential_privacy.noise_multiplier=null", "differential_privacy.epsilon=6.0"), root=tmp_path)
    assert result.privacy is not None
    assert 5.8 < result.privacy["epsilon"] <= 6.0
    assert result.privacy["noise_multiplier"] == noise_for(6.0, 2 / 18, 9, 1e-3, "rdp")


def test_accountants_bound_the_exact_epsilon_of_full_batches() -> None:
    assert 4.377 < epsilon_spent(1.0, 1.0, 1, 1e-5, "prv") < 4.40
    assert 17.857 < epsilon_spent(1.0, 1.0, 10, 1e-5, "prv") < 17.88
    assert epsilon_spent(1.0, 1.0, 10, 1e-5, "prv") < epsilon_spent(1.0, 1.0, 10, 1e-5, "rdp") < 19.1
    assert epsilon_spent(1.0, 0.1, 10, 1e-5, "rdp") < epsilon_spent(1.0, 0.2, 10, 1e-5, "rdp")
    assert epsilon_spent(1.0, 0.1, 0, 1e-5) == 0.0


def test_an_account_does_not_take_the_history_of_another_noise() -> None:
    account = PrivacyAccount(1.0, 0.1, 1.0, 1e-5, "rdp")
    with pytest.raises(UserError, match=r"noise 0\.5 at rate 0\.1"):
        account.load_state_dict({"history": [[0.5, 0.1, 7]]})
