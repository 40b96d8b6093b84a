"""Arguments and options that several verbs share, so that they read the same everywhere.

Arguments are `hidden` from the list on a verb's help page and named in its usage line and docstring instead: typer 0.20 loses
their help text under click 8.5.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeAlias

import typer

if TYPE_CHECKING:
    from auscult.recipe import Recipe

RecipePath: TypeAlias = Annotated[Path, typer.Argument(metavar="RECIPE", hidden=True)]
Overrides: TypeAlias = Annotated[list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", hidden=True)]
AsJson: TypeAlias = Annotated[bool, typer.Option("--json", help="Print JSON for machines instead of text for people.")]
RunPath: TypeAlias = Annotated[Path, typer.Argument(metavar="RUN", hidden=True)]
Root: TypeAlias = Annotated[Path, typer.Option("--root", help="Folder of run directories.")]


def read_recipe(path: Path, overrides: list[str] | None) -> Recipe:
    """Load a recipe, and say on standard error what its `size` has derived."""
    from auscult.recipe import Recipe

    recipe = Recipe.load(path, overrides=overrides or [])
    for key, value in recipe.derived.items():
        typer.echo(f"size {recipe.size}: {key} = {value}", err=True)
    return recipe
