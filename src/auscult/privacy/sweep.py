"""The verb `attack sweep`: a grid of attacks in one folder, and a summary of it that is there at any moment.

Problem: a grid takes hours, and one cell of it fails; a table that is filled in by hand afterwards forgets which. Choice: the folder of a
sweep is a run directory of its own kind, and every cell an ordinary attack run below it, named by its recipe and its data: a finished
cell is reused, an interrupted one goes on, a cell whose recipe changed gets a new folder, and a widened grid costs its new cells. A cell
that fails is recorded with its reason, and the others go on. After each cell the summary is written whole, with what is still to come.
Cells keep sounds and pictures of one utterance, the median of the first seed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from auscult.errors import UserError
from auscult.metrics.attack_cells import REPLICATES, Records, cell_scores
from auscult.privacy.messages import stop_if_asked
from auscult.privacy.run import attack
from auscult.recipe.sweep import Cell, Sweep
from auscult.runs.directory import RunDirectory
from auscult.runs.files import read_json, write_atomic
from auscult.runs.identity import Identity
from auscult.runs.state import State
from auscult.training.interruption import Interrupted, StopRequest, listening
from auscult.training.progress import ProgressBar

CELLS = "cells"
"""Folder of the cells' runs."""

PROTOCOL = {
    "scores": "medians over utterances, seeds averaged first; identified, wer and cer are ratios of sums; characters over messages",
    "intervals": f"95 %, speakers resampled before utterances, {REPLICATES:,} resamples; they say nothing about other seeds",
    "utility": (
        "loss_fall: fall of the loss on the batch behind a message by one step along it at its best rate, relative to the message without "
        "defences at its own best rate; one step, one batch, the layers that were sent"
    ),
    "attack": "one attack with one setting: what an attack that knows the defence better would find is not shown",
}


@dataclass(frozen=True)
class SweepResult:
    """What a sweep found.

    Attributes:
        run: folder of the sweep.
        summary: axes, cells with scores and reasons, protocol; also in the folder.
        made: runs that were not there before.
        failed: ids of cells that failed, with the reason.
        notes: what changed since the folder was last used.
    """

    run: Path
    summary: dict[str, Any]
    made: int
    failed: dict[str, str]
    notes: list[str]


def attack_sweep(
    sweep: Sweep | str | Path, *overrides: str, root: str | Path = "runs", output: str | Path | None = None, progress: bool = False
) -> SweepResult:
    """Run a grid of attacks, or what is missing of it, and sum it up.

    For auditing your own systems, with consent or on public corpora.

    Args:
        sweep: a sweep or the path of one.
        overrides: `key=value` changes, as on the command line.
        root: folder of run directories, in which the sweep's is called after its file.
        output: folder of the sweep instead.
        progress: draw a progress bar on standard error.

    Raises:
        UserError: the sweep or one of its cells is not usable, or the folder holds something else.
        Interrupted: Ctrl-C or SIGTERM; the same call continues.
    """
    if not isinstance(sweep, Sweep):
        sweep = Sweep.load(sweep, overrides)
    run, notes = _open(sweep, Path(output) if output is not None else Path(root) / f"sweep-{sweep.name}")
    with run.lock(), listening() as request:
        run.set_state(State.RUNNING)
        first = sweep.cells[0].recipes[0].recipe
        run.events.append("start", verb="sweep", task=first.task.name, model=first.model.name, recipe=dict(sweep.document))
        try:
            grid = _Grid(sweep, run)
            with ProgressBar(run.path.name, sum(len(cell.recipes) for cell in sweep.cells), enabled=progress) as bar:
                for number in range(len(sweep.cells)):
                    grid.run_cell(number, bar, request)
        except BaseException as error:
            stopped = isinstance(error, Interrupted | KeyboardInterrupt)
            run.set_state(State.CANCELLED if stopped else State.CRASHED, str(error) or type(error).__name__)
            raise
        failed = {row["id"]: "; ".join(dict.fromkeys(one["reason"] for one in row["failures"])) for row in grid.rows if row["failures"]}
        run.events.append("end", failed=sorted(failed))
        run.set_state(State.COMPLETE, f"{len(failed)} of {len(grid.rows)} cells failed" if failed else "")
    return SweepResult(run.path, grid.summary(), grid.made, failed, notes)


def _open(sweep: Sweep, path: Path) -> tuple[RunDirectory, list[str]]:
    """Return the folder of a sweep, made or brought up to date."""
    text = sweep.to_yaml()
    identity = Identity.current(hashlib.sha256(text.encode()).hexdigest(), "of each cell")
    if not path.exists():
        return RunDirectory.create(path.parent, path.name, text, identity, None, "sweep"), []
    run = RunDirectory.open(path)
    if read_json(run.path / "run.json").get("verb") != "sweep":
        raise UserError(f"{run.path}: is a run of another kind; name another folder with --output")
    notes = identity.changes_since(run.identity)
    if notes:
        run.record_identity(identity)
        write_atomic(run.path / "recipe.yaml", text)
    return run, notes


class _Grid:
    """The cells of a sweep, run one after the other, and the summary of them.

    Args:
        sweep: what to run.
        run: where.
    """

    def __init__(self, sweep: Sweep, run: RunDirectory) -> None:
        self.sweep, self.run, self.made, self.done = sweep, run, 0, 0
        self.rows = [_pending(cell) for cell in sweep.cells]
        self.threat_model: Mapping[str, Any] | None = None

    def run_cell(self, number: int, bar: ProgressBar, request: StopRequest) -> None:
        """Run what is missing of a cell, and write the summary."""
        cell, row = self.sweep.cells[number], self.rows[number]
        for place, (seed, recipe) in enumerate(zip(self.sweep.seeds, cell.recipes, strict=True)):
            bar.show(self.done, cell.id)
            stop_if_asked(request)
            try:
                result = attack(recipe, root=self.run.path / CELLS, examples="none" if place else "median")
                row["runs"].append({"seed": seed, "run": f"{CELLS}/{result.run.name}"})
                self.made += not result.reused
                self.threat_model = self.threat_model or {**result.summary["threat_model"], "cell": cell.id}
            except Interrupted:
                raise
            except Exception as error:  # whatever it is, it is this cell's: it is recorded, and the others go on
                self._fail(row, seed, error, bar)
            self.done += 1
            bar.show(self.done, cell.id)
        if not row["failures"]:
            try:
                row |= self._scored(row)
            except UserError as error:
                self._fail(row, None, error, bar)
        row["state"] = "failed" if row["failures"] else "done"
        self.run.write_summary("sweep", self.summary())
        self.run.events.append("cell", cell=cell.id, state=row["state"])

    def _fail(self, row: dict[str, Any], seed: int | None, error: Exception, bar: ProgressBar) -> None:
        reason = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
        row["failures"].append({"seed": seed, "reason": reason.split("\n")[0]})
        self.run.events.append("cell_failed", cell=row["id"], seed=seed, reason=reason)
        bar.say(f"failed: {row['id']}{'' if seed is None else f', seed {seed}'}: {reason}")

    def _scored(self, row: Mapping[str, Any]) -> dict[str, Any]:
        runs = [RunDirectory.open(self.run.path / one["run"]) for one in row["runs"]]
        records = [Records(run.read_items("attack"), run.read_items("messages")) for run in runs]
        return {**cell_scores(records), "defences": runs[0].read_summary("attack")["threat_model"]["message"]["defences"]}

    def summary(self) -> dict[str, Any]:
        """Return what `summary/sweep.json` holds, also while cells are still to come."""
        states = [row["state"] for row in self.rows]
        return {
            "metrics": {"cells": len(states), "cells_done": states.count("done"), "cells_failed": states.count("failed")},
            "axes": {axis: list(labels) for axis, labels in self.sweep.axes.items()},
            "seeds": list(self.sweep.seeds),
            "threat_model": self.threat_model,
            "protocol": PROTOCOL,
            "cells": self.rows,
        }


def _pending(cell: Cell) -> dict[str, Any]:
    family, strength = cell.defence
    return {
        "id": cell.id,
        "axes": dict(cell.values),
        "labels": dict(cell.labels),
        "defence": {"family": family, "strength": strength},
        "state": "pending",
        "runs": [],
        "failures": [],
    }
