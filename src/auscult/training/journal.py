"""One way to say that something happened: the event log first, then the sinks.

The event log is the truth and must succeed; a sink is a convenience and is dropped when it fails. Only the main process of a
distributed run writes.
"""

from __future__ import annotations

from typing import Any

from auscult.runs.directory import RunDirectory
from auscult.runs.sink import SinkGroup


class Journal:
    """Writes events of one run.

    Args:
        run: where events go; None writes nothing (the other processes of a distributed run).
        sinks: what else receives them.
    """

    def __init__(self, run: RunDirectory | None, sinks: SinkGroup | None = None) -> None:
        self.run, self.sinks = run, sinks

    def open(self, recipe: dict[str, Any]) -> None:
        """Open the sinks, once the event log is where the run begins or continues."""
        if self.run is not None and self.sinks is not None:
            self.sinks.open(self.run.path, recipe)

    def write(self, event: str, **fields: Any) -> None:
        """Append one event."""
        if self.run is None:
            return
        record = self.run.events.append(event, **fields)
        if self.sinks is not None:
            self.sinks.write(record)

    def close(self) -> None:
        """Close the sinks."""
        if self.sinks is not None:
            self.sinks.close()
