"""Steps and evaluations as two CSV files, for spreadsheets and for whatever reads nothing else.

`steps.csv` has one row per step and a column per number; `evaluations.csv` has one row per metric (update, split,
metric, value). A field that first appears later widens the header by rewriting the file, so a file never has two
headers.
"""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

from auscult.registry import register
from auscult.runs.files import write_atomic
from auscult.runs.sink import Sink


class _Table:
    """A CSV file that survives kill -9 (a torn last row is dropped) and grows columns."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._columns, self._rows = _load(path)
        self._rewrite()
        self._stream = path.open("a", encoding="utf-8", newline="")

    def add(self, row: dict[str, Any]) -> None:
        new = [key for key in row if key not in self._columns]
        self._rows.append({key: str(value) for key, value in row.items() if value is not None})
        if new:
            self._columns += new
            self._replace()
            return
        self._stream.write(_line([self._rows[-1].get(key, "") for key in self._columns]))
        self._stream.flush()

    def drop_after(self, update: int) -> None:
        self._rows = [row for row in self._rows if not row.get("update") or int(row["update"]) <= update]
        self._replace()

    def close(self) -> None:
        self._stream.close()

    def _replace(self) -> None:
        self._stream.close()
        self._rewrite()
        self._stream = self._path.open("a", encoding="utf-8", newline="")

    def _rewrite(self) -> None:
        lines = [_line([row.get(key, "") for key in self._columns]) for row in self._rows]
        write_atomic(self._path, (_line(self._columns) if self._columns else "") + "".join(lines))


@register("sink", "csv")
class CsvSink(Sink):
    """Writes `steps.csv` and `evaluations.csv` into a folder of the run.

    Args:
        folder: inside the run directory.
    """

    def __init__(self, folder: str = "csv") -> None:
        self._folder = folder
        self._tables: dict[str, _Table] = {}

    def open(self, run_path: Path, recipe: dict[str, Any]) -> None:
        """Open both files, keeping the rows of an interrupted run."""
        folder = run_path / self._folder
        self._tables = {name: _Table(folder / f"{name}.csv") for name in ("steps", "evaluations")}

    def write(self, event: dict[str, Any]) -> None:
        """Add a step, or one row per metric of an evaluation."""
        kind = event["event"]
        if kind == "step":
            self._tables["steps"].add({key: value for key, value in event.items() if key != "event" and _is_number(value)})
        elif kind == "evaluation":
            for metric, value in event["metrics"].items():
                row = {"time": event.get("time"), "update": event["update"], "split": event["split"], "metric": metric, "value": value}
                self._tables["evaluations"].add(row)
        elif kind == "resumed":
            for table in self._tables.values():
                table.drop_after(event["update"])

    def close(self) -> None:
        """Close both files."""
        for table in self._tables.values():
            table.close()


def _load(path: Path) -> tuple[list[str], list[dict[str, str]]]:
    if not path.exists():
        return [], []
    whole = path.read_bytes().rpartition(b"\n")[0].decode("utf-8")
    header, *rows = list(csv.reader(io.StringIO(whole))) or [[]]
    return header, [{key: value for key, value in zip(header, row, strict=True) if value} for row in rows]


def _line(values: list[str]) -> str:
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerow(values)
    return buffer.getvalue()


def _is_number(value: Any) -> bool:
    return value is None or (isinstance(value, (int, float)) and not isinstance(value, bool))
