"""`auscult train`: train a recipe, resume it, or reuse the finished run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from auscult.cli.options import AsJson, Overrides, RecipePath, Root, read_recipe
from auscult.cli.output import emit


def train(
    recipe: RecipePath,
    overrides: Overrides = None,
    root: Root = Path("runs"),
    report: Annotated[bool, typer.Option(help="Draw figures and write report.html at the end.")] = True,
    as_json: AsJson = False,
) -> None:
    """Train a recipe; a finished run is reused, an interrupted one resumes.

    Ctrl-C (or SIGTERM) saves and leaves; the same command continues. Several processes: torchrun -m auscult train RECIPE.
    """
    from auscult.training.distributed import announced_rank
    from auscult.training.train import train as train_recipe

    result = train_recipe(read_recipe(recipe, overrides), root=root, progress=not as_json)
    if announced_rank() != 0:
        return
    document = None
    if report and result.action != "reused":
        from auscult.report.html import write_report

        document = write_report(result.run)
    value: dict[str, Any] = {
        "run": result.run, "action": result.action, "state": result.state, "validation": result.metrics, "notes": result.notes,
        "report": document, **({"privacy": result.privacy} if result.privacy is not None else {}),
    }  # fmt: skip
    emit(value, as_json, lambda: _text(value))


def _text(value: dict[str, Any]) -> str:
    from auscult.training.dp_accountant import sentence

    lines = [f"note: {note}" for note in value["notes"]]
    lines.append(f"{value['action']}: {value['run']} ({value['state']})")
    metrics = value["validation"]
    if isinstance(metrics, dict) and metrics:
        lines.append("validation: " + ", ".join(f"{key} {number:.4g}" for key, number in metrics.items()))
    privacy = value.get("privacy")
    if isinstance(privacy, dict):
        lines.append(f"privacy: {sentence(privacy)}")
    if value["report"]:
        lines.append(f"report: {value['report']}")
    return "\n".join(lines)
