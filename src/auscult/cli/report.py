"""`auscult report`: figures and a report a person can open, from what a run directory holds."""

from __future__ import annotations

from auscult.cli.options import AsJson, RunPath
from auscult.cli.output import emit


def report(run: RunPath, as_json: AsJson = False) -> None:
    """Draw the figures of a run and write report.html into it."""
    from auscult.report.html import write_report
    from auscult.runs.directory import RunDirectory

    path = write_report(RunDirectory.open(run).path)
    emit({"report": path}, as_json, lambda: f"report: {path}")
