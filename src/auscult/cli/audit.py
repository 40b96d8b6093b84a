"""`auscult audit`: what is wrong with the data, before any training."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from auscult.cli.options import AsJson, Overrides
from auscult.cli.output import emit, print_table

if TYPE_CHECKING:
    from auscult.data.audit_report import AuditReport


def audit(
    target: Annotated[Path, typer.Argument(metavar="RECIPE|MANIFEST", hidden=True)],
    overrides: Overrides = None,
    audio: Annotated[bool, typer.Option(help="Read the samples too: duplicates, clipping, silence, unreadable files.")] = True,
    residual_limit: Annotated[
        float | None,
        typer.Option(
            min=0.0, help="How far a mixture may be from the sum of its layers, as a share of full scale.", show_default="1.22e-4"
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Check the data of a RECIPE (with KEY=VALUE settings), a prepared folder or a CutSet; problems end with exit code 1."""
    from auscult.errors import RunFailed
    from auscult.training.audit import audit as audit_target

    report = audit_target(target, *(overrides or []), audio=audio, residual_limit=residual_limit)
    emit(report.to_dict(), as_json, lambda: _table(report))
    if report.failed:
        errors = sum(one.severity == "error" for one in report.findings)
        raise RunFailed(f"{target}: {errors} finding(s) that would spoil training or scores")


def _table(report: AuditReport) -> None:
    columns = ["split", "utterances", "hours", "speakers", "shortest s", "median s", "longest s", "characters/s", "distinct characters"]
    rows = []
    for name, facts in report.splits.items():
        seconds = [facts.seconds.get(which) for which in ("minimum", "median", "maximum")]
        rate = (facts.characters_per_second or {}).get("median")
        rows.append([name, facts.utterances, facts.hours, facts.speakers, *seconds, rate, len(facts.characters)])
    print_table(columns, rows)
    found = [[one.severity, one.code, one.message, one.count, ", ".join(one.ids[:3])] for one in report.findings]
    if found:
        print_table(["severity", "finding", "what", "count", "first ids"], found)
    typer.echo("no errors found" if not report.failed else "errors found")
    if not report.audio_checked:
        typer.echo("samples were not read: duplicates, clipping, silence and unreadable files were not looked for")
