"""`auscult separate`: take recordings of several speakers apart, in constant memory, as files or through pipes.

stdout carries the sound where it was asked for (`-o -`); what there is to say then goes to stderr.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from auscult.cli.options import AsJson, RunPath
from auscult.cli.output import emit, print_table, to_json

if TYPE_CHECKING:
    from auscult.serving.separator import RunSeparator

_PIPE = Path("-")
_LONG_SECONDS = 60.0


def separate(
    run: RunPath,
    audio: Annotated[list[Path], typer.Argument(metavar="AUDIO...", hidden=True)],
    output: Annotated[
        Path, typer.Option("-o", "--output", help="Folder of the results, or - to write one channel per speaker to standard output.")
    ] = Path("separated"),
    rate: Annotated[int | None, typer.Option(min=1, help="Sample rate of AUDIO -: 16-bit samples without a header.")] = None,
    encoding: Annotated[Literal["pcm16", "float32"], typer.Option(help="Samples of the files that are written.")] = "pcm16",
    batch: Annotated[int | None, typer.Option(min=1, help="Windows at a time; left out, 8, and 1 through a pipe.")] = None,
    seconds: Annotated[float | None, typer.Option(min=0.1, help="Length of the windows; left out, that of the training.")] = None,
    checkpoint: Annotated[str, typer.Option(help="best, last, or another file of the run's checkpoints.")] = "best",
    as_json: AsJson = False,
) -> None:
    """Take each AUDIO file (wav, flac, ogg; any rate and length) apart by the model of RUN, into OUT/<name>-speaker1.wav, ...

    AUDIO - reads WAV (or, with --rate, bare 16-bit little-endian samples of one channel) from standard input. -o - writes 16-bit samples of
    all speakers, interleaved, as WAV of unstated length; bare where the input is bare.
    """
    from auscult.errors import UserError
    from auscult.serving.separator import BATCH, load_separator

    piped = _PIPE in audio or output == _PIPE
    if piped and len(audio) > 1:
        raise UserError("one recording at a time goes through standard input or output; give one AUDIO")
    if rate is not None and audio != [_PIPE]:
        raise UserError("--rate states what bare samples on standard input are; files state their own rate")
    separator = load_separator(run, checkpoint, seconds=seconds, batch=batch if batch is not None else 1 if piped else BATCH)
    records = [_through_pipe(separator, audio[0], output, rate, encoding)] if piped else _files(separator, audio, output, encoding, as_json)
    if output == _PIPE and as_json:
        typer.echo(to_json(records), err=True)
        return
    for note in dict.fromkeys(note for record in records for note in record["notes"]):
        typer.echo(f"note: {note}", err=True)
    if output != _PIPE:
        emit(records, as_json, lambda: _table(records))


def _files(separator: RunSeparator, audio: list[Path], output: Path, encoding: Any, as_json: bool) -> list[dict[str, Any]]:
    from auscult.audio.reading import probe
    from auscult.serving.separation_files import check_outputs

    check_outputs(audio, output, separator.sources)
    records = []
    for path in audio:
        total = probe(path).seconds
        with _bar(path, total, total >= _LONG_SECONDS and not as_json) as advance:
            records.append(separator.separate_file(path, output, encoding, advance))
    return records


@contextmanager
def _bar(path: Path, total: float, enabled: bool) -> Iterator[Any]:
    """A bar that counts whole seconds of audio."""
    from auscult.training.progress import ProgressBar

    with ProgressBar(f"{path.name}, seconds", int(total), enabled=enabled) as bar:
        heard = 0.0

        def advance(more: float) -> None:
            nonlocal heard
            heard += more
            bar.show(min(int(heard), int(total)), "")

        yield advance


def _through_pipe(separator: RunSeparator, audio: Path, output: Path, rate: int | None, encoding: Any) -> dict[str, Any]:
    from auscult.audio.blocks import PipeFormat, file_blocks, pipe_blocks, read_pipe_header
    from auscult.audio.reading import probe
    from auscult.serving.separation_files import separate_to_folder, separate_to_pipe

    if audio == _PIPE:
        layout = read_pipe_header(sys.stdin.buffer) if rate is None else PipeFormat(rate)
        blocks, found_rate, name = pipe_blocks(sys.stdin.buffer, layout), layout.sample_rate, "stdin"
    else:
        blocks, found_rate, name = file_blocks(audio), probe(audio).sample_rate, str(audio)
    if output == _PIPE:
        return separate_to_pipe(separator, blocks, found_rate, name, sys.stdout.buffer, bare=rate is not None)
    return separate_to_folder(separator, blocks, found_rate, name, output, encoding)


def _table(records: list[dict[str, Any]]) -> None:
    rows = [
        [one["path"], one["seconds"], one["windows"], one["swap_rate"], one["low_margin_joins"], one["gain"], "\n".join(one["outputs"])]
        for one in records
    ]
    print_table(["recording", "seconds", "windows", "swap rate", "low-margin joins", "gain", "written"], rows)
