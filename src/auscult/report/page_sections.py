"""Sections that pages of check and training runs share: what the run is, what determined it, and what it was made from."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import Any

from auscult.errors import UserError
from auscult.report.html_parts import NOT_RUN, escape, facts, folded, section
from auscult.runs.directory import RunDirectory
from auscult.runs.files import read_json
from auscult.runs.state import State

_HASH = 16
_MEANING = {
    State.QUEUED: "created, not begun",
    State.RUNNING: "still running: everything below is provisional",
    State.COMPLETE: "did everything its recipe asked for",
    State.DIVERGED: "the sentinel ran out of remedies and stopped it",
    State.CRASHED: "its process ended without saying why; it can be resumed",
    State.CANCELLED: "stopped from outside; it can be resumed",
    State.PRUNED: "given up by a search",
}


def heading(run: RunDirectory, kind: str) -> str:
    """Return the head of a page: name, kind of run, state and its reason."""
    state = run.state
    colour = "good" if state is State.COMPLETE else "bad"
    reason = f": {run.reason}" if run.reason else ""
    return (
        f"<header><p class=soft>{escape(kind)}</p><h1>{escape(run.path.name)}</h1>"
        f'<p><span class="badge {colour}">{state}</span> {escape(_MEANING[state] + reason)}</p></header>'
    )


def identity(run: RunDirectory, start: Mapping[str, Any], model: Mapping[str, Any]) -> str:
    """Return what determined the run: model, hashes, versions, machine."""
    record = run.identity
    created = read_json(run.path / "run.json").get("created") if (run.path / "run.json").exists() else None
    shown = [
        ("task, model", f"{start.get('task', 'not stated')}, {start.get('model', 'not stated')}"),
        ("parameters", f"{model['parameters']:,}" if "parameters" in model else "not counted"),
        ("created", _day(created)),
        ("recipe hash", record.recipe[:_HASH]),
        ("data hash", record.data[:_HASH]),
        ("code hash", record.code_hash[:_HASH]),
        *((str(key), str(value)) for key, value in record.environment.items() if value is not None),
    ]
    return section("Identity", facts(shown))


def protocol(summary: Mapping[str, Any] | None) -> str:
    """Return how metrics were obtained, on one line; "not run" without a summary."""
    if summary is None:
        return NOT_RUN
    named = [f"{key}: {value}" for key, value in summary.get("protocol", {}).items()]
    named += [f"{key}: {summary[key]}" for key in ("checkpoint", "update") if key in summary]
    return "; ".join(named) or "not stated"


def recipe(run: RunDirectory) -> str:
    """Return the resolved recipe, folded.

    Raises:
        UserError: the run has no recipe.
    """
    try:
        text = run.recipe_text
    except OSError as error:
        raise UserError(f"{run.path}: recipe.yaml cannot be read ({error.strerror}); restore it from a copy") from error
    return section("Recipe", folded("the resolved recipe", f"<pre>{escape(text)}</pre>"))


def _day(moment: Any) -> str:
    if not isinstance(moment, int | float):
        return "not stated"
    return datetime.datetime.fromtimestamp(moment, tz=datetime.UTC).strftime("%Y-%m-%d %H:%M UTC")
