"""Ctrl-C and SIGTERM: saved at once, marked, the conventional exit code, and the same bits when the run is asked for again."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
import torch

from auscult.runs.state import State
from auscult.training.checkpoint import load_checkpoint
from auscult.training.interruption import listening

STEP = "auscult.training.stepper:Stepper.step"
JUDGE = "auscult.tasks.recognition:Recognition.judge"
SECTIONS: dict[str, Any] = {
    "data": {"workers": 2},
    "guard": {"snapshot_every": 2},
    "budget": {"updates": 12, "evaluate_every": 4, "checkpoint_every": 5, "ema": 0.8, "accumulate": 2},
}


def ask(target: str, call: int, number: int) -> dict[str, Any]:
    return {"target": target, "call": call, "when": "before", "signal": int(number)}


@pytest.mark.parametrize(
    ("target", "call", "number", "update"),
    [(STEP, 7, signal.SIGTERM, 7), (STEP, 6, signal.SIGINT, 6), (JUDGE, 2, signal.SIGTERM, 8), (JUDGE, 4, signal.SIGINT, 12)],
)
def test_a_stop_is_saved_and_continues_bit_for_bit(trial: Callable[..., Any], target: str, call: int, number: int, update: int) -> None:
    """In an update, in an evaluation with the moving average swapped in, and in the last judgement of all (4th call)."""
    whole, stopped = trial(**SECTIONS), trial(**SECTIONS)
    assert whole.train() == 0
    assert stopped.train(ask(target, call, number)) == 128 + number
    assert stopped.run.state is State.CANCELLED
    assert f"signal {int(number)} at update {update}; saved" in stopped.run.reason
    assert "Traceback" not in stopped.said
    assert load_checkpoint(stopped.run.checkpoint("last"))["update"] == update
    assert stopped.train() == 0
    assert stopped.differences(whole) == []


def test_several_stops_in_a_row_continue_bit_for_bit(trial: Callable[..., Any]) -> None:
    whole, stopped = trial("deepspeech2", **SECTIONS), trial("deepspeech2", **SECTIONS)
    assert whole.train() == 0
    for _ in range(4):
        assert stopped.train(ask(STEP, 3, signal.SIGTERM)) == 143
    assert stopped.train() == 0
    assert stopped.differences(whole) == []
    assert [step[0] for step in stopped.evidence()["steps"]] == list(range(1, 13))


def test_the_average_is_not_saved_as_the_weights(trial: Callable[..., Any]) -> None:
    """A stop during an evaluation must put the trained weights back before it saves."""
    one = trial(**SECTIONS)
    assert one.train(ask(JUDGE, 1, signal.SIGTERM)) == 143
    payload = load_checkpoint(one.run.checkpoint("last"))
    average = payload["training"]["parts"]["average"]["shadow"]
    assert payload["training"]["pending"]
    assert any(not torch.equal(average[name], value) for name, value in payload["model"].items())


def test_a_signal_from_outside_is_honoured_within_ten_seconds(trial: Callable[..., Any]) -> None:
    one = trial(data={"workers": 2}, budget={"updates": 100_000, "evaluate_every": 50})
    pid = one.start()
    deadline = time.monotonic() + 60
    while not (one.root.exists() and list(one.root.glob("*/checkpoints/last.pt"))):
        assert time.monotonic() < deadline, one.said
        time.sleep(0.05)
    began = time.monotonic()
    os.kill(pid, signal.SIGTERM)
    assert one.nursery.wait(pid) == 143
    assert time.monotonic() - began < 10
    assert one.run.state is State.CANCELLED


def test_the_first_signal_is_a_request_and_handlers_come_back() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with listening() as request:
        assert request.signal is None
        signal.raise_signal(signal.SIGTERM)
        assert request.signal == signal.SIGTERM
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_second_signal_ends_the_process_at_once(trial: Callable[..., Any]) -> None:
    one = trial()
    assert one.train(ask(STEP, 3, signal.SIGTERM), ask("auscult.training.trainer:Trainer.save", 1, signal.SIGTERM)) == -signal.SIGTERM
    assert one.run.state is State.CRASHED
    assert one.train() == 0


def test_outside_the_main_thread_signals_are_left_alone() -> None:
    seen: list[int | None] = []

    def use() -> None:
        with listening() as request:
            seen.append(request.signal)

    before = signal.getsignal(signal.SIGINT)
    thread = threading.Thread(target=use)
    thread.start()
    thread.join()
    assert seen == [None]
    assert signal.getsignal(signal.SIGINT) is before
