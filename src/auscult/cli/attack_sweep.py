"""`auscult attack sweep`: a grid of attacks, such as defences by their strengths."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from auscult.cli.options import AsJson, Overrides, Root
from auscult.cli.output import emit, print_table

COLUMNS = {
    "SNR, dB": ("scores", "attack", "snr"),
    "zeros": ("scores", "zero", "snr"),
    "another utterance": ("scores", "random_other", "snr"),
    "identified": ("scores", "attack", "identified"),
    "characters found": ("characters", "attack", "recall"),
    "transcripts exact": ("transcripts", "attack", "transcript_exact"),
    "loss fall kept": ("utility", "loss_fall"),
}
"""Columns of the table by where their estimate stands in a cell."""


def sweep(
    sweep: Annotated[Path, typer.Argument(metavar="SWEEP", hidden=True)],
    overrides: Overrides = None,
    root: Root = Path("runs"),
    output: Annotated[Path | None, typer.Option("-o", "--output", help="Folder of this sweep; ROOT/sweep-NAME without.")] = None,
    report: Annotated[bool, typer.Option(help="Draw figures and write report.html at the end.")] = True,
    as_json: AsJson = False,
) -> None:
    """Attack every combination of the values that SWEEP lists, and sum it up; SWEEP is a recipe of an attack with a section sweep.

    Finished cells are reused, also after a kill; Ctrl-C saves and leaves, the same command continues. A cell that fails is recorded, the
    others go on, and the exit code is 1.
    """
    from auscult.errors import RunFailed
    from auscult.privacy.sweep import attack_sweep
    from auscult.report.attack_words import RESPONSIBLE

    typer.echo(RESPONSIBLE, err=True)
    result = attack_sweep(sweep, *(overrides or []), root=root, output=output, progress=not as_json)
    document = None
    if report:
        from auscult.report.html import write_report

        document = write_report(result.run)
    value = {
        **result.summary, "run": result.run, "made": result.made, "failed": result.failed, "changes": result.notes, "report": document,
    }  # fmt: skip
    emit(value, as_json, lambda: _text(value))
    if result.failed:
        cell, reason = next(iter(result.failed.items()))
        raise RunFailed(f"{len(result.failed)} of {len(result.summary['cells'])} cells failed, first {cell}: {reason}")


def _text(value: dict[str, Any]) -> None:
    axes, rows = list(value["axes"]), []
    shown = {name: path for name, path in COLUMNS.items() if any(_at(row, path) for row in value["cells"])}
    for row in value["cells"]:
        gave_up = f"{row['gave_up']['messages']} of {row['gave_up']['of']}" if "gave_up" in row else row["state"]
        rows.append([*(row["labels"][axis] for axis in axes), *(_cell(_at(row, path)) for path in shown.values()), gave_up])
    print_table([*axes, *shown, "messages given up"], rows)
    for note in value["changes"]:
        typer.echo(f"note: {note}")
    typer.echo(f"{value['made']} runs made, all others were there: {value['run']}")
    if value["report"] is not None:
        typer.echo(f"report: {value['report']}")


def _at(row: dict[str, Any], path: tuple[str, ...]) -> dict[str, Any] | None:
    for key in path:
        row = row.get(key, {})
    return row or None


def _cell(estimate: dict[str, Any] | None) -> str | None:
    if estimate is None:
        return None
    value, low, high = (0.0 if abs(estimate[key]) < 1e-9 else estimate[key] for key in ("value", "low", "high"))
    return f"{value:.3g} [{low:.3g}, {high:.3g}]"
