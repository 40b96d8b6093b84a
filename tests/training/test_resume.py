"""Kill a run anywhere, run it again: the same bits as if nothing had happened."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from auscult.runs.state import State
from auscult.training.checkpoint import load_checkpoint

STEP = "auscult.training.stepper:Stepper.step"
OPTIMIZER = "torch.optim:Adam.step"
SAVE = "torch:save"
RENAMED = "auscult.training.trainer:save_checkpoint"
JUDGE = "auscult.tasks.recognition:Recognition.judge"
EVENT = "auscult.runs.events:EventLog.append"
FINISH = "auscult.runs.directory:RunDirectory.write_items"

CONVOLUTIONAL: dict[str, Any] = {
    "data": {"workers": 2, "augment": [{"name": "speed", "factors": [0.9, 1.0]}]},
    "schedule": {"name": "plateau", "patience": 1, "threshold": 0.02, "warm_up": 3},
    "budget": {
        "updates": 16,
        "evaluate_every": 3,
        "checkpoint_every": 4,
        "accumulate": 2,
        "ema": 0.8,
        "keep": 3,
        "average_best": True,
        "clip": 5.0,
    },
}
RECURRENT: dict[str, Any] = {
    "model": {"feature_augmentation": [{"name": "spec_augment"}], "dropout": 0.1},
    "schedule": {"name": "cosine", "warm_up": 4},
    "budget": {
        "updates": 80,
        "evaluate_every": 3,
        "checkpoint_every": 4,
        "stop": {"metric": "loss", "patience": 3, "minimum_improvement": 0.05},
    },
}


def kill(target: str, call: int, when: str = "before") -> dict[str, Any]:
    return {"target": target, "call": call, "when": when, "signal": int(signal.SIGKILL)}


def test_killed_convolutional_run_repeats_bit_for_bit(trial: Callable[..., Any]) -> None:
    """Workers, accumulation, moving average, plateau in mid-patience, average of the best."""
    whole, killed = trial(**CONVOLUTIONAL), trial(**CONVOLUTIONAL)
    assert whole.train() == 0
    steps = whole.evidence()["steps"]
    assert len({lr for update, _, _, lr in steps if update > 4}) >= 3, "the plateau must really reduce the rate"
    for fault in (kill(STEP, 3), kill(SAVE, 3, "half"), kill(JUDGE, 4), kill(FINISH, 1)):
        assert killed.train(fault) == -signal.SIGKILL
        assert killed.run.state is State.CRASHED
    assert killed.train() == 0
    assert killed.differences(whole) == []
    assert not list(killed.run.path.rglob("*.tmp"))


def test_killed_recurrent_run_repeats_bit_for_bit(trial: Callable[..., Any]) -> None:
    """Batch norm, dropout, masks on features, cosine schedule, early stop."""
    whole, killed = trial("deepspeech2", **RECURRENT), trial("deepspeech2", **RECURRENT)
    assert whole.train() == 0
    assert "no improvement" in whole.run.reason
    assert 20 < len(whole.evidence()["steps"]) < 80
    for fault in (kill(OPTIMIZER, 6, "after"), kill(RENAMED, 3, "after"), kill(JUDGE, 2, "after")):
        assert killed.train(fault) == -signal.SIGKILL
    assert killed.train() == 0
    assert killed.differences(whole) == []


def test_an_altered_optimiser_state_is_seen(trial: Callable[..., Any]) -> None:
    """Shows that the comparison above can fail: a resumed run that lost its moments ends elsewhere."""
    whole, robbed = trial(), trial()
    assert whole.train() == 0
    assert robbed.train(kill(STEP, 6)) == -signal.SIGKILL
    path = robbed.run.checkpoint("last")
    payload = load_checkpoint(path)
    for state in payload["optimizer"]["state"].values():
        state["exp_avg"].zero_()
    from auscult.specification import Specification
    from auscult.training.checkpoint import save_checkpoint

    specification = Specification.from_dict(payload.pop("specification"))
    save_checkpoint(path, payload.pop("model"), specification, **payload)
    assert robbed.train() == 0
    assert robbed.evidence()["weights"] != whole.evidence()["weights"]


def random_faults(seed: int, count: int) -> list[dict[str, Any]]:
    draw = random.Random(seed)
    places = [
        (STEP, "before", 5),
        (OPTIMIZER, "after", 5),
        (SAVE, "half", 3),
        (RENAMED, "after", 2),
        (JUDGE, "before", 2),
        (EVENT, "after", 8),
    ]
    chosen = [draw.choice(places) for _ in range(count)]
    return [kill(target, draw.randint(1, calls), when) for target, when, calls in chosen]


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize(("model", "sections"), [("conv_ctc", CONVOLUTIONAL), ("deepspeech2", RECURRENT)])
def test_ten_kills_at_random_places(trial: Callable[..., Any], model: str, sections: dict[str, Any], workers: int) -> None:
    budget = {**sections["budget"], "updates": 80}
    sections = {**sections, "budget": budget, "data": {**sections.get("data", {}), "workers": workers}}
    whole, killed = trial(model, **sections), trial(model, **sections)
    assert whole.train() == 0
    for fault in random_faults(workers, 10):
        assert killed.train(fault) == -signal.SIGKILL, killed.said
    assert killed.train() == 0
    assert killed.differences(whole) == []


@pytest.mark.slow
@pytest.mark.parametrize(("model", "sections"), [("conv_ctc", CONVOLUTIONAL), ("deepspeech2", RECURRENT)])
def test_ten_kills_at_random_times(trial: Callable[..., Any], model: str, sections: dict[str, Any]) -> None:
    """The clock decides where a kill falls; where a run was faster than its kill, another run takes its place."""
    whole = trial(model, **sections)
    began = time.monotonic()
    assert whole.train() == 0
    longest = time.monotonic() - began
    draw = random.Random(0)
    killed, kills = [trial(model, **sections)], 0
    for _ in range(60):
        pid = killed[-1].start()
        time.sleep(draw.uniform(0.0, longest))
        os.kill(pid, signal.SIGKILL)
        if killed[-1].nursery.wait(pid) == -signal.SIGKILL:
            kills += 1
        else:
            killed.append(trial(model, **sections))
            longest *= 0.7
        if kills == 10:
            break
    assert kills == 10
    for one in killed:
        assert one.train() == 0
        assert one.differences(whole) == []


def test_same_seed_twice_and_any_number_of_workers_give_the_same_bits(trial: Callable[..., Any]) -> None:
    runs = []
    for workers in (0, 0, 1, 2):
        one = trial(**{**CONVOLUTIONAL, "data": {**CONVOLUTIONAL["data"], "workers": workers}})
        assert one.train() == 0
        runs.append(one)
    for other in runs[1:]:
        assert other.differences(runs[0]) == []
    different = trial(**CONVOLUTIONAL, seed=1)
    assert different.train() == 0
    assert different.evidence()["weights"] != runs[0].evidence()["weights"]


def test_events_of_a_run_killed_before_its_first_checkpoint_start_over(trial: Callable[..., Any]) -> None:
    one = trial()
    assert one.train(kill(STEP, 3)) == -signal.SIGKILL
    assert not one.run.checkpoint("last").exists()
    assert one.train() == 0
    events = one.run.events.read()
    assert [event["event"] for event in events].count("start") == 1
    updates = [event["update"] for event in events if event["event"] == "step"]
    assert updates == list(range(1, 13))


def test_leftover_of_a_killed_write_does_not_stay(trial: Callable[..., Any], tmp_path: Path) -> None:
    one = trial()
    assert one.train(kill(SAVE, 1, "half")) == -signal.SIGKILL
    leftovers = list(one.run.path.rglob("*.tmp"))
    assert leftovers
    assert one.train() == 0
    assert not any(path.exists() for path in leftovers)
    assert torch.load(one.run.checkpoint("last"), weights_only=True)["update"] == 12
