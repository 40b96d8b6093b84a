"""What a page says of records it knows nothing about: those of a task that somebody else has written.

The metrics and alarms of such a task are in its summary like those of any other; of its records a page can show what they are. Where they
have a loss or an error, the largest come first.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from auscult.report.html_parts import number, paragraph, section, table
from auscult.report.panels import shorten
from auscult.report.train_record import Judged

MOST_RECORDS = 30
MOST_COLUMNS = 10
MOST_LETTERS = 60
_BADNESS = ("error", "loss", "errors")


def beside(judged: Judged) -> str:
    """Return that nothing is known of answers without listening."""
    return paragraph(f"{judged.split}: the task states none besides its metrics")


def worst(judged: Judged) -> str:
    """Return the first records, those with the largest error or loss first where they have one."""
    title = f"Records of {judged.split}"
    if not judged.items:
        return section(title, paragraph("none"))
    key = next((name for name in _BADNESS if all(isinstance(item.get(name), int | float) for item in judged.items)), None)
    items = judged.items if key is None else sorted(judged.items, key=lambda item: (-float(item[key]), str(item["id"])))
    columns = _columns(judged.items)
    rows = [[_cell(item.get(column)) for column in columns] for item in items[:MOST_RECORDS]]
    order = "in the order of the file" if key is None else f"largest {key} first"
    return section(title, paragraph(f"{len(rows):,} of {len(items):,}, {order}.", "soft"), table(columns, rows))


def _columns(items: Sequence[Mapping[str, Any]]) -> list[str]:
    plain = dict.fromkeys(key for item in items for key, value in item.items() if isinstance(value, str | int | float | None))
    return ["id", *(key for key in plain if key != "id")][:MOST_COLUMNS]


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return number(value)
    return "–" if value is None else shorten(str(value), MOST_LETTERS)
