"""`auscult transcribe`: recognise audio files with a trained run, on request after separating their speakers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from auscult.cli.options import AsJson, RunPath
from auscult.cli.output import emit, print_table, write

if TYPE_CHECKING:
    from auscult.serving.separated_transcripts import ShareScore


def transcribe(
    run: RunPath,
    audio: Annotated[list[Path], typer.Argument(metavar="AUDIO...", hidden=True)],
    separate: Annotated[Path | None, typer.Option(metavar="RUN", help="Separation run: transcribe every speaker of a file.")] = None,
    observation_mix: Annotated[
        str, typer.Option(help="Share of the mixture that is added to each separated voice, 0 to 1; several with commas.")
    ] = "0",
    reference: Annotated[
        Path | None, typer.Option(help="Lines of recording, speaker and words with tabs between (or JSON): print cpWER.")
    ] = None,
    checkpoint: Annotated[str, typer.Option(help="best, last, or another file of the run's checkpoints.")] = "best",
    as_json: AsJson = False,
) -> None:
    """Print the transcript of each AUDIO file (wav, flac, ogg; any rate) by the model of RUN.

    With --separate, one line per speaker. The best --observation-mix is that of fewest word errors on recordings that are not the
    test; signal-to-distortion ratios do not tell it.
    """
    from auscult.errors import UserError
    from auscult.serving.recognizer import load

    if separate is None:
        if reference is not None or observation_mix != "0":
            raise UserError("--observation-mix and --reference go with --separate RUN; `auscult score` compares transcripts of one speaker")
        records = load(run, checkpoint).transcribe(audio)
        emit(records, as_json, lambda: "\n".join(f"{record['path']}\t{record['text']}" for record in records))
        return
    from auscult.serving.diarization_files import check_names
    from auscult.serving.separated_transcripts import read_speaker_texts, score_shares, transcribe_separated
    from auscult.serving.separator import load_separator

    check_names(audio)
    shares = _shares(observation_mix)
    references = None if reference is None else read_speaker_texts(reference)
    records = transcribe_separated(load(run, checkpoint), load_separator(separate), audio, shares)
    scores = [] if references is None else score_shares(records, references)
    _emit(records, scores, as_json)


def _emit(records: list[dict[str, Any]], scores: list[ShareScore], as_json: bool) -> None:
    rows = [[one.share, one.cpwer, one.counts.errors, one.counts.length] for one in scores]
    named = [dict(zip(("observation_mix", "cpwer", "errors", "words"), row, strict=True)) for row in rows]

    def table() -> None:
        for record in records:
            write("\t".join([record["path"], record["speaker"], f"{record['observation_mix']:g}", record["text"]]))
        if rows:
            print_table(["observation mix", "cpWER", "errors", "words"], rows)

    emit({"transcripts": records, "scores": named}, as_json, table)


def _shares(text: str) -> list[float]:
    """Return the numbers in a list with commas."""
    from auscult.errors import UserError
    from auscult.serving.separated_transcripts import check_shares

    try:
        return check_shares(float(part) for part in text.split(","))
    except ValueError as error:
        raise UserError(f"--observation-mix {text}: expected numbers from 0 to 1, with commas between") from error
