"""The states of a run."""

from __future__ import annotations

from enum import StrEnum


class State(StrEnum):
    """Where a run stands; its value is its name.

    >>> State("COMPLETE") is State.COMPLETE
    True
    """

    QUEUED = "QUEUED"
    """Created, not begun."""
    RUNNING = "RUNNING"
    """A process is at work on it."""
    COMPLETE = "COMPLETE"
    """It did everything its recipe asked for."""
    DIVERGED = "DIVERGED"
    """The sentinel ran out of remedies and stopped it."""
    CRASHED = "CRASHED"
    """Its process ended without saying why: killed, out of memory, power cut, or an error of ours."""
    CANCELLED = "CANCELLED"
    """Somebody stopped it, or the machine asked for it back; it can be resumed."""
    PRUNED = "PRUNED"
    """A search decided that it was not worth continuing."""
