"""Sinks: copies of the event stream for other people's viewers.

The event log is the truth; a sink is a convenience, so its failure never stops training: it is reported once and
dropped, and whatever it missed can be written later from the log. A sink is called in the trainer's thread. It must
not wait for a network: one that hangs would hang the training, which no wrapper can undo safely, so a sink that talks
to a server queues and sends from a thread of its own, with a time limit. Rejected: a thread around every sink
(threads and forked data workers do not mix, and the files of the sinks here take microseconds).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any


class Sink(ABC):
    """Receives the events of a run; register a class under kind "sink" and test it with `auscult.testing.sinks.check_sink`."""

    @abstractmethod
    def open(self, run_path: Path, recipe: dict[str, Any]) -> None:
        """Begin, or begin again after an interruption, for the run in a folder; `recipe` is its resolved recipe."""

    @abstractmethod
    def write(self, event: dict[str, Any]) -> None:
        """Take one event (plain JSON values, floats may be nan); kinds it does not know are ignored; the event is not changed.

        After {"event": "resumed", "update": n}, everything above update n is written a second time and the first must go.
        """

    @abstractmethod
    def close(self) -> None:
        """Finish; everything written is now on disk or sent. May be called twice."""


class SinkGroup:
    """Several sinks as one that never raises: a sink that fails is reported once, closed and dropped.

    Args:
        sinks: in the order they are called.
        on_failure: takes one sentence naming the sink and the error.
    """

    def __init__(self, sinks: Sequence[Sink], on_failure: Callable[[str], None]) -> None:
        self._sinks = list(sinks)
        self._on_failure = on_failure

    def __repr__(self) -> str:
        return f"SinkGroup({', '.join(type(sink).__name__ for sink in self._sinks)})"

    def open(self, run_path: Path, recipe: dict[str, Any]) -> None:
        """Open every sink."""
        self._each("open", lambda sink: sink.open(run_path, recipe))

    def write(self, event: dict[str, Any]) -> None:
        """Pass an event to every sink still there."""
        self._each("write", lambda sink: sink.write(event))

    def close(self) -> None:
        """Close every sink still there."""
        self._each("close", lambda sink: sink.close())

    def _each(self, what: str, call: Callable[[Sink], None]) -> None:
        for sink in list(self._sinks):
            try:
                call(sink)
            except Exception as error:
                self._sinks.remove(sink)
                reasons = [f"{type(error).__name__}: {error}", *(self._abandon(sink) if what != "close" else [])]
                self._on_failure(
                    f"sink {type(sink).__name__} failed to {what} and was dropped; training goes on ({'; then '.join(reasons)})"
                )

    @staticmethod
    def _abandon(sink: Sink) -> list[str]:
        """Close a failed sink as far as it can be closed; return a second failure as text."""
        try:
            sink.close()
        except Exception as error:
            return [f"{type(error).__name__}: {error}"]
        return []
