"""`auscult transcribe`: recognise audio files with a trained run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from auscult.cli.options import AsJson, RunPath
from auscult.cli.output import emit


def transcribe(
    run: RunPath,
    audio: Annotated[list[Path], typer.Argument(metavar="AUDIO...", hidden=True)],
    checkpoint: Annotated[str, typer.Option(help="best, last, or another file of the run's checkpoints.")] = "best",
    as_json: AsJson = False,
) -> None:
    """Print the transcript of each AUDIO file (wav, flac, ogg; any rate) by the model of RUN."""
    from auscult.serving.recognizer import load

    records = load(run, checkpoint).transcribe(audio)
    emit(records, as_json, lambda: "\n".join(f"{record['path']}\t{record['text']}" for record in records))
