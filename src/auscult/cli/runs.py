"""`auscult runs`: list, filter and sort runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from auscult.cli.options import AsJson, Root
from auscult.cli.output import emit, print_table
from auscult.errors import UserError

FACTS = ("run", "state", "updates", "seed")
METRICS = ("wer", "cer", "eer", "frame_error", "si_sdri", "snr")
"""The one or two figures of each task that runs are known by; columns that no listed run has are left out."""


def runs(
    root: Root = Path("runs"),
    sort: Annotated[str | None, typer.Option(help="Column or metric to sort by, such as wer.")] = None,
    descending: Annotated[bool, typer.Option("--descending", help="Largest first.")] = False,
    where: Annotated[list[str] | None, typer.Option(help="Only runs with column=value; may be repeated.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Show this many at most.")] = None,
    as_json: AsJson = False,
) -> None:
    """List runs with their states and scores."""
    from auscult.runs.index import RunIndex

    index = RunIndex(root)
    index.refresh()
    rows = index.rows(where=_conditions(where or []), sort=sort, descending=descending)[:limit]

    def table() -> None:
        shown = [*FACTS, *(name for name in METRICS if any(row.get(name) is not None for row in rows)), "duration"]
        columns = [*shown, *([sort] if sort and sort not in shown else [])]
        print_table(columns, [[row.get(column) for column in columns] for row in rows], None if rows else f"no runs in {root}")

    emit(rows, as_json, table)


def _conditions(texts: list[str]) -> dict[str, Any]:
    import yaml

    conditions = {}
    for text in texts:
        key, separator, value = text.partition("=")
        if not separator:
            raise UserError(f'--where "{text}": expected column=value, such as state=COMPLETE')
        conditions[key] = yaml.safe_load(value)
    return conditions
