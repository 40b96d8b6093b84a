"""`auscult score`: score anybody's outputs, no run needed."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from auscult.cli.options import AsJson
from auscult.cli.output import emit
from auscult.cli.score_der import der
from auscult.cli.score_eer import eer
from auscult.cli.score_separation import separation

app = typer.Typer(add_completion=False, rich_markup_mode=None, no_args_is_help=True)
app.command()(der)
app.command()(eer)
app.command()(separation)


@app.callback()
def score() -> None:
    """Score anybody's outputs against references."""


@app.command()
def wer(
    reference: Annotated[Path, typer.Argument(metavar="REFERENCE", hidden=True)],
    hypothesis: Annotated[Path, typer.Argument(metavar="HYPOTHESIS", hidden=True)],
    normalise: Annotated[Literal["none", "english"], typer.Option(help="Compare as given, or without case and punctuation.")] = "none",
    speaker_separator: Annotated[
        str | None, typer.Option(help='Speaker = id up to this text ("-" for LibriSpeech); intervals resample speakers.')
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Word and character error rate of HYPOTHESIS against REFERENCE, files of id<TAB>text lines, with a 95 % bootstrap interval."""
    from auscult.metrics.scoring import score_wer

    value = score_wer(reference, hypothesis, normalise=normalise, speaker_separator=speaker_separator)
    emit(value, as_json, lambda: _text(value))


def _text(value: dict[str, Any]) -> str:
    low, high = value["interval"]
    edits = ", ".join(f"{value[kind]} {kind}" for kind in ("substitutions", "insertions", "deletions"))
    return (
        f"WER {100 * value['wer']:.2f} % ({100 * low:.2f} to {100 * high:.2f}, over {value['interval_over']}): "
        f"{edits} in {value['words']} words\nCER {100 * value['cer']:.2f} %"
    )
