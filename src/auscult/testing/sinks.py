"""The conformance suite for sinks: call it from a test of your own sink class.

It plays a run as training would (steps, evaluations, non-finite numbers, kinds of events nobody has heard of),
interrupts it, resumes it, and checks that the sink neither fails nor changes what it is given.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

from auscult.runs.sink import Sink

RECIPE: dict[str, Any] = {"task": "recognition", "model": {"name": "conv_ctc", "width": 64}, "seed": 7, "optimizer": {"lr": 0.001}}
"""The resolved recipe of the played run."""


def step(update: int, loss: float) -> dict[str, Any]:
    """Return a training step's event as the trainer writes it."""
    numbers = {
        "epoch": update / 10,
        "loss": loss,
        "gradient_norm": 1.5,
        "lr": 1e-3,
        "items": 8,
        "audio_seconds": 20.0,
        "elapsed": 0.5 * update,
    }
    return {"event": "step", "time": 1000.0 + update, "update": update, **numbers}


def evaluation(update: int, wer: float) -> dict[str, Any]:
    """Return an evaluation's event as the trainer writes it."""
    metrics = {"wer": wer, "cer": wer / 2}
    return {"event": "evaluation", "time": 1000.0 + update, "update": update, "split": "validation", "metrics": metrics, "seconds": 1.0}


def first_session() -> list[dict[str, Any]]:
    """Return the events of a run up to the moment it is killed, after update 4 and with a checkpoint at update 3."""
    return [
        {"event": "start", "time": 1000.0, "verb": "train", "task": "recognition", "model": "conv_ctc", "recipe": "recipe.yaml"},
        {"event": "model", "time": 1000.0, "parameters": 1000, "macs_per_second": None, "frame_step": 0.02, "front_end": {}, "parts": []},
        step(1, 3.0),
        step(2, math.nan),
        {"event": "refused", "time": 1002.5, "update": 2, "cause": "loss", "ids": ["a", "b"], "culprits": ["a"], "remedy": "skip"},
        step(3, math.inf),
        evaluation(3, 0.5),
        {"event": "checkpoint", "time": 1003.5, "update": 3, "which": "last"},
        {"event": "an_event_of_the_future", "time": 1003.6, "anything": {"nested": [1, None, "text"]}},
        step(4, 2.0),
    ]


def second_session() -> list[dict[str, Any]]:
    """Return the events after the run was resumed from update 3."""
    return [
        {"event": "resumed", "time": 2000.0, "update": 3},
        {"event": "note", "time": 2000.1, "text": "code changed: training/stepper.py"},
        step(4, 1.9),
        evaluation(4, 0.25),
        {
            "event": "step",
            "time": 2001.0,
            "index": 0,
            "update": 5,
            "loss": 0.5,
            "gradient_norm": 1.0,
            "frame_error": 0.1,
            "cer": None,
            "elapsed": 1.0,
        },
        {"event": "end", "time": 2002.0, "state": "COMPLETE", "reason": ""},
    ]


def check_sink(make: Callable[[], Sink], folder: Path) -> None:
    """Check that a sink keeps its contract; whatever it writes stays in the folder for further checks.

    Args:
        make: returns a new sink; called once per session.
        folder: an empty folder that stands for the run directory.

    Raises:
        AssertionError: the sink changed an event or the recipe, or could not be closed twice.
        Exception: whatever the sink raised; the event it was given is added as a note.
    """
    for events in (first_session(), second_session()):
        sink = make()
        assert isinstance(sink, Sink), f"{type(sink).__name__} must be a subclass of auscult.runs.sink.Sink"
        recipe = copy.deepcopy(RECIPE)
        sink.open(folder, recipe)
        assert recipe == RECIPE, f"{type(sink).__name__}.open changed the recipe it was given; work on a copy"
        for event in events:
            _write(sink, event)
        sink.close()
        sink.close()


def _write(sink: Sink, event: dict[str, Any]) -> None:
    before = repr(event)
    try:
        sink.write(event)
    except Exception as error:
        error.add_note(f"while {type(sink).__name__} was given {before}")
        raise
    assert repr(event) == before, f"{type(sink).__name__}.write changed the event {before}; work on a copy"
