"""One bad batch in a whole training run: finite parameters and buffers at the end, the utterance named, the metric unharmed."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

from auscult.errors import UserError
from auscult.recipe import Recipe
from auscult.runs.directory import RunDirectory, find_runs
from auscult.runs.state import State
from auscult.tasks.base import Loss
from auscult.tasks.recognition import Recognition
from auscult.testing.corpora import toy_corpus
from auscult.training.checkpoint import load_checkpoint
from auscult.training.sentinel import Diverged
from auscult.training.stepper import Step, Stepper
from auscult.training.train import TrainResult, train

Make = Callable[..., Recipe]
BUDGET = {"updates": 25, "evaluate_every": 25, "checkpoint_every": 5}
CULPRIT = "s1/s1_002"


class Killed(BaseException):
    """Ends training between two updates, as kill -9 would: nothing is saved after it."""


def poison(monkeypatch: pytest.MonkeyPatch, value: float, culprit: str = CULPRIT) -> list[tuple[str, ...]]:
    """Make `collate` write a value into the samples of one utterance; return the list of all training batches to come."""
    collate, seen = Recognition.collate, []

    def faulty(self: Recognition, cuts: Sequence[Any], random: Any = None) -> Any:
        batch = collate(self, cuts, random)
        if random is not None:
            seen.append(batch.ids)
            if culprit in batch.ids:
                batch.samples[batch.ids.index(culprit), 100] = value
        return batch

    monkeypatch.setattr(Recognition, "collate", faulty)
    return seen


def refusals(result: TrainResult | RunDirectory) -> list[dict[str, Any]]:
    run = result if isinstance(result, RunDirectory) else RunDirectory.open(result.run)
    return [event for event in run.events.read() if event["event"] == "refused"]


def assert_finite(path: Path) -> None:
    for which in ("last", "best"):
        weights = load_checkpoint(RunDirectory.open(path).checkpoint(which))["model"]
        assert all(bool(value.isfinite().all()) for value in weights.values() if value.is_floating_point())


@pytest.mark.parametrize("architecture", ["conv_ctc", "deepspeech2"])
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_bad_samples_are_refused_named_and_never_used_again(
    recipe: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, architecture: str, value: float
) -> None:
    clean = train(recipe(architecture, budget=BUDGET), root=tmp_path / "clean")
    seen = poison(monkeypatch, value)
    hit = train(recipe(architecture, budget=BUDGET), root=tmp_path / "hit")
    [refusal] = refusals(hit)
    assert refusal["culprits"] == [CULPRIT]
    assert refusal["remedy"] == "skip"
    assert refusal["cause"] == "loss"
    assert CULPRIT in refusal["ids"]
    # refused once, while later batches were perhaps loaded ahead; then never in a batch again
    uses = [index for index, ids in enumerate(seen) if CULPRIT in ids]
    assert len(uses) == 1
    assert len(seen) - uses[0] > 20
    assert_finite(hit.run)
    assert hit.metrics["loss"] == pytest.approx(clean.metrics["loss"], rel=0.1)


def test_a_resumed_run_remembers_the_quarantine(recipe: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = recipe("deepspeech2", budget=BUDGET)
    seen = poison(monkeypatch, math.nan)
    whole = train(made, root=tmp_path / "whole")
    step, calls = Stepper.step, 0

    def dying(self: Stepper, batches: Any, update: int) -> Step:
        nonlocal calls
        calls += 1
        if calls in (12, 20):
            raise Killed
        return step(self, batches, update)

    monkeypatch.setattr(Stepper, "step", dying)
    for _ in range(2):
        with pytest.raises(Killed):
            train(made, root=tmp_path / "killed")
    seen.clear()
    resumed = train(made, root=tmp_path / "killed")
    assert resumed.action == "resumed"
    assert seen
    assert not any(CULPRIT in ids for ids in seen)
    assert (resumed.run / "model.safetensors").read_bytes() == (whole.run / "model.safetensors").read_bytes()
    assert [event["culprits"] for event in refusals(resumed)] == [[CULPRIT]]


def test_a_file_with_nan_is_named_and_counted_against_the_budget(recipe: Make, tmp_path: Path) -> None:
    manifest = toy_corpus(tmp_path / "corpus", speakers=3, utterances=6, letters=(8, 10), sample_rate=8000)
    victim = tmp_path / "corpus" / "s0" / "s0_001.wav"
    samples, rate = soundfile.read(victim, dtype="float32")
    samples[50] = np.nan
    soundfile.write(victim, samples, rate, subtype="FLOAT")
    data = {"corpus": {"name": "folder", "source": str(manifest)}}
    with pytest.raises(UserError, match=r"s0_001\.wav.*error budget is 0.*raise data\.error_budget"):
        train(recipe(data=data), root=tmp_path / "strict")
    [failed] = find_runs(tmp_path / "strict")
    assert RunDirectory.open(failed).state is State.CRASHED
    assert "s0_001.wav" in RunDirectory.open(failed).reason
    result = train(recipe(data={**data, "error_budget": 1}), root=tmp_path / "tolerant")
    notes = [event["text"] for event in RunDirectory.open(result.run).events.read() if event["event"] == "note"]
    assert sum("left out" in note and "s0/s0_001" in note for note in notes) == 1
    assert_finite(result.run)


def multiply_loss(monkeypatch: pytest.MonkeyPatch, factor: Callable[[int], float]) -> None:
    """Multiply the loss of the n-th training batch (from 1)."""
    loss, calls = Recognition.loss, 0

    def faulty(self: Recognition, model: Any, batch: Any) -> Loss:
        nonlocal calls
        calls += 1
        made = loss(self, model, batch)
        return Loss(made.value * factor(calls), made.items)

    monkeypatch.setattr(Recognition, "loss", faulty)


@pytest.mark.parametrize(("factor", "cause"), [(1e36, "gradient"), (1e6, "spike")])
def test_an_exploding_gradient_is_refused(recipe: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, factor: float, cause: str) -> None:
    multiply_loss(monkeypatch, lambda call: factor if call == 20 else 1.0)
    result = train(recipe(budget=BUDGET, guard={"window": 8}), root=tmp_path)
    [refusal] = refusals(result)
    assert refusal["update"] == 20
    assert refusal["cause"] == cause
    assert len(refusal["ids"]) == 4
    assert_finite(result.run)


def test_a_lasting_rise_of_the_gradient_does_not_end_the_run(recipe: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Finite updates are refused as spikes a bounded number of times, then taken for what they are."""
    multiply_loss(monkeypatch, lambda call: 1e3 if call > 12 else 1.0)
    result = train(recipe(budget=BUDGET, guard={"window": 8, "trips": 2}), root=tmp_path)
    assert [(event["update"], event["remedy"]) for event in refusals(result)] == [(13, "skip"), (14, "skip")]
    assert_finite(result.run)


def test_nan_inside_the_forward_pass_is_refused(recipe: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    build, calls = Recognition.build_model, 0

    def hook(module: Any, inputs: Any, output: torch.Tensor) -> torch.Tensor | None:
        nonlocal calls
        calls += module.training
        return output * math.nan if calls == 7 and module.training else None

    def hooked(self: Recognition) -> torch.nn.Module:
        model = build(self)
        next(module for module in model.modules() if isinstance(module, torch.nn.Conv2d)).register_forward_hook(hook)
        return model

    monkeypatch.setattr(Recognition, "build_model", hooked)
    result = train(recipe("deepspeech2", budget=BUDGET), root=tmp_path)
    [refusal] = refusals(result)
    assert refusal["update"] == 7
    assert refusal["culprits"] == []  # nobody's fault: every item is fine when tried again
    assert_finite(result.run)


@pytest.mark.parametrize("update", [8, 25])
@pytest.mark.parametrize("place", ["running_mean", "weight"])
def test_a_poisoned_state_is_neither_used_nor_judged_nor_saved(
    recipe: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str, update: int
) -> None:
    """Poisoned between two updates (8), and after the last one (25), where no further update could notice."""
    step = Stepper.step

    def poisoning(self: Stepper, batches: Any, number: int) -> Step:
        done = step(self, batches, number)
        if number + 1 == update:
            module = next(module for module in self.model.modules() if getattr(module, "running_mean", None) is not None)
            getattr(module, place).data[0] = math.nan
        return done

    monkeypatch.setattr(Stepper, "step", poisoning)
    result = train(recipe("deepspeech2", budget={**BUDGET, "ema": 0.5}, guard={"snapshot_every": 3}), root=tmp_path)
    [refusal] = refusals(result)
    assert (refusal["cause"], refusal["remedy"]) == ("state", "restore")
    assert_finite(result.run)
    assert math.isfinite(result.metrics["loss"])


def test_float16_overflow_lowers_the_scale_and_training_goes_on(recipe: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    multiply_loss(monkeypatch, lambda call: 300.0)
    result = train(recipe(budget={**BUDGET, "clip": 1.0}, precision={"compute": "float16"}), root=tmp_path)
    assert {(event["cause"], event["remedy"]) for event in refusals(result)} == {("scale", "rescale")}
    steps = [event for event in RunDirectory.open(result.run).events.read() if event["event"] == "step"]
    assert math.isfinite(steps[-1]["gradient_norm"])
    assert len(refusals(result)) < 15
    assert_finite(result.run)


def test_a_run_beyond_help_ends_as_diverged(recipe: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    multiply_loss(monkeypatch, lambda call: math.nan if call > 6 else 1.0)
    with pytest.raises(Diverged, match=r"the loss is not finite and every remedy was tried 2 times") as caught:
        train(recipe(budget=BUDGET, guard={"trips": 2}), root=tmp_path)
    assert caught.value.exit_code == 1
    [path] = find_runs(tmp_path)
    run = RunDirectory.open(path)
    assert run.state is State.DIVERGED
    assert run.reason == str(caught.value)
    assert [event["remedy"] for event in refusals(run)] == ["skip", "skip", "restore", "lower_lr", "restore", "lower_lr", "stop"]
    assert run.events.read()[-1]["state"] == "DIVERGED"
    weights = load_checkpoint(run.checkpoint("last"))["model"]
    assert all(bool(value.isfinite().all()) for value in weights.values())


def test_snapshots_survive_a_stop(recipe: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A restore after a stop goes back to where it would have gone without the stop."""
    step = Stepper.step
    stop_at = -1

    def poisoning(self: Stepper, batches: Any, number: int) -> Step:
        import signal

        if number == stop_at:
            signal.raise_signal(signal.SIGTERM)
        done = step(self, batches, number)
        if number == 18:
            self.parameters[0].data[0] = math.nan
        return done

    from auscult.training.interruption import Interrupted

    monkeypatch.setattr(Stepper, "step", poisoning)
    made = recipe(budget={"updates": 24, "evaluate_every": 24, "checkpoint_every": 12}, guard={"snapshot_every": 4})
    whole = train(made, root=tmp_path / "whole")
    stop_at = 17
    with pytest.raises(Interrupted):
        train(made, root=tmp_path / "stopped")
    stop_at = -1
    resumed = train(made, root=tmp_path / "stopped")
    assert [event["remedy"] for event in refusals(resumed)] == ["restore"]
    assert (resumed.run / "model.safetensors").read_bytes() == (whole.run / "model.safetensors").read_bytes()
