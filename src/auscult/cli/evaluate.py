"""`auscult evaluate`: judge a run's checkpoint."""

from __future__ import annotations

from typing import Annotated

import typer

from auscult.cli.options import AsJson, Overrides, RunPath
from auscult.cli.output import emit, print_table


def evaluate(
    run: RunPath,
    overrides: Overrides = None,
    split: Annotated[str, typer.Option(help="train, validation or test.")] = "test",
    checkpoint: Annotated[str, typer.Option(help="best, last, or another file of the run's checkpoints.")] = "best",
    worst: Annotated[int, typer.Option(min=0, help="How many of the worst utterances to list.")] = 5,
    as_json: AsJson = False,
) -> None:
    """Judge a checkpoint on a split: rates with 95 % intervals over speakers and utterances, and the worst utterances."""
    from auscult.training.evaluate import Evaluation
    from auscult.training.evaluate import evaluate as evaluate_run

    result: Evaluation = evaluate_run(run, *(overrides or []), split=split, checkpoint=checkpoint, progress=not as_json)
    listed = result.worst(worst)
    value = {"run": result.run, **result.summary, "worst": listed, "notes": result.notes}

    def table() -> None:
        for note in result.notes:
            typer.echo(f"note: {note}")
        intervals = result.summary["intervals"]
        rows = [
            [name, number, "{:.4g} to {:.4g}".format(*intervals[name]) if name in intervals else None]
            for name, number in result.summary["metrics"].items()
        ]
        print_table(["metric", "value", "95 % interval"], rows, f"{result.run.name}, {split}, checkpoint {checkpoint}")
        typer.echo("protocol: " + "; ".join(f"{key}: {text}" for key, text in result.summary["protocol"].items()))
        if listed:
            print_table(
                ["utterance", "reference", "hypothesis"], [[i["id"], i.get("reference"), i.get("hypothesis")] for i in listed], "worst"
            )

    emit(value, as_json, table)
