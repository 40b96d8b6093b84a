"""`auscult recipe show` and `auscult recipe schema`: what a recipe means, and what a recipe may say."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from auscult.cli.options import AsJson, Overrides, RecipePath
from auscult.cli.output import emit, to_json, write

if TYPE_CHECKING:
    from auscult.recipe import Recipe

app = typer.Typer(add_completion=False, rich_markup_mode=None, no_args_is_help=True)


@app.callback()
def recipe() -> None:
    """Show a recipe with everything resolved, or the schema of recipes."""


@app.command()
def show(recipe: RecipePath, overrides: Overrides = None, as_json: AsJson = False) -> None:
    """Print a recipe with everything resolved.

    Parents, size, overrides (KEY=VALUE, such as optimizer.lr=3e-4) and defaults are filled in; what is printed is a recipe again.
    """
    from auscult.recipe.attack import load_recipe

    resolved = load_recipe(recipe, overrides or [])
    emit(resolved.to_dict(), as_json, lambda: _commented(resolved))


def _commented(resolved: Recipe) -> str:
    lines = [f"# hash {resolved.hash}"]
    lines += [f"# from size {resolved.size}: {key} = {value}" for key, value in resolved.derived.items()]
    return "\n".join(lines) + "\n" + resolved.to_yaml()


@app.command()
def schema(
    output: Annotated[Path | None, typer.Option("-o", "--output", help="Write to this file instead of printing.")] = None,
    as_json: AsJson = True,
) -> None:
    """Print the JSON Schema of recipes.

    A recipe that begins with the comment "# yaml-language-server: $schema=schema.json" is completed by editors that run the
    YAML language server; the path is relative to the recipe.
    """
    from auscult.errors import UserError
    from auscult.recipe import Recipe

    text = to_json(Recipe.json_schema())
    if output is None:
        write(text)
        return
    try:
        output.write_text(f"{text}\n", encoding="utf-8")
    except OSError as error:
        raise UserError(f"{output}: cannot be written ({error.strerror}); name a file in an existing folder") from error
