"""`auscult evaluate`: judge a run's checkpoint."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from auscult.cli.options import AsJson, Overrides, RunPath
from auscult.cli.output import emit, print_table
from auscult.errors import UserError

if TYPE_CHECKING:
    from auscult.training.evaluate import Evaluation

WORST = {
    "si_sdri": ("mixtures", ["id", "speakers", "variant", "input_si_sdr", "si_sdr", "si_sdri"]),
    "target": ("trials", ["enrol", "test", "target", "score"]),
    "frame_errors": ("windows", ["id", "frame_errors", "frames", "speakers"]),
    "reference": ("utterances", ["id", "reference", "hypothesis"]),
}
"""What a list of the worst records is called and shows, by a key that only its records have; others are listed by id."""


def evaluate(
    run: RunPath,
    overrides: Overrides = None,
    split: Annotated[str, typer.Option(help="train, validation or test.")] = "test",
    checkpoint: Annotated[str, typer.Option(help="best, last, or another file of the run's checkpoints.")] = "best",
    worst: Annotated[int, typer.Option(min=0, help="How many of the worst utterances, trials or mixtures to list.")] = 5,
    trials: Annotated[Path | None, typer.Option(help="Verification: trial list of the test split, lines '1|0 first second'.")] = None,
    trial_audio: Annotated[Path | None, typer.Option(help="Verification: folder the paths of the trial list start from.")] = None,
    as_norm: Annotated[str | None, typer.Option(help='Verification: cohort for score normalisation, "train" or an .npz file.')] = None,
    reference: Annotated[Path | None, typer.Option(help="Diarization: judge whole recordings against this RTTM file or folder.")] = None,
    uem: Annotated[Path | None, typer.Option(help="Diarization: UEM file or folder; whole recordings are scored without.")] = None,
    embedding: Annotated[Path | None, typer.Option(help="Diarization: verification run for the voices.")] = None,
    audio: Annotated[Path | None, typer.Option(help="Diarization: folder of the recordings; the recipe's test split without.")] = None,
    figures: Annotated[bool, typer.Option("--figures", help="Diarization: draw a timeline of each recording into the run.")] = False,
    as_json: AsJson = False,
) -> None:
    """Judge a checkpoint on a split: metrics with 95 % intervals over speakers, the protocol, and the worst items."""
    if reference is not None:
        from auscult.cli.evaluate_recordings import evaluate_recordings

        evaluate_recordings(run, reference, uem, embedding, audio, checkpoint, figures, as_json)
        return
    if uem or embedding or audio or figures:
        raise UserError("--uem, --embedding, --audio and --figures go with --reference, which names the recordings to judge")
    from auscult.training.evaluate import evaluate as evaluate_run

    given = {"task.trials": trials, "task.trial_audio": trial_audio, "task.as_norm": as_norm}
    changes = [*(overrides or []), *(f"{key}={json.dumps(str(value))}" for key, value in given.items() if value is not None)]
    result = evaluate_run(run, *changes, split=split, checkpoint=checkpoint, progress=not as_json)
    listed = result.worst(worst)
    value = {"run": result.run, **result.summary, "worst": listed, "notes": result.notes}
    emit(value, as_json, lambda: _table(result, listed, split, checkpoint))


def _table(result: Evaluation, listed: list[dict[str, Any]], split: str, checkpoint: str) -> None:
    for note in result.notes:
        typer.echo(f"note: {note}")
    intervals = result.summary["intervals"]
    rows = [
        [name, number, "{:.4g} to {:.4g}".format(*intervals[name]) if name in intervals else None]
        for name, number in result.summary["metrics"].items()
    ]
    print_table(["metric", "value", "95 % interval"], rows, f"{result.run.name}, {split}, checkpoint {checkpoint}")
    typer.echo("protocol: " + "; ".join(f"{key}: {text}" for key, text in result.summary["protocol"].items()))
    for alarm in result.summary["alarms"]:
        typer.echo(f"ALARM: {alarm}")
    if listed:
        kind, columns = next((shown for key, shown in WORST.items() if key in listed[0]), ("records", ["id"]))
        rows = [[_cell(item.get(column)) for column in columns] for item in listed]
        print_table(columns, rows, f"worst {kind}{', by SI-SDR improvement in dB' if kind == 'mixtures' else ''}")
    if result.listening is not None:
        typer.echo(f"to listen to: {result.listening}")


def _cell(value: Any) -> Any:
    return ", ".join(map(str, value)) if isinstance(value, list) else value
