"""What a person sees while a run works: a bar with loss, rate and time left, or plain lines where there is no terminal."""

from __future__ import annotations

import sys
import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn

LINE_INTERVAL = 15.0
"""Seconds between lines where no bar can be drawn."""


class ProgressBar:
    """A bar on standard error; silent unless `enabled`.

    Args:
        title: what is being done.
        total: steps.
        completed: steps already done (a resumed run).
        enabled: draw at all.
    """

    def __init__(self, title: str, total: int, completed: int = 0, enabled: bool = True) -> None:
        self.title, self.total, self.done, self.enabled = title, total, completed, enabled
        self.console = Console(stderr=True)
        self.live = enabled and self.console.is_terminal
        self.started, self.first, self.last_line = time.monotonic(), completed, time.monotonic()
        self.progress: Progress | None = None
        if self.live:
            self.progress = Progress(
                TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[status]}"),
                TimeElapsedColumn(), TimeRemainingColumn(), console=self.console,
            )  # fmt: skip
            self.bar: TaskID = self.progress.add_task(title, total=total, completed=completed, status="")

    def __enter__(self) -> ProgressBar:
        if self.progress is not None:
            self.progress.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        if self.progress is not None:
            self.progress.stop()

    def show(self, completed: int, status: str) -> None:
        """Move the bar."""
        if self.progress is not None:
            self.progress.update(self.bar, completed=completed, status=status)
        elif self.enabled and (time.monotonic() - self.last_line > LINE_INTERVAL or completed >= self.total):
            self.last_line = time.monotonic()
            rate = (completed - self.first) / max(time.monotonic() - self.started, 1e-9)
            sys.stderr.write(f"{self.title} {completed}/{self.total} {status} {rate:.1f}/s\n")
            sys.stderr.flush()

    def advance(self, count: int) -> None:
        """Move the bar by a number of steps."""
        self.done += count
        self.show(self.done, "")

    def say(self, text: str) -> None:
        """Print a line above the bar."""
        if self.progress is not None:
            self.progress.console.print(text, markup=False, highlight=False)
        elif self.enabled:
            sys.stderr.write(text + "\n")
            sys.stderr.flush()
