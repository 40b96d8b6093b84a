"""A check run as the figures need it: one record per utterance, read from the event log.

Why a record between log and figure: five figures and a page show the same numbers, and they can only agree if each number
is derived once. Nothing is filled in: what the log does not have is nan or None, and the figures say so.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from auscult.errors import UserError
from auscult.runs.directory import RunDirectory

Floats = NDArray[np.float64]
SERIES = ("update", "loss", "gradient_norm", "frame_error", "cer", "elapsed")
_ALWAYS = ("update", "loss", "gradient_norm", "elapsed")


@dataclass(frozen=True)
class Overfit:
    """One utterance that the model was asked to learn by heart.

    Attributes:
        start: its "utterance" event (lengths, baseline and initial loss, threshold).
        steps: name in `SERIES`, and of everything else the task measures, to (logged steps,) float64, nan where not measured; elapsed in
            seconds.
        end: its "utterance_end" event; empty while it has none.
    """

    start: Mapping[str, Any]
    steps: Mapping[str, Floats]
    end: Mapping[str, Any]

    @property
    def number(self) -> int:
        """Position in the run, from 1."""
        return int(self.start["index"]) + 1

    @property
    def id(self) -> str:
        """Id of the utterance."""
        return str(self.start.get("id", self.number))

    @property
    def label(self) -> str:
        """Short name for legends."""
        return f"{self.number} · {self.id}"

    def number_of(self, key: str) -> float:
        """Return a number of the start event, nan where it is absent."""
        return _number(self.start.get(key))

    def result(self, key: str) -> float:
        """Return a number of the end event, nan where it is absent."""
        return _number(self.end.get(key))

    @property
    def stop_reason(self) -> str:
        """Why it stopped; "not finished" without an end."""
        return str(self.end.get("stop_reason", "not finished"))

    @property
    def reached(self) -> bool:
        """Whether the loss of the very last update is below the threshold, whatever the stop reason says."""
        return self.stop_reason == "threshold" and self.result("loss") < self.number_of("threshold")

    @property
    def right(self) -> bool | None:
        """Whether the output is what was to be learned; None where it is not known."""
        stated = self.end.get("right")
        if isinstance(stated, bool):
            return stated
        rate = self.result("cer")  # logs of transcripts from before the field
        return None if math.isnan(rate) else rate == 0

    @property
    def margin(self) -> float:
        """Output frames beyond the fewest that can spell the target."""
        return self.number_of("output_frames") - self.number_of("required_frames")

    @property
    def updates_per_second(self) -> float:
        """Updates over the seconds the utterance took; nan where either is missing."""
        seconds = self.result("seconds")
        return self.result("update") / seconds if seconds > 0 else math.nan


@dataclass(frozen=True)
class Check:
    """A check run.

    Attributes:
        run: its directory.
        start: first event (task, model, recipe).
        model: "model" event; empty where there is none.
        utterances: in the order they were run.
        independence: "batch_independence" event; empty where the test was not run.
        end: "end" event; empty while there is none.
    """

    run: RunDirectory
    start: Mapping[str, Any]
    model: Mapping[str, Any]
    utterances: tuple[Overfit, ...]
    independence: Mapping[str, Any]
    end: Mapping[str, Any]

    @property
    def subtitle(self) -> str:
        """Which run, for the head of a figure."""
        count = len(self.utterances)
        words = f"1 {self.noun}, fresh weights" if count == 1 else f"{count:,} single {self.noun}s, fresh weights each"
        return f"{self.run.path.name}  ·  {self.start.get('model', 'unknown model')}  ·  {words}  ·  {self.state}"

    @property
    def noun(self) -> str:
        """What is learned by heart."""
        return {"diarization": "window", "separation": "mixture"}.get(str(self.start.get("task")), "utterance")

    @cached_property
    def state(self) -> str:
        """State of the run now."""
        return str(self.run.state)

    @property
    def frame_step(self) -> float:
        """Seconds per output frame; nan where unknown."""
        return _number(self.model.get("frame_step"))

    @cached_property
    def signed(self) -> bool:
        """Whether losses are levels that pass through 0, such as a ratio in dB, and belong on a linear axis; told by the threshold."""
        return bool(np.any(self.column("threshold") <= 0))

    @cached_property
    def earlier_updates(self) -> tuple[int, ...]:
        """Updates that an earlier log states for the same utterances (`check.earlier_updates` of the recipe); empty where it has none."""
        recipe = self.start.get("recipe")
        section = recipe.get("check") if isinstance(recipe, dict) else None
        stated = section.get("earlier_updates") if isinstance(section, dict) else None
        return tuple(int(value) for value in stated or ())[: len(self.utterances)]

    @property
    def extra_measures(self) -> list[str]:
        """Names of what the task measures of its outputs, in order of appearance."""
        return list(
            dict.fromkeys(
                name
                for utterance in self.utterances
                for name, values in utterance.steps.items()
                if name not in _ALWAYS and np.isfinite(values).any()
            )
        )

    def column(self, key: str) -> Floats:
        """Return a number of every utterance's start event, (utterances,); "margin" is derived from two of them."""
        if key == "margin":
            return np.array([utterance.margin for utterance in self.utterances])
        return np.array([utterance.number_of(key) for utterance in self.utterances])

    def results(self, key: str) -> Floats:
        """Return a number of every utterance's end event, (utterances,)."""
        return np.array([utterance.result(key) for utterance in self.utterances])

    def stop_reasons(self) -> dict[str, int]:
        """Return how many utterances stopped for each reason, in order of first appearance."""
        counts: dict[str, int] = {}
        for utterance in self.utterances:
            counts[utterance.stop_reason] = counts.get(utterance.stop_reason, 0) + 1
        return counts

    def arrays(self, utterance: Overfit) -> dict[str, NDArray[Any]] | None:
        """Return the arrays stored for an utterance, or None where none were.

        Raises:
            UserError: the file is damaged.
        """
        path = self.run.path / "arrays" / f"{utterance.number - 1}.npz"
        if not path.exists():
            return None
        try:
            with np.load(path, allow_pickle=False) as stored:
                return {name: stored[name] for name in stored.files}
        except (OSError, ValueError, EOFError) as error:
            raise UserError(f"{path}: cannot be read ({error}); delete it and run the check again") from error


def read_check(path: Path) -> Check:
    """Read a check run from its event log.

    Raises:
        UserError: the path is no run, is not a check, or has checked no utterance yet.
    """
    run = RunDirectory.open(path)
    events = run.events.read()
    start = _last(events, "start")
    if start.get("verb") != "check":
        raise UserError(f"{run.path}: expected a run of `auscult check`, its log begins with verb {start.get('verb')!r}")
    begun: dict[int, dict[str, Any]] = {}
    steps: dict[int, list[dict[str, Any]]] = {}
    ended: dict[int, dict[str, Any]] = {}
    for event in events:
        kind, index = event["event"], int(event.get("index", -1))
        if kind == "utterance":  # begun again after an interruption: what came before does not count
            begun[index], steps[index] = event, []
            ended.pop(index, None)
        elif kind == "step" and index in begun:
            steps[index].append(event)
        elif kind == "utterance_end" and index in begun:
            ended[index] = event
    if not begun:
        raise UserError(f"{run.path}: no utterance has been checked yet; run `auscult check` again to continue it")
    extra = dict.fromkeys(key for own in steps.values() for step in own for key, value in step.items() if isinstance(value, float))
    names = (*SERIES, *(name for name in extra if name not in (*SERIES, "time")))
    utterances = tuple(Overfit(begun[index], series(steps[index], names), ended.get(index, {})) for index in sorted(begun))
    return Check(run, start, _last(events, "model"), utterances, _last(events, "batch_independence"), _last(events, "end"))


def series(events: list[dict[str, Any]], names: tuple[str, ...]) -> dict[str, Floats]:
    """Return numbers of many events by name, each (events,) float64 with nan for what is absent or null."""
    return {name: np.array([_number(event.get(name)) for event in events], dtype=np.float64) for name in names}


def _number(value: Any) -> float:
    return float(value) if isinstance(value, int | float) else math.nan


def _last(events: list[dict[str, Any]], kind: str) -> dict[str, Any]:
    return next((event for event in reversed(events) if event["event"] == kind), {})
