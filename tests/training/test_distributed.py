"""Two processes do exactly what one process does with twice the accumulation, and agree on every decision."""

from __future__ import annotations

import signal
import socket
from collections.abc import Callable
from typing import Any

import pytest
import torch

from auscult.runs.state import State
from auscult.training.checkpoint import load_checkpoint
from auscult.training.distributed import World

STEP = "auscult.training.stepper:Stepper.step"
BUDGET = {"updates": 10, "evaluate_every": 4, "checkpoint_every": 4}
EVEN = {"items": 3}  # 18 utterances: 6 batches, 3 for each of 2 processes


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def train_two(one: Any, *faults: dict[str, Any]) -> tuple[int, int]:
    """Train with the environment `torchrun` would make; return both exit codes."""
    shared = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    pids = [one.start(*faults, RANK=str(rank), LOCAL_RANK=str(rank), **shared) for rank in range(2)]
    first, second = (one.nursery.wait(pid) for pid in pids)
    return first, second


def last(one: Any) -> dict[str, torch.Tensor]:
    weights: dict[str, torch.Tensor] = load_checkpoint(one.run.checkpoint("last"))["model"]
    return weights


def steps(one: Any) -> list[dict[str, Any]]:
    return [event for event in one.run.events.read() if event["event"] == "step"]


def test_two_processes_equal_accumulation_and_repeat_themselves(trial: Callable[..., Any]) -> None:
    single = trial(data={"batch": EVEN}, budget={**BUDGET, "accumulate": 2, "clip": 3.0})
    assert single.train() == 0
    pair, again = (trial(data={"batch": EVEN}, budget={**BUDGET, "clip": 3.0}) for _ in range(2))
    assert train_two(pair) == (0, 0), pair.said
    assert train_two(again) == (0, 0), again.said
    for name, value in last(single).items():
        assert torch.allclose(value, last(pair)[name], rtol=0, atol=1e-6), name
    assert all(torch.equal(value, last(again)[name]) for name, value in last(pair).items())
    for one, other in zip(steps(single), steps(pair), strict=True):
        assert one["loss"] == pytest.approx(other["loss"], rel=1e-5)
        assert one["audio_seconds"] == pytest.approx(other["audio_seconds"])
        assert one["items"] == other["items"] == 6
    assert [event["event"] for event in pair.run.events.read()].count("start") == 1
    judged = [item["id"] for item in pair.run.read_items("validation")]
    assert judged == [item["id"] for item in single.run.read_items("validation")]


def test_two_processes_stop_together_and_continue_bit_for_bit(trial: Callable[..., Any]) -> None:
    """Only both processes together know whether to stop; batch statistics of both count."""
    whole, stopped = (trial("deepspeech2", data={"batch": EVEN}, budget=BUDGET) for _ in range(2))
    assert train_two(whole) == (0, 0), whole.said
    stop = {"target": STEP, "call": 6, "when": "before", "signal": int(signal.SIGTERM)}
    assert train_two(stopped, stop) == (143, 143), stopped.said
    assert stopped.run.state is State.CANCELLED
    assert stopped.train() == 2  # alone: another sequence of batches
    assert "torchrun --nproc-per-node=2" in stopped.said
    assert train_two(stopped) == (0, 0), stopped.said
    assert all(torch.equal(value, last(stopped)[name]) for name, value in last(whole).items())


def test_a_world_of_one_communicates_nothing() -> None:
    world, tensor = World(), torch.tensor([2.0])
    world.sum([tensor])
    world.average([tensor])
    world.broadcast([tensor])
    world.barrier()
    assert tensor.item() == 2.0
    assert world.gather([1, 2]) == [1, 2]
    assert world.any(True, torch.device("cpu"))
    assert not world.any(False, torch.device("cpu"))
    assert world.main
