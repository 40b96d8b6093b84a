"""A training run as figures and pages need it, read from the event log and the judged items.

A resumed run's log holds each update once, because training truncates the log to the checkpoint it resumes from; were an update
to appear twice all the same, the later one counts.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from auscult.errors import UserError
from auscult.report.check_record import Floats, series
from auscult.runs.directory import RunDirectory

SERIES = ("update", "epoch", "loss", "gradient_norm", "lr", "items", "audio_seconds", "elapsed")


@dataclass(frozen=True)
class Judged:
    """The results on one split: its name, `items/<split>.jsonl` and `summary/<split>.json`."""

    split: str
    items: tuple[Mapping[str, Any], ...]
    summary: Mapping[str, Any]


@dataclass(frozen=True)
class Training:
    """A training run.

    Attributes:
        run: its directory.
        start: first event.
        model: "model" event; empty where there is none.
        steps: name in `SERIES` to (updates,) float64, nan where not logged.
        evaluations: "evaluation" events in order of update.
        refused: "refused" events.
        checkpoints: "checkpoint" events.
        resumed: updates from which training resumed.
        notes: texts of "note" events.
        end: "end" event; empty while there is none.
        judged: results by split.
    """

    run: RunDirectory
    start: Mapping[str, Any]
    model: Mapping[str, Any]
    steps: Mapping[str, Floats]
    evaluations: tuple[Mapping[str, Any], ...]
    refused: tuple[Mapping[str, Any], ...]
    checkpoints: tuple[Mapping[str, Any], ...]
    resumed: tuple[int, ...]
    notes: tuple[str, ...]
    end: Mapping[str, Any]
    judged: tuple[Judged, ...]

    @property
    def subtitle(self) -> str:
        """Which run, for the head of a figure."""
        updates = self.steps["update"]
        count = f"{int(updates[-1]):,} updates" if updates.size else "no updates yet"
        return f"{self.run.path.name}  ·  {self.start.get('model', 'unknown model')}  ·  {count}  ·  {self.run.state}"

    @property
    def best_update(self) -> float:
        """Update of the last checkpoint marked best; nan where there is none."""
        best = [event["update"] for event in self.checkpoints if event.get("which") == "best"]
        return float(best[-1]) if best else math.nan

    def metric(self, name: str) -> tuple[Floats, Floats]:
        """Return updates and values of a validation metric, each (evaluations,), where it was measured."""
        pairs = [(event["update"], event["metrics"][name]) for event in self.evaluations if name in event.get("metrics", {})]
        table = np.array(pairs, dtype=np.float64).reshape(-1, 2)
        return table[:, 0], table[:, 1]


def read_training(path: Path) -> Training:
    """Read a training run.

    Raises:
        UserError: the path is no run, or is not a training run, or its items are damaged.
    """
    run = RunDirectory.open(path)
    events = run.events.read()
    by_kind: dict[str, list[dict[str, Any]]] = {}
    for event in events:
        by_kind.setdefault(event["event"], []).append(event)
    start = by_kind.get("start", [{}])[-1]
    if start.get("verb") != "train":
        raise UserError(f"{run.path}: expected a run of `auscult train`, its log begins with verb {start.get('verb')!r}")
    steps = {event["update"]: event for event in by_kind.get("step", [])}
    evaluations = {event["update"]: event for event in by_kind.get("evaluation", []) if event.get("split", "validation") == "validation"}
    return Training(
        run,
        start,
        by_kind.get("model", [{}])[-1],
        series([steps[update] for update in sorted(steps)], SERIES),
        tuple(evaluations[update] for update in sorted(evaluations)),
        tuple(by_kind.get("refused", [])),
        tuple(by_kind.get("checkpoint", [])),
        tuple(int(event["update"]) for event in by_kind.get("resumed", [])),
        tuple(str(event["text"]) for event in by_kind.get("note", [])),
        by_kind.get("end", [{}])[-1],
        read_judged(run),
    )


def read_judged(run: RunDirectory) -> tuple[Judged, ...]:
    """Return the results of every split that has items and a summary: validation, test, then others by name."""
    have = {path.stem for path in run.path.glob("items/[!.]*.jsonl")} & {path.stem for path in run.path.glob("summary/[!.]*.json")}
    order = [split for split in ("validation", "test") if split in have] + sorted(have - {"validation", "test"})
    return tuple(Judged(split, tuple(run.read_items(split)), run.read_summary(split)) for split in order)
