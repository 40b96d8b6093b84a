"""`auscult embed`: speaker embeddings of audio files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from auscult.cli.options import AsJson, RunPath
from auscult.cli.output import emit


def embed(
    run: RunPath,
    audio: Annotated[list[Path], typer.Argument(metavar="AUDIO...", hidden=True)],
    output: Annotated[Path, typer.Option("-o", "--output", help="An .npz file with ids, embeddings and seconds.")] = Path("embeddings.npz"),
    checkpoint: Annotated[str, typer.Option(help="best, last, or another file of the run's checkpoints.")] = "best",
    as_json: AsJson = False,
) -> None:
    """Write one embedding per AUDIO file (wav, flac, ogg; any rate) by the encoder of RUN."""
    from auscult.serving.embedder import load_embedder

    found = load_embedder(run, checkpoint).embed(audio)
    found.save(output)
    for note in found.notes:
        typer.echo(f"note: {note}", err=True)
    value = {
        "output": output, "files": len(found.paths), "dimensions": found.vectors.shape[1], "seconds": float(found.seconds.sum()),
        "notes": list(found.notes),
    }  # fmt: skip
    emit(value, as_json, lambda: f"{output}: {len(found.paths)} embeddings of {found.vectors.shape[1]} numbers")
