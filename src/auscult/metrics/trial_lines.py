"""Lines of trial lists and score files: columns with their line numbers, labels, and pairs that must not contradict one another.

Problem: lists come as `1 a b`, `a b target` or with scores, from several tools; guessing the order per line turns ids into labels, and
a list that calls the same pair both the same speaker and different ones cannot be scored. Choice: the order of columns holds for the whole
file or the file is refused, and every refusal names the line.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from auscult.errors import UserError

LABELS: Mapping[str, bool] = {"1": True, "0": False, "target": True, "nontarget": False}
"""How files write that both recordings are of the same speaker, or not."""


class Line(NamedTuple):
    """A line that is not blank: its number in the file, from 1, and its columns."""

    number: int
    columns: tuple[str, ...]


def read_lines(path: Path, what: str) -> list[Line]:
    """Return the columns of all lines that are not blank, the same number in each.

    Columns are separated by tabs where a line has any (ids may then hold spaces), else by white space.

    Args:
        path: a UTF-8 file.
        what: what the file is, for messages ("trial list").

    Raises:
        UserError: the file is missing, not UTF-8 or empty, or lines have different numbers of columns.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise UserError(f"{path}: cannot read the {what} ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 (byte {error.start}); convert the {what} to UTF-8") from error
    lines = [Line(number, _columns(line)) for number, line in enumerate(text.split("\n"), start=1) if line.strip()]
    if not lines:
        raise UserError(f"{path}: no trials; the {what} is empty")
    width = len(lines[0].columns)
    for number, columns in lines:
        if len(columns) != width:
            raise UserError(
                f"{path}:{number}: {len(columns)} columns, but line {lines[0].number} has {width}; every line of a {what} "
                "needs the same columns (separate them by tabs if ids hold spaces)"
            )
    return lines


def _columns(line: str) -> tuple[str, ...]:
    return tuple(one.strip() for one in line.strip("\r\n").split("\t")) if "\t" in line else tuple(line.split())


def first_misfit(lines: Sequence[Line], column: int) -> Line | None:
    """Return the first line whose column is no label, or None."""
    return next((line for line in lines if line.columns[column] not in LABELS), None)


class PairLedger:
    """Remembers the label of every pair of files, in either order, and refuses contradictions and files against themselves."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.seen: dict[tuple[str, str], tuple[bool, int]] = {}

    def add(self, number: int, first: str, second: str, label: bool) -> None:
        """Note the trial of a line.

        Raises:
            UserError: a trial of a file with itself, or a pair that an earlier line labels otherwise.
        """
        if first == second:
            raise UserError(f'{self.path}:{number}: "{first}" is compared with itself, which any model gets right; remove the line')
        key = (first, second) if first < second else (second, first)
        before, line = self.seen.setdefault(key, (label, number))
        if before != label:
            raise UserError(
                f'{self.path}:{number}: "{first}" and "{second}" are labelled {int(label)} here and {int(before)} on line {line}; '
                "one pair of files is of one speaker or of two"
            )
