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
        from auscult.report.hdf5 import require_h5py

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
    rows = [
        [item["id"], item["updates"], item.get("earlier_updates"), item["loss"], item["stop_reason"], f"{item['seconds']:.0f} s",
         item.get("reference"), item.get("hypothesis")]
        for item in items
    ]  # fmt: skip
    print_table(["utterance", "updates", "earlier log", "loss", "stopped by", "time", "reference", "transcript"], rows)
    if value["reused"]:
        typer.echo("this check had been run already; nothing has changed since")
    typer.echo(f"{'passed' if value['passed'] else 'failed'}: {value['run']}")
    typer.echo("utterances were memorised one at a time: evidence that the code can learn, not a result")
    if value["report"]:
        typer.echo(f"report: {value['report']}")
