"""`auscult diarize`: who speaks when in audio files, by a trained run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from auscult.cli.options import AsJson, RunPath
from auscult.cli.output import emit, print_table, write

if TYPE_CHECKING:
    from auscult.metrics.segments import Turn
    from auscult.serving.diarizer import Diarization


def diarize(
    run: RunPath,
    audio: Annotated[list[Path], typer.Argument(metavar="AUDIO...", hidden=True)],
    output: Annotated[Path | None, typer.Option("-o", "--output", help="Write RTTM to this file instead of printing it.")] = None,
    embedding: Annotated[
        Path | None, typer.Option(help="Verification run for the voices; left out, the only finished one beside RUN.")
    ] = None,
    speakers: Annotated[int | None, typer.Option(min=1, help="Number of speakers, if known.")] = None,
    min_speakers: Annotated[int, typer.Option(min=1, help="Fewest speakers.")] = 1,
    max_speakers: Annotated[int | None, typer.Option(min=1, help="Most speakers.")] = None,
    clustering: Annotated[
        Literal["agglomerative", "spectral", "vbx"], typer.Option(help="How speakers are counted and found.")
    ] = "agglomerative",
    stream: Annotated[bool, typer.Option("--stream", help="Decide while listening, 0.5 s at a time, as on a live stream.")] = False,
    reference: Annotated[Path | None, typer.Option(help="RTTM file or folder that --figure shows beside the answer.")] = None,
    figure: Annotated[Path | None, typer.Option(help="Draw who spoke when to this picture (png, svg or pdf); needs --reference.")] = None,
    checkpoint: Annotated[str, typer.Option(help="best, last, or another file of the run's checkpoints.")] = "best",
    as_json: AsJson = False,
) -> None:
    """Say who speaks when in each AUDIO file (wav, flac, ogg; any rate) by the segmentation of RUN, as RTTM."""
    from auscult.metrics.rttm import rttm_text
    from auscult.runs.files import write_atomic
    from auscult.serving.diarization_files import check_names, diarize_files, recording_name
    from auscult.serving.diarizer import load_diarizer

    check_names(audio)
    references = _references(reference, figure, audio)
    diarizer = load_diarizer(run, embedding, checkpoint, clustering)
    found = diarize_files(diarizer, audio, speakers, min_speakers, max_speakers, stream)
    text = rttm_text({recording_name(path): one.turns for path, one in found.items()})
    if output is not None:
        write_atomic(output, text)
    for note in dict.fromkeys(note for one in found.values() for note in one.notes):
        typer.echo(f"note: {note}", err=True)
    figures = [] if figure is None else _draw(figure, {path: one.turns for path, one in found.items()}, references)
    value = {"rttm": output, "figures": figures, "recordings": [_record(path, one) for path, one in found.items()]}

    def table() -> None:
        if output is None:
            write(text)
            return
        for path, one in found.items():
            rows = [[turn.start, turn.end, turn.speaker, turn.confidence] for turn in one.turns]
            print_table(["start", "end", "speaker", "confidence"], rows, f"{path}: {len(one.speakers)} speakers, {one.seconds:.1f} s")

    emit(value, as_json, table)


def _record(path: Path, found: Diarization) -> dict[str, Any]:
    turns = [{"start": turn.start, "end": turn.end, "speaker": turn.speaker, "confidence": turn.confidence} for turn in found.turns]
    return {"path": path, "seconds": found.seconds, "speakers": list(found.speakers), "turns": turns, "notes": found.notes}


def _references(reference: Path | None, figure: Path | None, audio: list[Path]) -> dict[str, Any]:
    """Return the reference turns by recording; every file that is drawn must have some."""
    from auscult.cli.timelines import check_picture
    from auscult.errors import UserError
    from auscult.serving.diarization_files import read_references, recording_name

    if (reference is None) != (figure is None):
        raise UserError("--figure and --reference go together: the picture shows the answer beside the reference")
    if reference is None or figure is None:
        return {}
    check_picture(figure)
    turns = read_references(reference)
    for path in audio:
        if recording_name(path) not in turns:
            raise UserError(
                f'{reference}: no turns of "{recording_name(path)}"; name the recording there as the audio file, without its ending'
            )
    return turns


def _draw(figure: Path, found: dict[Path, list[Turn]], references: dict[str, Any]) -> list[Path]:
    """Draw one picture per recording; several get the recording's name before the ending."""
    from auscult.cli.timelines import draw_timeline
    from auscult.serving.diarization_files import recording_name

    pictures = []
    for path, turns in found.items():
        name = figure.stem if len(found) == 1 else f"{figure.stem}.{recording_name(path)}"
        pictures += draw_timeline(figure.parent, name, figure.suffix, references[recording_name(path)], turns, str(path), None)
    return pictures
