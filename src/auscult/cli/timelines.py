"""Timelines of recordings, drawn for two verbs (`diarize` and `evaluate`); the drawing itself is `report.timeline`'s."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from auscult.errors import UserError

if TYPE_CHECKING:
    from auscult.metrics.segments import Regions, Turn

_FORMATS = ("png", "svg", "pdf")


def check_picture(path: Path) -> None:
    """Refuse a picture of a kind that is not drawn, before anything is computed for it.

    Raises:
        UserError: another ending.
    """
    if path.suffix.removeprefix(".") not in _FORMATS:
        raise UserError(f"{path}: expected a picture that ends in {', '.join(f'.{one}' for one in _FORMATS)}")


def draw_timeline(
    folder: Path, name: str, suffix: str, reference: Sequence[Turn], system: Sequence[Turn], subtitle: str, regions: Regions | None
) -> list[Path]:
    """Write a picture of who spoke when, and the CSV behind each panel.

    Args:
        folder: made if missing.
        name: file name without ending.
        suffix: ".png", ".svg" or ".pdf".
        reference: turns.
        system: turns.
        subtitle: which recording.
        regions: what is scored; None takes the first to the last turn of both sides.

    Raises:
        UserError: a file cannot be written.
    """
    from auscult.report import timeline
    from auscult.report.figure import house_style, save

    with house_style():
        drawing, tables = timeline.draw(reference, system, subtitle, regions)
        return save(drawing, folder, name, tables, (suffix.removeprefix("."),))
