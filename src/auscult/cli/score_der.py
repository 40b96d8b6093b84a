"""`auscult score der`: what it asks for and how it shows the answer; `auscult.metrics.der_scoring` does the work."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from auscult.cli.options import AsJson
from auscult.cli.output import emit, print_table, write

_PARTS = ("der", "miss", "false_alarm", "confusion")


def der(
    reference: Annotated[Path, typer.Argument(metavar="REFERENCE", hidden=True)],
    system: Annotated[Path, typer.Argument(metavar="SYSTEM", hidden=True)],
    uem: Annotated[Path | None, typer.Option(help="Regions to score; without, from first to last turn of both files.")] = None,
    as_json: AsJson = False,
) -> None:
    """Diarization and Jaccard error rate of SYSTEM against REFERENCE, RTTM files, under all three usual protocols."""
    from auscult.metrics.der_scoring import score_der

    value = score_der(reference, system, uem)
    emit(value, as_json, lambda: _show(value))


def _show(value: dict[str, Any]) -> None:
    names = [words.split(":")[0] for words in value["protocol"][:-1]]
    rows = [
        [
            words,
            *(_percent(value[f"{part}_{name}"]) for part in _PARTS),
            _interval(value[f"interval_{name}"]),
            f"{value[f'scored_seconds_{name}']:.1f} s",
        ]
        for name, words in zip(names, value["protocol"], strict=False)
    ]
    recordings = f"{value['files']} recording{'s' if value['files'] > 1 else ''}"
    print_table(
        ["protocol", "DER", "missed", "false alarm", "confused", "95 % interval", "speaker time"],
        rows,
        title=f"{recordings}, regions: {value['regions']}; shares of reference speaker time",
    )
    write(f"JER {_percent(value['jer'])} (mean over speakers, no collar)")
    if value["missing"]:
        write(f"missing in the system, counted as missed: {', '.join(value['missing'])}")
    for who, types in value["skipped"].items():
        if types:
            write(f"lines of the {who} that are not SPEAKER: " + ", ".join(f"{count} {kind}" for kind, count in types.items()))


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.2f} %"


def _interval(bounds: list[float] | None) -> str:
    return "-" if bounds is None else f"{100 * bounds[0]:.2f} to {100 * bounds[1]:.2f}"
