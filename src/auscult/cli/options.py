"""Arguments and options that several verbs share, so that they read the same everywhere.

Arguments are `hidden` from the list on a verb's help page and named in its usage line and docstring instead: typer 0.20 loses
their help text under click 8.5.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, TypeAlias

import typer

RecipePath: TypeAlias = Annotated[Path, typer.Argument(metavar="RECIPE", hidden=True)]
Overrides: TypeAlias = Annotated[list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", hidden=True)]
AsJson: TypeAlias = Annotated[bool, typer.Option("--json", help="Print JSON for machines instead of text for people.")]
RunPath: TypeAlias = Annotated[Path, typer.Argument(metavar="RUN", hidden=True)]
Root: TypeAlias = Annotated[Path, typer.Option("--root", help="Folder of run directories.")]
