"""`auscult check`: overfit a few single utterances before training for real."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from auscult.cli.options import AsJson, Overrides, RecipePath, Root, read_recipe
from auscult.cli.output import emit, print_table


def check(
    recipe: RecipePath,
    overrides: Overrides = None,
    root: Root = Path("runs"),
    figures: Annotated[bool, typer.Option(help="Draw the five figures and the report.")] = True,
    hdf5: Annotated[bool, typer.Option("--hdf5", help="Also write every metric to metrics.h5.")] = False,
    as_json: AsJson = False,
) -> None:
    """Learn a few utterances, each alone from fresh weights, and see whether loss, transcript and gradients are as they should be."""
    from auscult.errors import RunFailed
    from auscult.training.check import CheckResult
    from auscult.training.check import check as check_recipe

    if hdf5:
        from auscult.runs.hdf5 import require_h5py

        require_h5py()
    result: CheckResult = check_recipe(read_recipe(recipe, overrides), root=root, progress=not as_json)
    drawn: list[Path] = []
    document = None
    if figures:
        from auscult.report.html import write_report

        document = write_report(result.run)
        drawn = sorted((result.run / "figures").glob("*.png"))
    if hdf5:
        from auscult.report.hdf5 import write_hdf5

        drawn.append(write_hdf5(result.run))
    value = {
        "run": result.run, "passed": result.passed, "reasons": result.reasons, "utterances": result.items, "figures": drawn,
        "report": document, "reused": result.reused,
    }  # fmt: skip
    emit(value, as_json, lambda: _table(value, result.items))
    if not result.passed:
        raise RunFailed("check failed: " + "; ".join(result.reasons))


def _table(value: dict[str, Any], items: list[dict[str, Any]]) -> None:
    columns: dict[str, list[Any]] = {
        "utterance": [item["id"] for item in items],
        "updates": [item["updates"] for item in items],
        "earlier log": [item.get("earlier_updates") for item in items],
        "loss": [item["loss"] for item in items],
        "stopped by": [item["stop_reason"] for item in items],
        "time": [f"{item['seconds']:.0f} s" for item in items],
        "right": [None if item.get("right") is None else "yes" if item["right"] else "no" for item in items],
        **{name: [item.get(key) for item in items] for name, key in (("reference", "reference"), ("transcript", "hypothesis"))},
        **{key.replace("_", " "): [item.get(key) for item in items] for key in ("speaker", "chosen", "frame_errors", "si_sdr", "si_sdri")},
    }
    shown = {name: cells for name, cells in columns.items() if any(cell is not None for cell in cells)}
    print_table(list(shown), [list(row) for row in zip(*shown.values(), strict=True)])
    if value["reused"]:
        typer.echo("this check had been run already; nothing has changed since")
    typer.echo(f"{'passed' if value['passed'] else 'failed'}: {value['run']}")
    typer.echo("utterances were memorised one at a time: evidence that the code can learn, not a result")
    if value["report"]:
        typer.echo(f"report: {value['report']}")
