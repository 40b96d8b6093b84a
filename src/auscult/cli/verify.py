"""`auscult verify`: are two recordings of one speaker?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from auscult.cli.options import AsJson, RunPath
from auscult.cli.output import emit

if TYPE_CHECKING:
    from auscult.serving.embedder import Comparison


def verify(
    run: RunPath,
    first: Annotated[Path, typer.Argument(metavar="FIRST", hidden=True)],
    second: Annotated[Path, typer.Argument(metavar="SECOND", hidden=True)],
    prior: Annotated[float, typer.Option(help="Share of same-speaker pairs before listening, between 0 and 1.")] = 0.5,
    checkpoint: Annotated[str, typer.Option(help="best, last, or another file of the run's checkpoints.")] = "best",
    as_json: AsJson = False,
) -> None:
    """Compare the audio files FIRST and SECOND by the encoder of RUN: score, log-likelihood ratio and probability of one speaker."""
    from auscult.serving.embedder import load_embedder

    found = load_embedder(run, checkpoint).verify(first, second, prior)
    emit(found.to_dict(), as_json, lambda: _text(found))


def _text(found: Comparison) -> str:
    if found.probability is None or found.log_likelihood_ratio is None:
        return f"score {found.score:.4f}, not calibrated ({found.calibration})"
    return (
        f"probability of one speaker {found.probability:.3f} (prior {found.prior:g}), log-likelihood ratio "
        f"{found.log_likelihood_ratio:+.2f}, score {found.score:.4f}; calibration: {found.calibration}"
    )
