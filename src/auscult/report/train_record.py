"""A training run as figures and pages need it, read from the event log and the judged items.

A resumed run's log holds each update once, because training truncates the log to the checkpoint it resumes from; were an update
to appear twice all the same, the later one counts.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from auscult.errors import UserError
from auscult.report.check_record import Floats, series
from auscult.runs.directory import RunDirectory
from auscult.runs.files import read_json

SERIES = ("update", "epoch", "loss", "gradient_norm", "lr", "items", "audio_seconds", "elapsed")
RECORDINGS = "recordings"
"""Name of the summary of whole recordings; it has no records of a split."""


@dataclass(frozen=True)
class Judged:
    """The results on one split.

    Attributes:
        split: its name.
        items: `items/<split>.jsonl`.
        summary: `summary/<split>.json`.
        listening: `listening/<split>.json`, the sounds that were kept of this very result; empty where there are none.
    """

    split: str
    items: tuple[Mapping[str, Any], ...]
    summary: Mapping[str, Any]
    listening: Mapping[str, Any] = field(default_factory=dict)

    @property
    def alarms(self) -> tuple[str, ...]:
        """What is impossible or suspicious about the results, in words."""
        return tuple(map(str, self.summary.get("alarms", ())))


@dataclass(frozen=True)
class Training:
    """A training run.

    Attributes:
        run: its directory.
        start: first event.
        model: "model" event; empty where there is none.
        steps: name in `SERIES`, and of everything else logged beside a loss, to (updates,) float64, nan where not logged.
        initial_loss: "initial_loss" event: the first loss beside theory; empty where theory gives none.
        plan: "plan" event: what the batches make of the data; empty where there is none.
        evaluations: "evaluation" events in order of update.
        privacy: "privacy" events in order of update: what differential privacy could claim then; empty without it.
        refused: "refused" events.
        checkpoints: "checkpoint" events.
        resumed: updates from which training resumed.
        notes: texts of "note" events.
        end: "end" event; empty while there is none.
        judged: results by split.
        recordings: scores of whole recordings, as `auscult evaluate --reference` left them; empty where it was not run.
    """

    run: RunDirectory
    start: Mapping[str, Any]
    model: Mapping[str, Any]
    steps: Mapping[str, Floats]
    initial_loss: Mapping[str, Any]
    plan: Mapping[str, Any]
    evaluations: tuple[Mapping[str, Any], ...]
    privacy: tuple[Mapping[str, Any], ...]
    refused: tuple[Mapping[str, Any], ...]
    checkpoints: tuple[Mapping[str, Any], ...]
    resumed: tuple[int, ...]
    notes: tuple[str, ...]
    end: Mapping[str, Any]
    judged: tuple[Judged, ...]
    recordings: Mapping[str, Any]

    @property
    def terms(self) -> list[str]:
        """Names of what was logged beside the loss."""
        return [name for name in self.steps if name not in SERIES]

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
        series([steps[update] for update in sorted(steps)], (*SERIES, *_terms(steps.values()))),
        by_kind.get("initial_loss", [{}])[-1],
        by_kind.get("plan", [{}])[-1],
        tuple(evaluations[update] for update in sorted(evaluations)),
        tuple(by_kind.get("privacy", [])),
        tuple(by_kind.get("refused", [])),
        tuple(by_kind.get("checkpoint", [])),
        tuple(int(event["update"]) for event in by_kind.get("resumed", [])),
        tuple(str(event["text"]) for event in by_kind.get("note", [])),
        by_kind.get("end", [{}])[-1],
        read_judged(run),
        run.read_summary(RECORDINGS) if (run.path / "summary" / f"{RECORDINGS}.json").exists() else {},
    )


def _terms(steps: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return the names of numbers in step events that are not part of every log, in order of appearance."""
    names = dict.fromkeys(key for step in steps for key, value in step.items() if isinstance(value, float))
    return [name for name in names if name not in (*SERIES, "time")]


def read_judged(run: RunDirectory) -> tuple[Judged, ...]:
    """Return the results of every split that has items and a summary: validation, test, then others by name."""
    have = {path.stem for path in run.path.glob("items/[!.]*.jsonl")} & {path.stem for path in run.path.glob("summary/[!.]*.json")}
    order = [split for split in ("validation", "test") if split in have] + sorted(have - {"validation", "test"})
    return tuple(_judged(run, split) for split in order)


def _judged(run: RunDirectory, split: str) -> Judged:
    """Read the results on a split; sounds of another checkpoint than that of the summary are not its sounds."""
    summary, path = run.read_summary(split), run.listening / f"{split}.json"
    listening = read_json(path) if path.exists() else {}
    other = any(summary.get(key) != listening[key] for key in ("checkpoint", "update") if key in listening)
    return Judged(split, tuple(run.read_items(split)), summary, {} if other else listening)
