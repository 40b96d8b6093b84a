"""The event log of a run: one JSON object a line, only ever appended.

Problem: curves, reports and sinks all need the history of a run, also of one that was killed in the middle of a line
or that resumed from an earlier checkpoint. Choice: every append opens the file, takes its lock, and writes one whole
line in one call, so kill -9 can tear at most the last line; the next append or truncation removes the torn piece. The
log keeps no open handle: nothing to flush, to close, or to carry into a forked worker, and a truncation by another
process is noticed. Rejected: a database per run (not greppable, and slower to write).
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from auscult.errors import UserError
from auscult.runs.files import cannot_write, write_atomic
from auscult.runs.json_values import from_json, to_json


class EventLog:
    """Append-only log of JSON events in one file; safe with several processes appending.

    Args:
        path: the file; made by the first append.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     log = EventLog(Path(folder) / "events.jsonl")
    ...     _ = log.append("step", update=1, loss=float("inf"))
    ...     [(event["event"], event["loss"]) for event in log.read()]
    [('step', inf)]
    """

    def __init__(self, path: Path) -> None:
        self.path = Path(path)

    def __repr__(self) -> str:
        return f"EventLog({str(self.path)!r})"

    def append(self, event: str, **fields: Any) -> dict[str, Any]:
        """Add one event with the current time (unix seconds) and return it as written; the line is in the file when this returns.

        Raises:
            UserError: the file cannot be written; no part of the line stays in it.
        """
        record = {"event": event, "time": time.time(), **fields}
        line = (to_json(record) + "\n").encode("utf-8")
        try:
            with self._locked() as descriptor:
                end = _repair_end(descriptor)
                try:
                    written = os.write(descriptor, line)
                    while written < len(line):
                        written += os.write(descriptor, line[written:])
                except OSError:
                    os.ftruncate(descriptor, end)
                    raise
        except OSError as error:
            raise cannot_write(self.path, error) from error
        return record

    def read(self) -> list[dict[str, Any]]:
        """Return all events in order, without a torn last line; an absent file has none.

        Raises:
            UserError: a line other than the last is not an event: the file was edited or damaged.
        """
        return [event for _, event in self._lines()]

    def truncate(self, update: int) -> None:
        """Drop every event whose "update" is above `update`, and a torn last line; events without "update" stay.

        Called on resume with the update of the checkpoint, so that no metric appears twice.

        Raises:
            UserError: as `read`, or the file cannot be written; it is then unchanged.
        """
        if not self.path.exists():
            return
        try:
            with self._locked():
                lines = list(self._lines())
                kept = [line for line, event in lines if not _is_after(event, update)]
                content = b"".join(line + b"\n" for line in kept)
                if len(content) != self.path.stat().st_size:
                    write_atomic(self.path, content)
        except OSError as error:
            raise cannot_write(self.path, error) from error

    def _lines(self) -> Iterator[tuple[bytes, dict[str, Any]]]:
        try:
            *lines, last = self.path.read_bytes().split(b"\n")
        except FileNotFoundError:
            return
        for number, line in enumerate(lines, start=1):
            event = _parse(line)
            if event is None:
                raise UserError(f"{self.path}, line {number}: expected one JSON event a line; remove the damaged line")
            yield line, event
        event = _parse(last)
        if event is not None:
            yield last, event

    @contextmanager
    def _locked(self) -> Iterator[int]:
        """Open the log that is there now and hold its lock; opened again when a truncation replaced it while we waited."""
        while True:
            descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o666)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX)
                if _is_same_file(descriptor, self.path):
                    yield descriptor
                    return
            finally:
                os.close(descriptor)


def _is_same_file(descriptor: int, path: Path) -> bool:
    try:
        return os.fstat(descriptor).st_ino == path.stat().st_ino
    except FileNotFoundError:
        return False


def _repair_end(descriptor: int) -> int:
    """End the file with a whole line: complete one that only lacks its newline, cut off one that was torn. Returns the size in bytes."""
    size = os.fstat(descriptor).st_size
    if size == 0 or os.pread(descriptor, 1, size - 1) == b"\n":
        return size
    content = os.pread(descriptor, size, 0)
    start = content.rfind(b"\n") + 1
    if _parse(content[start:]) is None:
        os.ftruncate(descriptor, start)
        return start
    os.write(descriptor, b"\n")
    return size + 1


def _parse(line: bytes) -> dict[str, Any] | None:
    """Return the event on a line, or None when the line holds no whole event."""
    try:
        value = from_json(line.decode("utf-8"))
    except ValueError:
        return None
    return value if isinstance(value, dict) and "event" in value else None


def _is_after(event: dict[str, Any], update: int) -> bool:
    recorded = event.get("update")
    return isinstance(recorded, (int, float)) and recorded > update
