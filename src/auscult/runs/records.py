"""What a run's model did on each utterance, and the metrics over them: `items/<split>.jsonl` and `summary/<split>.json`.

Why both: intervals, comparisons and error listening need the records; a list of 5,000 runs needs only the numbers.
Each file is written whole or not at all, and the same items give the same bytes, so two runs can be compared by
comparing files.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from auscult.errors import UserError
from auscult.runs.files import read_json, write_atomic, write_json
from auscult.runs.json_values import from_json, to_json


class Records:
    """The judged results in one run directory.

    Attributes:
        path: the run directory.
    """

    path: Path

    def write_items(self, split: str, items: Iterable[dict[str, Any]]) -> None:
        """Replace a split's records, one per utterance, trial or recording, in the given order.

        Raises:
            ValueError: an item has no "id", or two have the same.
            UserError: the file cannot be written.
        """
        records = list(items)
        repeated = [str(name) for name, count in Counter(item.get("id") for item in records).items() if name is None or count > 1]
        if repeated:
            raise ValueError(f"items of {split!r} must each have an id of their own; missing (None) or repeated: {', '.join(repeated[:5])}")
        write_atomic(self._items(split), "".join(to_json(item) + "\n" for item in records))

    def read_items(self, split: str) -> list[dict[str, Any]]:
        """Return a split's records in the order they were written.

        Raises:
            UserError: the split was never judged, or its file is damaged.
        """
        path = self._items(split)
        if not path.exists():
            raise self._missing(split, "items", path)
        lines = path.read_bytes().decode("utf-8", errors="replace").split("\n")
        items: list[dict[str, Any]] = []
        for number, line in enumerate(lines[:-1] if lines[-1] == "" else lines, start=1):
            try:
                items.append(from_json(line))
            except ValueError as error:
                raise UserError(f"{path}, line {number}: is damaged, expected one JSON object a line; evaluate the run again") from error
        return items

    def write_summary(self, split: str, summary: dict[str, Any]) -> None:
        """Replace a split's summary: `{"metrics": {...}, "intervals": {...}, "protocol": {...}}`.

        Raises:
            UserError: the file cannot be written.
        """
        write_json(self._summary(split), summary)

    def read_summary(self, split: str) -> dict[str, Any]:
        """Return a split's summary.

        Raises:
            UserError: the split was never judged, or its file is damaged.
        """
        path = self._summary(split)
        if not path.exists():
            raise self._missing(split, "summary", path)
        summary: dict[str, Any] = read_json(path)
        return summary

    def _items(self, split: str) -> Path:
        return self.path / "items" / f"{plain_name(split, 'split')}.jsonl"

    def _summary(self, split: str) -> Path:
        return self.path / "summary" / f"{plain_name(split, 'split')}.json"

    def _missing(self, split: str, what: str, path: Path) -> UserError:
        known = ", ".join(sorted(file.stem for file in path.parent.glob("[!.]*"))) or "none"
        return UserError(
            f'{self.path}: has no {what} of split "{split}" (there: {known}); make them with `auscult evaluate {self.path} --split {split}`'
        )


def plain_name(name: str, what: str) -> str:
    """Return a name that is safe as a file name.

    Raises:
        UserError: it is empty, hidden, or a path.
    """
    if not name or name.startswith(".") or Path(name).name != name or "\0" in name:
        raise UserError(f'{what} "{name}": expected a plain name without slashes that does not start with a dot')
    return name
