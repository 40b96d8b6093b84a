"""`auscult generate`: a corpus of mixtures out of recordings of single speakers, scenes and events."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from auscult.cli.options import AsJson, Overrides
from auscult.cli.output import emit, print_table

app = typer.Typer(add_completion=False, rich_markup_mode=None, no_args_is_help=True)


@app.callback()
def generate() -> None:
    """Make a corpus of mixtures from recordings of single speakers, scenes and events."""


@app.command()
def polsess(
    settings: Annotated[Path, typer.Argument(metavar="SETTINGS", hidden=True)],
    overrides: Overrides = None,
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder to write the corpus to.")] = Path("polsess"),
    jobs: Annotated[int, typer.Option("--jobs", min=1, help="Processes; they change nothing but the time.")] = 1,
    as_json: AsJson = False,
) -> None:
    """Mix two speakers, a scene, an event and their reverberation as SETTINGS say, with every layer as a file of its own.

    SETTINGS is a YAML file such as recipes/corpora/polsess_mini.yaml; KEY=VALUE changes some of them, such as counts.train=500.
    """
    from auscult.corpora.generation.generate import generate_polsess
    from auscult.corpora.generation.settings import load_settings
    from auscult.training.progress import ProgressBar

    loaded = load_settings(settings, overrides or [])
    with ProgressBar("mixtures", sum(loaded.counts.values()), enabled=not as_json) as bar:
        made = generate_polsess(loaded, output, jobs, lambda done, _: bar.show(done, ""))
    emit({"folder": made.folder, **made.description}, as_json, lambda: _show(made.folder, made.description))


def _show(folder: Path, description: dict[str, Any]) -> None:
    columns = ["split", "mixtures", "hours", "speakers", "indoor", "same speaker", "drawn again: peak", "silence", "residual"]
    rows = []
    for split, part in description["splits"].items():
        share = f"{100 * part['indoor'] / part['mixtures']:.0f} %"
        again = part["redraws"]
        rows.append(
            [
                split,
                part["mixtures"],
                part["hours"],
                part["speakers"],
                share,
                part["same_speaker"],
                again["peak"],
                again["silence"],
                part["residual"],
            ]
        )
    print_table(columns, rows, f"polsess -> {folder}")
    for what, count in description["short"].items():
        if count:
            typer.echo(f"left out because they are shorter than a mixture: {count} recordings ({what})")
    for split, part in description["splits"].items():
        if "expected_same_speaker" in part:
            typer.echo(f"{split}: two files of one speaker are expected in {100 * part['expected_same_speaker']:.1f} % of the mixtures")
