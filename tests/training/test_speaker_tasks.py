"""Verification and diarization on the spine: killed runs repeat bit for bit, one bad recording is refused by name and harms nothing."""

from __future__ import annotations

import copy
import json
import math
import signal
from collections.abc import Callable, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from auscult.data.verification_batch import VerificationBatch
from auscult.recipe import Recipe
from auscult.runs.directory import RunDirectory
from auscult.runs.state import State
from auscult.tasks.diarization import Diarization
from auscult.tasks.verification import Verification
from auscult.training.checkpoint import load_checkpoint
from auscult.training.train import train

STEP = "auscult.training.stepper:Stepper.step"
SAVE = "torch:save"
FINISH = "auscult.runs.directory:RunDirectory.write_items"
BUDGET = {"updates": 14, "evaluate_every": 5, "checkpoint_every": 4, "log_every": 1, "clip": 5.0}
TASKS: dict[str, dict[str, Any]] = {
    "verification": {
        "task": {
            "name": "verification",
            "max_frames": 50,
            "speeds": [0.9],
            "margin_warm_up": [0.2, 0.8],
            "loss": {"name": "additive_angular_margin"},
        },
        "data": {"batch": {"speakers": 4, "utterances": 2}, "augment": [{"name": "gain"}], "workers": 2},
        "model": {"name": "small_tdnn", "channels": 8, "blocks": 1, "wide": 16, "dimensions": 8},
    },
    "diarization": {
        "task": {"name": "diarization", "window": 2.0, "largest_share": 1.0},
        "data": {
            "batch": {"items": 4, "buckets": 1},
            "augment": [{"name": "gain"}],
            "conversations": {"counts": {"train": 6, "validation": 2}, "seconds": 4.0, "speakers": [2, 2], "turn": [0.8, 0.5]},
        },
        "model": {"name": "powerset_segmentation", "channels": 8, "blocks": 1},
    },
}
JUDGE = {
    "verification": "auscult.tasks.verification:Verification.judge",
    "diarization": "auscult.tasks.diarization:Diarization.judge",
}
CLASSES = {"verification": Verification, "diarization": Diarization}


@pytest.fixture(scope="session")
def voices(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six speakers of five recordings of buzzing with pauses, 2.6 s each, at 8 kHz; every speaker has a pitch."""
    folder, random = tmp_path_factory.mktemp("voices"), np.random.default_rng(0)
    time, rows = np.arange(20_800) / 8000, []
    for speaker, number in product(range(6), range(5)):
        buzz = sum(np.sin(2 * np.pi * harmonic * (90 + 25 * speaker) * time + number) / harmonic for harmonic in range(1, 6))
        spoken = (time % 1.3 > 0.3) * (0.15 * buzz + 0.02 * random.standard_normal(len(time)))
        name = f"s{speaker}_{number}.wav"
        soundfile.write(folder / name, spoken + 0.0005 * random.standard_normal(len(time)), 8000, subtype="PCM_16")
        rows.append(json.dumps({"audio": name, "speaker": f"s{speaker}"}))
    (folder / "manifest.jsonl").write_text("\n".join(rows) + "\n", encoding="utf-8")
    return folder / "manifest.jsonl"


@pytest.fixture
def speaker_values(voices: Path) -> Callable[[str], dict[str, Any]]:
    """Make the plain values of a tiny recipe of a task."""

    def make(task: str) -> dict[str, Any]:
        values = copy.deepcopy(TASKS[task])
        values["data"] |= {
            "corpus": {"name": "folder", "source": str(voices)},
            "sample_rate": 8000,
            "train": {"speakers": ["s0", "s1", "s2", "s3"]},
            "validation": {"speakers": ["s4", "s5"]},
        }
        return {**values, "optimizer": {"name": "adam", "lr": 3e-3}, "budget": dict(BUDGET)}

    return make


def kill(target: str, call: int, when: str = "before") -> dict[str, Any]:
    return {"target": target, "call": call, "when": when, "signal": int(signal.SIGKILL)}


@pytest.mark.parametrize("task", sorted(TASKS))
def test_a_killed_run_repeats_bit_for_bit(
    trial_of: Callable[[dict[str, Any]], Any], speaker_values: Callable[[str], dict[str, Any]], task: str
) -> None:
    whole, killed = trial_of(speaker_values(task)), trial_of(speaker_values(task))
    assert whole.train() == 0, whole.said
    for fault in (kill(STEP, 3), kill(STEP, 6), kill(SAVE, 2, "half"), kill(JUDGE[task], 2), kill(FINISH, 1)):
        assert killed.train(fault) == -signal.SIGKILL, killed.said
        assert killed.run.state is State.CRASHED
    assert killed.train() == 0, killed.said
    assert killed.differences(whole) == []


def poison(monkeypatch: pytest.MonkeyPatch, task: str, culprit: str) -> list[tuple[str, ...]]:
    """Make `collate` write NaN into the samples of one item; return the ids of all training batches to come."""
    kind: Any = CLASSES[task]
    collate, seen = kind.collate, []

    def faulty(self: Any, cuts: Sequence[Any], random: Any = None) -> Any:
        batch = collate(self, cuts, random)
        if random is not None:
            seen.append(batch.ids)
            for place, identity in enumerate(batch.ids):
                if identity == culprit:
                    rows = batch.samples.flatten(0, 1) if isinstance(batch, VerificationBatch) else batch.samples
                    rows[place, 100] = math.nan
        return batch

    monkeypatch.setattr(kind, "collate", faulty)
    return seen


@pytest.mark.parametrize("task", sorted(TASKS))
def test_one_bad_recording_is_refused_named_and_never_used_again(
    speaker_values: Callable[[str], dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, task: str
) -> None:
    values = speaker_values(task)
    values["data"]["workers"] = 0
    recipe = Recipe.from_dict(values)
    culprit = next(iter(recipe.task.build(recipe=recipe).cuts("train"))).id
    seen = poison(monkeypatch, task, culprit)
    result = train(recipe, root=tmp_path)
    run = RunDirectory.open(result.run)
    refusals = [event for event in run.events.read() if event["event"] == "refused"]
    assert [event["culprits"] for event in refusals] == [[culprit]]
    uses = [index for index, ids in enumerate(seen) if culprit in ids]
    assert len(uses) == 1
    assert len(seen) - uses[0] >= 4
    for which in ("last", "best"):
        weights = load_checkpoint(run.checkpoint(which))["model"]
        assert all(bool(value.isfinite().all()) for value in weights.values() if value.is_floating_point())
    assert np.isfinite(list(result.metrics.values())).all()
