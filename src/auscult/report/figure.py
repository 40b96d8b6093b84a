"""House style of every figure, and how a figure and the numbers behind it reach the disk.

Problem: figures land on white paper, on dark slides and in dark browsers, and a figure without its numbers cannot be
checked. Choice: the background is transparent, panels are white with dark text, and all text outside a panel has a grey
that keeps a contrast of at least 4.5 : 1 on white as well as on black; colours are Okabe and Ito's, which colour-blind
readers can tell apart, and never carry meaning alone. `save` writes a CSV for each panel beside the picture. Style comes
from a context, never from pyplot's global state. Rejected: white halos around dark labels (blurred on dark pages), an
opaque page (a white slab on a slide), two versions of each figure.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from auscult.runs.files import replace_with, write_atomic

Row = Mapping[str, Any]
"""One line of a CSV: column name to value; None and nan are written as empty cells."""

INK = "#1f2933"
"""Text and lines inside white panels."""
OUTSIDE = "#70777f"
"""Text outside the panels: contrast of 4.5 : 1 on white and on black."""
FAINT = "#c9d0d6"
"""Grid lines, bands, and outlines."""
PALE = "#eef1f4"
"""Fill of boxes and of every second table row."""
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
"""Okabe and Ito: blue, vermilion, green, purple, orange, sky."""
WARNING = "#d55e00"
GOOD = "#009e73"
SEQUENTIAL = "cividis"
"""Colour map of spectrograms: even in lightness, the same for colour-blind readers."""

SMOKE = "smoke run: memorised, not a result"
"""What every figure of an overfit check says about itself."""

WIDTH = 11.0
"""Inches; at the 7 inches of a page, 10 point become 6.4."""
DOTS_PER_INCH = 300

_STYLE = {
    "font.family": ["DejaVu Sans"],
    "font.size": 9.5,
    "axes.titlesize": 10.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlecolor": OUTSIDE,
    "axes.titlepad": 6.0,
    "axes.labelsize": 9.5,
    "axes.labelcolor": OUTSIDE,
    "axes.edgecolor": FAINT,
    "axes.facecolor": "white",
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e6eaee",
    "grid.linewidth": 0.7,
    "xtick.color": FAINT,
    "ytick.color": FAINT,
    "xtick.labelcolor": OUTSIDE,
    "ytick.labelcolor": OUTSIDE,
    "xtick.labelsize": 8.5,
    "ytick.labelsize": 8.5,
    "text.color": INK,
    "legend.fontsize": 8.5,
    "legend.frameon": True,
    "legend.framealpha": 0.9,
    "legend.edgecolor": FAINT,
    "legend.labelcolor": INK,
    "lines.linewidth": 1.5,
    "figure.facecolor": "none",
    "savefig.facecolor": "none",
    "savefig.edgecolor": "none",
    "svg.fonttype": "path",
    "svg.hashsalt": "auscult",
    "pdf.fonttype": 42,
    "axes.formatter.limits": (-4, 6),
}
_METADATA: dict[str, dict[str, str | None]] = {"png": {"Software": None}, "svg": {"Date": None}, "pdf": {"CreationDate": None}}
"""No dates: the same run gives the same bytes."""


@contextmanager
def house_style() -> Iterator[None]:
    """Apply the style inside a `with` block; what was set before is back afterwards."""
    with mpl.rc_context(_STYLE):  # type: ignore[arg-type, unused-ignore]
        yield


def new_figure(title: str, subtitle: str, height: float, tag: str | None = None) -> Figure:
    """Return an empty figure with its header; call it, and draw, inside `house_style`.

    Args:
        title: what is shown.
        subtitle: of which run.
        height: inches.
        tag: a warning for the upper right corner.
    """
    figure = Figure(figsize=(WIDTH, height), layout="constrained", facecolor="none")
    header = 0.62 / height
    engine = figure.get_layout_engine()
    if isinstance(engine, ConstrainedLayoutEngine):
        engine.set(rect=(0.006, 0.006, 0.988, 0.988 - header), w_pad=0.06, h_pad=0.07, hspace=0.02, wspace=0.02)
    top = 1.0 - 0.08 / height
    figure.text(0.012, top, title, ha="left", va="top", fontsize=14, fontweight="bold", color=OUTSIDE)
    figure.text(0.012, top - 0.29 / height, subtitle, ha="left", va="top", fontsize=9, color=OUTSIDE)
    if tag is not None:
        box = {"boxstyle": "round,pad=0.45", "facecolor": "#fff3e8", "edgecolor": WARNING, "linewidth": 1.2}
        figure.text(0.988, top - 0.06 / height, tag, ha="right", va="top", fontsize=10, fontweight="bold", color="#9a3c00", bbox=box)
    return figure


def blank_panel(axes: Axes) -> None:
    """Take ticks and grid from a panel that holds text or boxes; coordinates become 0 to 1 with the origin below left."""
    axes.set(xlim=(0.0, 1.0), ylim=(0.0, 1.0), xticks=[], yticks=[])
    axes.grid(False)


def not_available(axes: Axes, reason: str) -> None:
    """Say in a panel why it is empty."""
    blank_panel(axes)
    axes.text(0.5, 0.5, reason, ha="center", va="center", color=OUTSIDE, wrap=True, transform=axes.transAxes)


def save(
    figure: Figure, folder: Path, name: str, tables: Mapping[str, Sequence[Row]], formats: Sequence[str] = ("png", "svg")
) -> list[Path]:
    """Write a figure in every format and the CSV behind each panel, each file whole or not at all.

    Args:
        folder: made if missing.
        name: file name without ending; the table of a panel becomes `<name>.<panel>.csv`.
        tables: panel to rows; all rows of a panel have the same columns.
        formats: endings that matplotlib knows; PNG gets 300 dots per inch.

    Returns:
        The pictures, in the order of `formats`.

    Raises:
        UserError: a file cannot be written.
    """
    figure.canvas.draw_idle()
    pictures = []
    for ending in formats:
        path = Path(folder) / f"{name}.{ending}"
        replace_with(path, lambda stream, ending=ending: _render(figure, stream, ending))  # type: ignore[misc]
        figure.set_layout_engine("none")  # the first drawing has found the places; the others keep them
        pictures.append(path)
    for panel, rows in tables.items():
        write_atomic(Path(folder) / f"{name}.{panel}.csv", csv_text(rows))
    return pictures


def csv_text(rows: Sequence[Row]) -> str:
    """Return rows as CSV with a header; an empty text for no rows.

    >>> csv_text([{"update": 1, "loss": 2.5}, {"update": 2, "loss": None}])
    'update,loss\\n1,2.5\\n2,\\n'
    """
    if not rows:
        return ""
    stream = io.StringIO()
    writer = csv.DictWriter(stream, fieldnames=list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows({key: _cell(value) for key, value in row.items()} for row in rows)
    return stream.getvalue()


def _cell(value: Any) -> Any:
    value = value.item() if hasattr(value, "item") else value
    return "" if value is None or value != value else value


def _render(figure: Figure, stream: BinaryIO, ending: str) -> None:
    options: dict[str, Any] = {"pil_kwargs": {"compress_level": 4}} if ending == "png" else {}
    with house_style():
        figure.savefig(stream, format=ending, dpi=DOTS_PER_INCH, metadata=_METADATA.get(ending), **options)
