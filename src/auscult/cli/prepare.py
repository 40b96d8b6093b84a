"""`auscult prepare`: a folder people already have, into manifests."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from auscult.cli.options import AsJson, Overrides
from auscult.cli.output import emit, print_table


def prepare(
    corpus: Annotated[str, typer.Argument(help="Registered corpus: librispeech, folder, fsdd, manifests, synthetic, ...")],
    source: Annotated[str | None, typer.Argument(help="Folder or manifest of the corpus; none for synthetic.")] = None,
    overrides: Overrides = None,
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder to write manifests to.")] = Path("data"),
    check: Annotated[bool, typer.Option(help="Decode every file once, so that damaged audio is found now.")] = True,
    as_json: AsJson = False,
) -> None:
    """Read a corpus, check every file, and write one manifest per split."""
    from auscult.corpora.prepare import prepare as prepare_corpus
    from auscult.recipe import section_from

    settings = list(overrides or [])
    if source is not None and "=" in source and not Path(source).exists():
        settings.insert(0, source)
        source = None
    section = section_from("corpus", corpus, settings, first=source)
    prepared = prepare_corpus(section.build(), output, check="full" if check else "header")
    value = {"folder": prepared.folder, **prepared.description}

    def table() -> None:
        rows = [[name, *(part.get(key) for key in ("utterances", "hours", "speakers"))] for name, part in value["splits"].items()]
        print_table(["split", "utterances", "hours", "speakers"], rows, f"{corpus} -> {prepared.folder}")
        for problem in prepared.problems:
            typer.echo(f"left out: {problem}")

    emit(value, as_json, table)
