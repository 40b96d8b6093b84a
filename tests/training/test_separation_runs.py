"""Separation on the spine: killed runs repeat bit for bit in every stage, one bad mixture is refused by name, check learns by heart."""

from __future__ import annotations

import copy
import math
import signal
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from auscult.errors import UserError
from auscult.recipe import Recipe
from auscult.runs.directory import RunDirectory
from auscult.runs.state import State
from auscult.tasks.separation import Separation
from auscult.testing.mixtures import toy_splits, write_polsess
from auscult.training.checkpoint import load_checkpoint, load_weights, save_checkpoint
from auscult.training.evaluate import evaluate
from auscult.training.number_formats import first_not_finite
from auscult.training.train import train

STEP, SAVE = "auscult.training.stepper:Stepper.step", "torch:save"
FINISH, JUDGE = "auscult.runs.directory:RunDirectory.write_items", "auscult.tasks.separation:Separation.judge"
VALUES: dict[str, Any] = {
    "task": {
        "name": "separation", "seconds": 0.25, "remix": 0.5,
        "curriculum": [[0, ["C", "R"]], [4, ["R", "SR", "S"]], [9, ["SER", "SE"]]],
    },
    "data": {"sample_rate": 8000, "train": "train", "validation": "val", "batch": {"items": 3, "buckets": 1}, "workers": 2},
    "model": {
        "name": "conv_tasnet", "filters": 16, "kernel": 8, "stride": 4, "bottleneck": 8, "hidden": 8, "skip": 8, "blocks": 2, "repeats": 1,
    },
    "optimizer": {"name": "adam", "lr": 3e-3},
    "schedule": {"name": "plateau", "patience": 0, "start": 4},
    "precision": {"compute": "float16", "device": "cpu"},
    "budget": {"updates": 14, "evaluate_every": 3, "checkpoint_every": 4, "log_every": 1, "clip": 5.0},
}  # fmt: skip


@pytest.fixture(scope="session")
def polsess(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_polsess(tmp_path_factory.mktemp("runs") / "toy", toy_splits(train=8))


@pytest.fixture
def separation(polsess: Path) -> Callable[..., dict[str, Any]]:
    """Make the plain values of a tiny recipe; keywords update its sections."""

    def make(**sections: dict[str, Any]) -> dict[str, Any]:
        values = copy.deepcopy(VALUES)
        values["data"]["corpus"] = {"name": "polsess", "source": str(polsess)}
        for name, section in sections.items():
            values[name] = section if "name" in section else {**values.get(name, {}), **section}
        return values

    return make


def kill(target: str, call: int, when: str = "before") -> dict[str, Any]:
    return {"target": target, "call": call, "when": when, "signal": int(signal.SIGKILL)}


def events(run: Path, name: str) -> list[dict[str, Any]]:
    return [event for event in RunDirectory.open(run).events.read() if event["event"] == name]


def test_a_killed_run_repeats_bit_for_bit(trial_of: Callable[[dict[str, Any]], Any], separation: Callable[..., dict[str, Any]]) -> None:
    """Stage of the curriculum, best score and wait of the plateau, loss scale of float16: losing any of them changes the weights."""
    whole, killed = trial_of(separation()), trial_of(separation())
    assert whole.train() == 0, whole.said
    for fault in (kill(STEP, 3), kill(STEP, 6), kill(SAVE, 2, "half"), kill(JUDGE, 2), kill(FINISH, 1)):
        assert killed.train(fault) == -signal.SIGKILL, killed.said
        assert killed.run.state is State.CRASHED
    assert killed.train() == 0, killed.said
    assert killed.differences(whole) == []


def test_one_bad_mixture_is_refused_named_and_never_used_again(
    separation: Callable[..., dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = Recipe.from_dict(separation(data={"workers": 0}, precision={"compute": "float32"}, task={"remix": 0.0}))
    culprit = next(iter(recipe.task.build(recipe=recipe).cuts("train"))).id
    original, seen = Separation.training_batch, []

    def faulty(self: Separation, cuts: Sequence[Any], random: Any, update: int) -> Any:
        batch = original(self, cuts, random, update)
        seen.append(batch.ids)
        if culprit in batch.ids:
            batch.mixture[batch.ids.index(culprit), 100] = math.nan
        return batch

    monkeypatch.setattr(Separation, "training_batch", faulty)
    result = train(recipe, root=tmp_path)
    [refusal] = events(result.run, "refused")
    assert refusal["culprits"] == [culprit]
    assert refusal["remedy"] == "skip"
    assert "float32" in refusal["place"]
    uses = [index for index, ids in enumerate(seen) if culprit in ids]
    assert len(uses) == 1
    assert len(seen) - uses[0] >= 4
    weights = load_checkpoint(RunDirectory.open(result.run).checkpoint("last"))["model"]
    assert all(bool(value.isfinite().all()) for value in weights.values())
    assert np.isfinite(list(result.metrics.values())).all()


def test_a_format_the_model_does_not_survive_is_refused_before_anything_is_trained(
    separation: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    """R4: half-precision runs of a Mamba separator called bfloat16 were float16, and ended in NaN after days."""
    values = separation(model={"name": "spmamba"})
    with pytest.raises(UserError, match=r"precision\.compute: spmamba does not work in float16.*use float32 or bfloat16"):
        train(Recipe.from_dict(values), root=tmp_path)


def test_the_formats_that_were_used_are_recorded(separation: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    """R4's fault was silent: nothing said in which format a part of the model worked."""
    formats = {}
    for compute in ("float32", "bfloat16"):
        result = train(Recipe.from_dict(separation(precision={"compute": compute}, budget={"updates": 1})), root=tmp_path)
        [event] = events(result.run, "number_formats")
        assert event["asked"] == compute
        formats[compute] = event["parts"]
    assert set(formats["float32"].values()) == {"float32"}
    assert "bfloat16" in formats["bfloat16"].values()


def test_an_overflow_in_half_precision_falls_back_to_float32_and_names_its_place(
    separation: Callable[..., dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The events of R4's diverged run, planted: a part of the model overflows whatever it is given, unless in float32."""
    from auscult.models.conv_tasnet import TemporalBlock

    original = TemporalBlock.forward

    def overflowing(self: Any, *inputs: Any) -> Any:
        output = original(self, *inputs)
        if not torch.is_autocast_enabled("cpu"):
            return output
        return tuple(one * torch.inf if one is not None else None for one in output) if isinstance(output, tuple) else output * torch.inf

    monkeypatch.setattr(TemporalBlock, "forward", overflowing)
    values = separation(precision={"compute": "bfloat16"}, data={"workers": 0}, budget={"updates": 20})
    values["guard"] = {"trips": 1}
    result = train(Recipe.from_dict(values), root=tmp_path)
    refusals = events(result.run, "refused")
    assert [event["remedy"] for event in refusals] == ["skip", "restore", "float32"]
    assert all("TemporalBlock" in event["place"] or "blocks" in event["place"] for event in refusals)
    assert np.isfinite(result.metrics["si_sdri"])


def test_a_compiled_model_has_the_same_tensors(separation: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    recipe = Recipe.from_dict(separation())
    task = recipe.task.build(recipe=recipe)
    plain = task.build_model()
    compiled = torch.compile(task.build_model(), backend="eager")
    path = tmp_path / "compiled.pt"
    save_checkpoint(path, compiled.state_dict(), task.specification, update=1)
    payload = load_checkpoint(path)
    assert list(payload["model"]) == list(plain.state_dict())
    load_weights(plain, payload, task.specification, path)
    load_weights(compiled, payload, task.specification, path)
    assert all(torch.equal(one, other) for one, other in zip(plain.state_dict().values(), compiled.state_dict().values(), strict=True))


def test_the_first_module_with_a_bad_number_is_named() -> None:
    model = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.ReLU(), torch.nn.Linear(2, 1))
    assert first_not_finite(model, lambda: model(torch.ones(1, 2))) == ""
    with torch.no_grad():
        model[2].weight[0, 0] = torch.inf
        model[0].weight.fill_(1.0)
    assert first_not_finite(model, lambda: model(torch.ones(1, 2))) == "2 (Linear, float32)"


def test_a_run_is_evaluated_and_kept_to_listen_to(separation: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    values = separation(precision={"compute": "float32"}, data={"workers": 0, "test": "test"}, budget={"updates": 2})
    result = train(Recipe.from_dict(values), root=tmp_path)
    judged = evaluate(result.run)
    assert judged.summary["metrics"]["unjudged"] == 0
    assert {item["variant"] for item in judged.items} == {"SER", "SE"}
    assert (result.run / "listening" / "test.json").is_file()
