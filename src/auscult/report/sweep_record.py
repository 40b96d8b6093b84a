"""A sweep of attacks as read from its folder, every number of its summary checked against the records of the runs it is of.

A summary is a file like any other: it can be edited, restored from another day, or left from runs that were made again. A page made of it
alone would repeat whatever it says, so the scores of each cell are computed once more, from the records below the folder, and a summary
that says anything else is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from auscult.errors import UserError
from auscult.metrics.attack_cells import Records, cell_scores, disagreements
from auscult.runs.directory import RunDirectory
from auscult.runs.files import read_json

Row = Mapping[str, Any]


@dataclass(frozen=True)
class SweepRun:
    """A sweep of attacks.

    Attributes:
        run: its folder.
        start: the event it began with.
        summary: `summary/sweep.json`; empty before the first cell is done.
        cells: of the summary, in order; those that are done hold scores.
        listening: index of sounds by cell id, where a cell kept any.
    """

    run: RunDirectory
    start: Mapping[str, Any]
    summary: Mapping[str, Any]
    cells: tuple[Row, ...]
    listening: Mapping[str, Mapping[str, Any]]

    @property
    def done(self) -> list[Row]:
        """Cells with scores."""
        return [cell for cell in self.cells if cell["state"] == "done"]

    @property
    def subtitle(self) -> str:
        """One line about the sweep, for figures."""
        name = self.start.get("recipe", {}).get("attack", {}).get("name", "attack")
        counted = {cell["utterances"] for cell in self.done}
        utterances = f"{min(counted)}" if len(counted) == 1 else f"{min(counted)} to {max(counted)}" if counted else "no"
        seeds = len(self.summary.get("seeds", ()))
        return f"{name} on {self.start.get('model', '?')}  ·  {utterances} utterances, {seeds} seed{'s' * (seeds != 1)} a cell"

    @property
    def contexts(self) -> dict[str, list[Row]]:
        """Cells by the labels of all axes but the defence, in order of appearance."""
        found: dict[str, list[Row]] = {}
        for cell in self.cells:
            found.setdefault(context(cell), []).append(cell)
        return found


def context(cell: Row) -> str:
    """Return the labels of all axes but the defence, a line each; empty where nothing else varies.

    >>> context({"labels": {"utterances.seconds": "0.8", "leak.batch": "4", "defence": "sign"}})
    'seconds 0.8\\nbatch 4'
    """
    return "\n".join(f"{axis.rpartition('.')[2]} {label}" for axis, label in cell["labels"].items() if axis.split(".")[0] != "defence")


def defence(cell: Row) -> str:
    """Return the defence of a cell in words."""
    return " ".join(filter(None, (cell["defence"]["family"], cell["defence"]["strength"])))


def read_sweep(run_path: Path) -> SweepRun:
    """Read a sweep.

    Raises:
        UserError: the path is no run, a file is damaged or missing, or the summary says what the records do not.
    """
    run = RunDirectory.open(run_path)
    last = {event["event"]: event for event in run.events.read()}
    summary = run.read_summary("sweep") if (run.path / "summary" / "sweep.json").is_file() else {}
    cells = tuple(summary.get("cells", ()))
    listening = {}
    for cell in cells:
        if cell["state"] == "done":
            _check(run.path, cell)
            index = run.path / cell["runs"][0]["run"] / "listening" / "attack.json"
            if index.is_file():
                listening[cell["id"]] = read_json(index)
    return SweepRun(run, last.get("start", {}), summary, cells, listening)


def _check(folder: Path, cell: Row) -> None:
    """Refuse scores of a cell that are not those of its runs."""
    runs = [RunDirectory.open(folder / one["run"]) for one in cell["runs"]]
    records = [Records(run.read_items("attack"), run.read_items("messages")) for run in runs]
    wrong = disagreements(cell, cell_scores(records, replicates=1))
    if wrong:
        more = f" and {len(wrong) - 3} more" if len(wrong) > 3 else ""
        raise UserError(
            f"{folder / 'summary' / 'sweep.json'}: cell {cell['id']} says {', '.join(wrong[:3])}{more} in the records of its runs; "
            "sum them up again with the command that made the sweep"
        )
