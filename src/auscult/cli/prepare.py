"""`auscult prepare`: a folder people already have, into manifests."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from auscult.cli.options import AsJson, Overrides
from auscult.cli.output import emit, print_table


def prepare(
    corpus: Annotated[str, typer.Argument(metavar="CORPUS", hidden=True)],
    source: Annotated[str | None, typer.Argument(metavar="[SRC]", hidden=True)] = None,
    overrides: Overrides = None,
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder to write manifests to.")] = Path("data"),
    check: Annotated[bool, typer.Option(help="Decode every file once, so that damaged audio is found now.")] = True,
    as_json: AsJson = False,
) -> None:
    """Read a CORPUS from SRC, check every file, write one manifest per split, and the references of conversations.

    CORPUS is ami, folder, fsdd, librispeech, manifests, rttm_folder, synthetic, voxceleb or voxconverse.
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
    prepared = prepare_corpus(section.build(), output, check="full" if check else "header")
    value = {"folder": prepared.folder, **prepared.description}

    def table() -> None:
        rows = [[name, *(part.get(key) for key in ("utterances", "hours", "speakers"))] for name, part in value["splits"].items()]
        print_table(["split", "utterances", "hours", "speakers"], rows, f"{corpus} -> {prepared.folder}")
        for problem in prepared.problems:
            typer.echo(f"left out: {problem}")

    emit(value, as_json, table)
