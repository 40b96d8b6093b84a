"""A table of all runs in a folder, kept in `index.sqlite` so that listing thousands is instant.

Problem: reading 5,000 folders for every `auscult runs` takes seconds. Choice: a cache in SQLite (WAL, several
processes at once) of what each folder said when its files last changed; listing looks at file times only and rereads
what moved. The folders stay the truth: the file can be deleted, damaged or unwritable at any time, and the answer is
the same, only slower. Rejected: writing to the index from the trainer (a second truth that a crash leaves behind).
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, TypeVar

from auscult.errors import UserError, did_you_mean
from auscult.runs.directory import current_state, find_runs
from auscult.runs.json_values import from_json, to_json
from auscult.runs.scanning import COLUMNS, scan, signature
from auscult.runs.state import State

_VERSION = 1
_WAIT = 30.0
"""Seconds to wait for another process's write."""

_T = TypeVar("_T")


class RunIndex:
    """The runs directly in a folder, as rows.

    Args:
        root: the folder of runs, usually `runs`.
    """

    def __init__(self, root: Path) -> None:
        self.root = Path(root)
        self.path = self.root / "index.sqlite"

    def refresh(self) -> int:
        """Bring the index up to date and return how many runs were read again; the others had not changed."""
        return self._use(self._refresh) if self.root.is_dir() else 0

    def rows(self, where: Mapping[str, Any] | None = None, sort: str | None = None, descending: bool = False) -> list[dict[str, Any]]:
        """Return one dictionary per run, up to date: the columns of `scanning.COLUMNS`, then the run's metrics by name.

        Args:
            where: keep runs whose column equals the value (compared as text too, so "7" finds seed 7); a list allows any of several.
            sort: column or metric to sort by; runs without it, or with nan, come last either way. Default: by time of creation.
            descending: largest first.

        Raises:
            UserError: no run has a column of that name.
        """
        if not self.root.is_dir():
            return []
        rows = self._use(self._read)
        known = list(dict.fromkeys([*COLUMNS, *(key for row in rows for key in row)]))
        for key in [*(where or {}), *([sort] if sort else [])]:
            if rows and key not in known:
                raise UserError(f'{self.root}: no run has a column "{key}"{did_you_mean(key, known)}; columns: {", ".join(known)}')
        chosen = [row for row in rows if all(_matches(row.get(key), value) for key, value in (where or {}).items())]
        return _sorted(chosen, sort or "created", descending)

    def _read(self, connection: sqlite3.Connection) -> list[dict[str, Any]]:
        self._refresh(connection)
        try:
            return [_flat(from_json(text)) for (text,) in connection.execute("SELECT content FROM runs ORDER BY run")]
        except (ValueError, KeyError) as error:
            raise sqlite3.DatabaseError(f"{self.path}: a row is damaged") from error

    def _refresh(self, connection: sqlite3.Connection) -> int:
        known = dict(connection.execute("SELECT run, signature FROM runs"))
        current = {run.name: signature(str(run)) for run in find_runs(self.root)}
        changed = [name for name, mark in current.items() if known.get(name) != mark]
        rows = [(name, current[name], to_json(scan(self.root / name))) for name in changed]
        gone = [(name,) for name in known if name not in current]
        if rows or gone:
            with connection:
                connection.executemany("INSERT OR REPLACE INTO runs VALUES (?, ?, ?)", rows)
                connection.executemany("DELETE FROM runs WHERE run = ?", gone)
        return len(changed)

    def _use(self, action: Callable[[sqlite3.Connection], _T]) -> _T:
        """Run an action on the index: the file, a fresh one where that is damaged, or memory where no file can be used."""
        if not os.access(self.root, os.W_OK):
            return self._in_memory(action)
        try:
            with self._guard(fcntl.LOCK_SH):
                return self._on_file(action)
        except (
            sqlite3.OperationalError,
            OSError,
        ):  # full disk, a file system without locks, another process busy for long: the cache is optional
            return self._in_memory(action)
        except sqlite3.DatabaseError:
            return self._rebuild(action)

    def _rebuild(self, action: Callable[[sqlite3.Connection], _T]) -> _T:
        """Start over from the folders, alone: deleting the file while others use it would damage theirs."""
        with self._guard(fcntl.LOCK_EX):
            try:
                return self._on_file(action)  # another process may have rebuilt it while we waited
            except sqlite3.DatabaseError:
                for suffix in ("", "-wal", "-shm"):
                    self.path.with_name(self.path.name + suffix).unlink(missing_ok=True)
                return self._on_file(action)

    def _on_file(self, action: Callable[[sqlite3.Connection], _T]) -> _T:
        with closing(sqlite3.connect(self.path, timeout=_WAIT)) as connection:
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=OFF")  # a lost page is rebuilt
            _prepare(connection)
            return action(connection)

    def _in_memory(self, action: Callable[[sqlite3.Connection], _T]) -> _T:
        with closing(sqlite3.connect(":memory:")) as connection:
            _prepare(connection)
            return action(connection)

    @contextmanager
    def _guard(self, kind: int) -> Iterator[None]:
        """Hold a lock beside the index: shared while using it, exclusive while replacing it."""
        descriptor = os.open(self.root / "index.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            fcntl.flock(descriptor, kind)
            yield
        finally:
            os.close(descriptor)


def _prepare(connection: sqlite3.Connection) -> None:
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version == _VERSION:
        return
    with connection:
        connection.execute("BEGIN IMMEDIATE")
        if connection.execute("PRAGMA user_version").fetchone() != (_VERSION,):  # another process may have been faster
            connection.execute("DROP TABLE IF EXISTS runs")
            connection.execute("CREATE TABLE runs (run TEXT PRIMARY KEY, signature TEXT NOT NULL, content TEXT NOT NULL)")
            connection.execute(f"PRAGMA user_version = {_VERSION}")


def _flat(content: dict[str, Any]) -> dict[str, Any]:
    """One row for people: fixed columns first, then metrics; a run whose process has died since the scan is no longer running."""
    metrics, record = content.pop("metrics"), content.pop("record")
    if content["state"] == State.RUNNING:
        content["state"] = str(current_state(record))
    return {**content, **{name: value for name, value in metrics.items() if name not in content}}


def _matches(value: Any, wanted: Any) -> bool:
    if isinstance(wanted, (list, tuple)):
        return any(_matches(value, one) for one in wanted)
    return value == wanted or (value is not None and str(value) == str(wanted))


def _sorted(rows: list[dict[str, Any]], key: str, descending: bool) -> list[dict[str, Any]]:
    present = [row for row in rows if row.get(key) is not None and row[key] == row[key]]
    absent = [row for row in rows if row.get(key) is None or row[key] != row[key]]
    numbers = all(isinstance(row[key], (int, float)) for row in present)
    present.sort(key=lambda row: row[key] if numbers else str(row[key]), reverse=descending)
    return present + absent
