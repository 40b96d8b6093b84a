"""R0 as a gate: what passes, and every way of fooling it that the original log fell for."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from auscult.recipe import Recipe
from auscult.runs.directory import RunDirectory
from auscult.tasks.base import Expectation
from auscult.training import check as check_module
from auscult.training.check import check
from auscult.training.checkpoint import load_checkpoint


@pytest.fixture
def recipe(data_pack: Path) -> dict[str, Any]:
    """A small DeepSpeech 2 on two real utterances."""
    return {
        "task": {"name": "recognition"},
        "data": {"corpus": {"name": "librispeech", "source": str(data_pack / "LibriSpeech")}, "sample_rate": 16000, "train": "train-mini"},
        "model": {"name": "deepspeech2", "channels": 8, "hidden": 64, "layers": 2},
        "optimizer": {"name": "adam", "lr": 0.01},
        "budget": {"updates": 1},
        "check": {"ids": ["26-495-0020", "27-124992-0026"], "updates": 200, "threshold": 0.001},
    }


def test_passes_on_real_speech_and_says_only_what_is_so(recipe: dict[str, Any], tmp_path: Path) -> None:
    result = check(Recipe.from_dict(recipe), root=tmp_path)
    assert result.passed, result.reasons
    run = RunDirectory.open(result.run)
    events = run.events.read()
    by_kind = {kind: [event for event in events if event["event"] == kind] for kind in {event["event"] for event in events}}
    for utterance, end, item in zip(by_kind["utterance"], by_kind["utterance_end"], result.items, strict=True):
        assert end["loss"] < 0.001  # R0 stopped at 0.0012 while claiming 0.001
        assert end["stop_reason"] == "threshold"
        assert item["hypothesis"] == item["reference"]
        assert utterance["initial_loss"] == pytest.approx(utterance["uniform_loss"], rel=0.15)
        assert utterance["output_frames"] == (utterance["input_frames"] + 9) // 2 + 1 - 10
    assert by_kind["batch_independence"][0]["max_leak"] == 0.0
    assert by_kind["model"][0]["parameters"] == 232_520
    with np.load(run.arrays_folder / "0.npz") as arrays:
        assert arrays["probabilities"].shape == (by_kind["utterance"][0]["output_frames"], 29)
        assert arrays["features"].shape == (by_kind["utterance"][0]["input_frames"], 257)


def test_the_saved_weights_are_those_of_the_reported_loss(recipe: dict[str, Any], tmp_path: Path) -> None:
    recipe["check"]["ids"] = recipe["check"]["ids"][:1]
    resolved = Recipe.from_dict(recipe)
    result = check(resolved, root=tmp_path)
    task = resolved.task.build(recipe=resolved)
    model = task.build_model()
    model.load_state_dict(load_checkpoint(RunDirectory.open(result.run).checkpoint("utterance-0"))["model"])
    batch = task.collate([cut for cut in task.cuts("train") if cut.id == recipe["check"]["ids"][0]])
    with torch.no_grad():
        assert float(task.loss(model.train(), batch).value) == pytest.approx(result.items[0]["loss"], rel=1e-3)


def test_a_loss_with_dropout_is_measured_without_it(recipe: dict[str, Any], tmp_path: Path) -> None:
    """A threshold met by a lucky draw of dropout is not met: the reported loss is below it and repeats."""
    recipe["model"] = {"name": "conv_ctc", "channels": 64, "blocks": 2, "dropout": 0.1}
    recipe["optimizer"]["lr"] = 0.003
    recipe["check"] |= {"ids": recipe["check"]["ids"][:1], "updates": 600, "threshold": 0.01}
    resolved = Recipe.from_dict(recipe)
    result = check(resolved, root=tmp_path)
    assert result.passed, result.reasons
    assert result.items[0]["loss"] < 0.01
    task = resolved.task.build(recipe=resolved)
    model = task.build_model().eval()
    model.load_state_dict(load_checkpoint(RunDirectory.open(result.run).checkpoint("utterance-0"))["model"])
    batch = task.collate([cut for cut in task.cuts("train") if cut.id == recipe["check"]["ids"][0]])
    with torch.no_grad():
        assert float(task.loss(model, batch).value) == pytest.approx(result.items[0]["loss"], rel=1e-4)


def test_r0_carried_over_weights_are_caught(recipe: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The planted bug: one model for all utterances, as in R0, whose second utterance starts far above the uniform loss."""
    kept: list[torch.nn.Module] = []
    fresh = check_module._Check._fresh_model

    def carried(self: Any) -> torch.nn.Module:
        kept.append(kept[0] if kept else fresh(self))
        return kept[0]

    monkeypatch.setattr(check_module._Check, "_fresh_model", carried)
    result = check(Recipe.from_dict(recipe), root=tmp_path)
    assert not result.passed
    assert any(reason.startswith("27-124992-0026: loss at start") for reason in result.reasons)


def test_a_leaking_model_is_caught(recipe: dict[str, Any], tmp_path: Path) -> None:
    recipe["model"]["padding"] = "legacy"
    result = check(Recipe.from_dict(recipe), root=tmp_path)
    assert any(reason.startswith("batch independence") for reason in result.reasons)


def test_a_budget_too_small_is_a_failure_not_a_success(recipe: dict[str, Any], tmp_path: Path) -> None:
    recipe["check"]["updates"] = 5
    result = check(Recipe.from_dict(recipe), root=tmp_path)
    assert not result.passed
    assert all(item["stop_reason"] == "budget" for item in result.items)


def test_the_same_check_twice_is_reused(recipe: dict[str, Any], tmp_path: Path) -> None:
    recipe["check"]["updates"] = 2
    first = check(Recipe.from_dict(recipe), root=tmp_path)
    second = check(Recipe.from_dict(recipe), root=tmp_path)
    assert second.reused
    assert (second.passed, second.reasons, second.items) == (first.passed, first.reasons, first.items)


@pytest.mark.parametrize(("first", "wrong"), [(-3.05, 0), (-4.0, 1), (3.0, 1)])
def test_theory_of_a_loss_below_0_has_a_tolerance_above_0(first: float, wrong: int) -> None:
    task = SimpleNamespace(expected_initial_loss=lambda batch: Expectation(-3.0, 0.1, "theory"), describe=lambda model, batch: {})
    journal = SimpleNamespace(write=lambda *event, **fields: None)
    running: Any = SimpleNamespace(task=task, journal=journal, threshold=-10.0, reasons=[], _loss_now=lambda model, batch: first)
    nothing: Any = None
    check_module._Check._introduce(running, 0, SimpleNamespace(id="a", duration=1.0), nothing, nothing)
    assert len(running.reasons) == wrong
