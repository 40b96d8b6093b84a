"""Ctrl-C and SIGTERM (pre-emption) as a request the training loop honours between two updates.

The first signal asks for a stop: the loop saves and leaves the run resumable. A second one ends the process at once; the last
checkpoint is then where the run continues.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType


class Interrupted(Exception):
    """The run was asked to stop, saved itself, and can be resumed.

    Attributes:
        exit_code: 130 for Ctrl-C, 143 for SIGTERM.
    """

    def __init__(self, number: int, message: str) -> None:
        super().__init__(message)
        self.signal = number
        self.exit_code = 128 + number


@dataclass
class StopRequest:
    """Whether and by which signal a stop was asked for."""

    signal: int | None = None


@contextmanager
def listening() -> Iterator[StopRequest]:
    """Catch SIGINT and SIGTERM inside the block; outside the main thread signals cannot be caught and are left alone."""
    request = StopRequest()
    previous: dict[int, object] = {}

    def handle(number: int, frame: FrameType | None) -> None:
        if request.signal is not None:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)
        request.signal = number

    try:
        for number in (signal.SIGINT, signal.SIGTERM):
            previous[number] = signal.signal(number, handle)
    except ValueError:  # not the main thread
        previous.clear()
    try:
        yield request
    finally:
        for caught, handler in previous.items():
            signal.signal(caught, handler)  # type: ignore[arg-type]
