"""What verbs print: JSON for machines or text for people, one call for both.

stdout carries the answer and nothing else; messages go to stderr. JSON has no NaN, so a non-finite number is printed as null.
rich is imported only when a table is drawn.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

WIDE = 240
"""Columns of a table that is not printed to a terminal: nothing is cut off in a pipe or a log."""


def emit(value: Mapping[str, Any] | Sequence[Any], as_json: bool, table: Callable[[], str | None]) -> None:
    """Print a verb's answer.

    Args:
        value: the answer as plain values; NumPy scalars and paths are accepted.
        as_json: print `value` as JSON.
        table: otherwise called; prints for people itself (`print_table`), or returns text to print.
    """
    if as_json:
        write(to_json(value))
        return
    text = table()
    if text is not None:
        write(text)


def write(text: str) -> None:
    """Print text to stdout, with a line end."""
    sys.stdout.write(text if text.endswith("\n") else f"{text}\n")


def to_json(value: Any) -> str:
    """Return a value as indented JSON, non-finite numbers as null.

    >>> to_json({"wer": float("nan")})
    '{\\n  "wer": null\\n}'
    """
    return json.dumps(_plain(value), indent=2, ensure_ascii=False, allow_nan=False)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(child) for key, child in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(child) for child in value]
    if isinstance(value, Path):
        return str(value)
    if hasattr(value, "tolist"):
        return _plain(value.tolist())
    return None if isinstance(value, float) and not math.isfinite(value) else value


def print_table(columns: Sequence[str], rows: Sequence[Sequence[Any]], title: str | None = None) -> None:
    """Print rows under column headings; columns of numbers are aligned to the right, None is shown as a dash.

    Args:
        columns: headings.
        rows: one value per column; floats are shown with four significant digits.
        title: line above the table.
    """
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(file=sys.stdout, width=None if sys.stdout.isatty() else WIDE)
    if title is not None:
        console.print(Text(title), soft_wrap=True)
    table = Table(box=None, pad_edge=False, header_style="bold")
    for position, column in enumerate(columns):
        values = [row[position] for row in rows if row[position] is not None]
        numeric = bool(values) and all(isinstance(value, (int, float)) for value in values)
        table.add_column(Text(column), justify="right" if numeric else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(_shown(value)) for value in row))
    console.print(table)


def _shown(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.4g}"
    return str(value)
