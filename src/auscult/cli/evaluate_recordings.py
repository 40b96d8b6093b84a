"""The part of `auscult evaluate` that judges whole recordings: `--reference ref.rttm` with a diarization run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from auscult.cli.output import emit, print_table

if TYPE_CHECKING:
    from auscult.metrics.segments import Annotation, Evaluated
    from auscult.serving.diarization_evaluation import DiarizationEvaluation


def evaluate_recordings(
    run: Path, reference: Path, uem: Path | None, embedding: Path | None, audio: Path | None, checkpoint: str, figures: bool, as_json: bool
) -> None:
    """Print the error rates of a diarization run on recordings, beside those of systems that do not listen, and keep them in the run.

    Args:
        run: diarization run.
        reference: RTTM file, or folder of them.
        uem: UEM file or folder; None scores whole recordings.
        embedding: verification run; None takes the only finished one beside `run`.
        audio: folder of the recordings; None takes the test split of the run's recipe.
        checkpoint: of the diarization run.
        figures: draw a timeline per recording into the run's figures folder.
        as_json: for machines.
    """
    from auscult.serving.diarization_evaluation import audio_of_test_split, evaluate_diarization, find_audio
    from auscult.serving.diarization_files import read_evaluated, read_references
    from auscult.serving.diarizer import load_diarizer

    turns = read_references(reference)
    regions = None if uem is None else read_evaluated(uem)
    files = audio_of_test_split(run) if audio is None else find_audio(audio)
    diarizer = load_diarizer(run, embedding, checkpoint)
    result = evaluate_diarization(diarizer.diarize, turns, files, regions)
    drawn = _draw(run, result, turns, regions) if figures else []
    scores = {
        "systems": result.systems,
        "per_file": result.per_file,
        "protocol": result.protocol,
        "real_time_factor": result.real_time_factor,
        "notes": result.notes,
    }
    _keep(run, scores, drawn, {"checkpoint": checkpoint, "embedding": embedding, "reference": reference, "uem": uem})
    value = {"run": run, **scores, "figures": drawn}
    emit(value, as_json, lambda: _table(run, result))


def _keep(run: Path, scores: dict[str, Any], drawn: list[Path], made_from: dict[str, Any]) -> None:
    """Store what a report shows of whole recordings: names only of what was used, since folders mean nothing elsewhere."""
    from auscult.runs.directory import RunDirectory

    names = {key: value if value is None else Path(value).name for key, value in made_from.items()}
    RunDirectory.open(Path(run)).write_summary("recordings", {**scores, **names, "figures": [path.name for path in drawn]})


def _table(run: Path, result: DiarizationEvaluation) -> None:
    for note in result.notes:
        typer.echo(f"note: {note}")
    columns = ["DER full", "miss", "false alarm", "confusion", "DER fair", "DER forgiving", "JER"]
    keys = ["der_full", "miss_full", "false_alarm_full", "confusion_full", "der_fair", "der_forgiving", "jer"]
    rows = [[name, *(_percent(scores[key]) for key in keys)] for name, scores in result.systems.items()]
    print_table(["system", *columns], rows, f"{Path(run).name}: {len(result.per_file)} recordings pooled, % of reference speaker time")
    files = [
        [name, *(_percent(scores[key]) for key in keys), scores["speakers_found"], scores["speakers_reference"]]
        for name, scores in result.per_file.items()
    ]
    print_table(["recording", *columns, "speakers found", "in the reference"], files)
    typer.echo("protocol: " + "; ".join(result.protocol))
    if result.real_time_factor is not None:
        typer.echo(f"real-time factor: {result.real_time_factor:.4f}")


def _percent(share: Any) -> float | None:
    return None if share is None else round(100.0 * float(share), 2)


def _draw(run: Path, result: DiarizationEvaluation, reference: Annotation, regions: Evaluated | None) -> list[Path]:
    from auscult.cli.timelines import draw_timeline
    from auscult.runs.directory import RunDirectory

    folder = RunDirectory.open(Path(run)).figures_folder
    pictures = []
    for name, turns in result.turns.items():
        scored = None if regions is None else regions[name]
        pictures += draw_timeline(folder, f"timeline.{name}", ".png", reference[name], turns, name, scored)
    return pictures
