"""`auscult prepare`: a folder people already have, into manifests."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from auscult.cli.options import AsJson, Overrides
from auscult.cli.output import emit, print_table


def prepare(
    corpus: Annotated[str, typer.Argument(metavar="CORPUS", hidden=True)],
    source: Annotated[str | None, typer.Argument(metavar="[SRC]", hidden=True)] = None,
    overrides: Overrides = None,
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder to write manifests to.")] = Path("data"),
    check: Annotated[bool, typer.Option(help="Decode every file once, so that damaged audio is found now.")] = True,
    pack: Annotated[bool, typer.Option("--pack", help="Keep the decoded audio in one file, which training reads from.")] = False,
    pack_rate: Annotated[
        int | None,
        typer.Option("--pack-rate", min=1, help="Sample rate of the pack in hertz, where recordings have several; implies --pack."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Read a CORPUS from SRC, check every file, write one manifest per split, and the references of conversations.

    CORPUS is ami, folder, fsdd, hdf5_folder, librispeech, manifests, mixture_folder, polsess, rttm_folder, synthetic,
    voxceleb or voxconverse.
    KEY=VALUE sets the corpus's own parameters, such as error_budget=3; synthetic takes no SRC.
    """
    from auscult.corpora.prepare import prepare as prepare_corpus
    from auscult.recipe import section_from
    from auscult.registry import lookup, parameters

    settings = list(overrides or [])
    values: dict[str, str] = {"name": corpus}
    if source is not None and "=" in source and not Path(source).exists():
        settings.insert(0, source)
    elif source is not None:
        values[next(iter(parameters(lookup("corpus", corpus))))] = source
    section = section_from("corpus", values, settings)
    packing = pack or pack_rate is not None
    with _progress(corpus, enabled=not as_json) as show:
        prepared = prepare_corpus(
            section.build(), output, check="full" if check else "header", pack=packing, pack_rate=pack_rate, progress=show
        )
    value = {"folder": prepared.folder, **prepared.description}

    def table() -> None:
        rows = [[name, *(part.get(key) for key in ("utterances", "hours", "speakers"))] for name, part in value["splits"].items()]
        print_table(["split", "utterances", "hours", "speakers"], rows, f"{corpus} -> {prepared.folder}")
        for problem in prepared.problems:
            typer.echo(f"left out: {problem}")
        if "pack" in value:
            typer.echo(_about(value["pack"]))

    emit(value, as_json, table)


def _about(pack: dict[str, Any]) -> str:
    size = f"recordings packed into {pack['file']} at {pack['sample_rate']} Hz: {pack['recordings']}"
    return f"{size}; 32 bits because {pack['float32_because']}" if "float32_because" in pack else size


@contextmanager
def _progress(title: str, enabled: bool) -> Iterator[Callable[[int, int], None]]:
    """Give a function that draws a bar once it is told how long that is."""
    from auscult.training.progress import ProgressBar

    with ExitStack() as stack:
        bars: list[ProgressBar] = []

        def show(done: int, total: int) -> None:
            if not bars:
                bars.append(stack.enter_context(ProgressBar(title, total, enabled=enabled)))
            bars[0].show(done, "")

        yield show
