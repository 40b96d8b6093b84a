"""One run directory to one row of the index, reading as little as possible.

A row costs a few small files; the event log, which may be large, is read from its end only. A damaged file makes a row
that says so in "problem": one broken run must not hide the others.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from auscult.errors import UserError
from auscult.runs.directory import current_state
from auscult.runs.files import read_json
from auscult.runs.json_values import from_json
from auscult.runs.state import State

COLUMNS = ("run", "task", "model", "verb", "state", "reason", "updates", "created", "seed", "duration", "split", "problem")
"""Columns every row has; "updates" is the last one logged, "created" unix seconds, "duration" seconds spent running,
"split" which split the metrics beside them were measured on."""

_SPLITS = ("test", "validation", "attack", "sweep")
"""Summaries by what they are of, the first there is wins; runs that train nothing have one called after their verb."""
_WATCHED = ("state.json", "events.jsonl", *(f"summary/{split}.json" for split in _SPLITS))
_TAIL = 1 << 16


def signature(folder: str) -> str:
    """Return a text that changes when anything a row depends on does: time, size and file number of the watched files."""
    parts = []
    for name in _WATCHED:
        try:
            status = os.stat(f"{folder}/{name}")  # noqa: PTH116 - pathlib triples the time of listing 5,000 runs
        except OSError:
            parts.append("-")
        else:
            parts.append(f"{status.st_mtime_ns}.{status.st_size}.{status.st_ino}")
    return " ".join(parts)


def scan(run: Path) -> dict[str, Any]:
    """Return a run's columns, with its metrics under "metrics" and the record of its state under "record"."""
    row: dict[str, Any] = {**dict.fromkeys(COLUMNS), "run": run.name, "metrics": {}, "record": None}
    try:
        row.update(read_json(run / "run.json"))
        record = read_json(run / "state.json")
        updates, evaluated = _latest(run / "events.jsonl")
        split, metrics = _metrics(run, evaluated)
        row.update(record=record, reason=record["reason"], updates=updates, split=split, metrics=metrics)
        row["duration"] = _duration(record["times"], run / "events.jsonl")
        row["state"] = str(current_state(record))
    except UserError as error:
        row["problem"] = str(error)
    except (KeyError, TypeError, ValueError, OSError) as error:
        row["problem"] = f"{run}: run.json, state.json, the event log or a summary is damaged ({type(error).__name__}: {error})"
    return row


def _metrics(run: Path, evaluated: dict[str, Any] | None) -> tuple[str | None, dict[str, float]]:
    """Metrics of one split, that a row never mixes two: test, else validation, else of an attack, else the last evaluation in the log."""
    for split in _SPLITS:
        path = run / "summary" / f"{split}.json"
        if path.exists():
            return split, dict(read_json(path)["metrics"])
    return (None, {}) if evaluated is None else (str(evaluated["split"]), dict(evaluated["metrics"]))


def _latest(path: Path) -> tuple[int | None, dict[str, Any] | None]:
    """Return the last update and the last evaluation among the final 64 KiB of a log."""
    updates, evaluated = None, None
    for line in reversed(_tail(path)):
        try:
            event = from_json(line.decode("utf-8"))
        except ValueError:  # cut by the 64 KiB, or torn by kill -9
            continue
        if updates is None:
            updates = event.get("update")
        if event.get("event") == "evaluation":
            evaluated = event
            break
    return updates, evaluated


def _tail(path: Path) -> list[bytes]:
    try:
        with path.open("rb") as stream:
            stream.seek(max(0, os.fstat(stream.fileno()).st_size - _TAIL))
            return [line for line in stream.read().split(b"\n") if line.startswith(b"{")]
    except FileNotFoundError:
        return []


def _duration(times: list[dict[str, Any]], events: Path) -> float:
    """Seconds in state RUNNING; an interval that nobody closed ends with the last event."""
    seconds = 0.0
    for entry, following in zip(times, [*times[1:], None], strict=True):
        if entry["state"] == State.RUNNING:
            end = following["time"] if following else events.stat().st_mtime if events.exists() else time.time()
            seconds += max(0.0, end - entry["time"])
    return seconds
