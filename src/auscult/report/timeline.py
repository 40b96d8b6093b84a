"""Who spoke and who was said to have spoken, one above the other, with every error below.

Problem: an error rate does not say whether a system confuses two voices, misses interjections, or talks into silence, and a listing of
turns shows none of it, because the names of the two sides have nothing to do with each other. Choice: system speakers take the row and
the colour of the reference speaker they are mapped to (over the whole recording, also where a stretch is shown), so that equal
pictures mean equal answers; rows are labelled, and colour only helps; stretches of overlapped reference speech are shaded through
all panels; errors have rows of their own. Plain turns are enough: nothing here asks for a run or a model.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from auscult.errors import UserError
from auscult.metrics.diarization import FULL, ScoringProtocol, Sweep, sweep
from auscult.metrics.segments import Flags, Regions, Turn
from auscult.report.figure import COLOURS, FAINT, OUTSIDE, PALE, WARNING, Row, new_figure

SPEAKER_COLOURS = tuple(colour for colour in COLOURS if colour != WARNING)
"""Repeated for a sixth speaker; the colour of errors is kept for errors."""
KINDS = ("missed", "false alarm", "confused")
_UNMAPPED = "#8a929a"
_BAR = 0.72  # of the height of a row
_FAINTEST = 0.2  # share of colour at confidence 0


class _Lanes(NamedTuple):
    """Row of each reference and system speaker, and the label of each system row; equal rows are mapped to one another."""

    reference: dict[str, int]
    system: dict[str, int]
    labels: list[str]


def draw(
    reference: Sequence[Turn],
    system: Sequence[Turn],
    subtitle: str,
    regions: Regions | None = None,
    window: tuple[float, float] | None = None,
    protocol: ScoringProtocol = FULL,
) -> tuple[Figure, dict[str, list[Row]]]:
    """Return the figure and the rows behind its panels; call it inside `house_style`.

    Args:
        reference: turns of one recording.
        system: turns of the same recording; a turn with a confidence is drawn the fainter the less sure it is.
        subtitle: which recording, and which system.
        regions: what is scored (UEM); None takes the first to the last turn of both sides. The rest is hatched in the errors.
        window: (start, end) in seconds of what is drawn; None draws everything.
        protocol: how errors are counted.

    Raises:
        UserError: a region or the window does not end after its start.
    """
    if window is not None and not window[0] < window[1]:
        raise UserError(f"timeline: expected a window that ends after its start, got {window[0]} to {window[1]}")
    cut = sweep(reference, system, regions, protocol)
    lanes = _lanes(cut)
    bounds = window or ((float(cut.edges[0]), float(cut.edges[-1])) if len(cut.edges) else (0.0, 1.0))
    rows = (max(len(lanes.reference), 1), max(len(lanes.labels), 1), len(KINDS))
    figure = new_figure("Who spoke when", f"{subtitle} · {_rate(cut, protocol)}", 2.1 + 0.27 * sum(rows))
    axes = figure.subplots(3, 1, sharex=True, gridspec_kw={"height_ratios": [row + 0.6 for row in rows]})
    doubt = "; the paler, the less sure" if any(turn.confidence is not None for turn in system) else ""
    tables = {
        "reference": _draw_turns(axes[0], reference, lanes.reference, list(lanes.reference), "a  Reference"),
        "system": _draw_turns(axes[1], system, lanes.system, lanes.labels, f"b  System, in the row of its reference speaker{doubt}"),
        "errors": _draw_errors(axes[2], cut, bounds),
    }
    for panel in axes:
        _shade(panel, cut, cut.reference.sum(axis=0) > 1, facecolor=PALE, zorder=0.5)
        panel.set_xlim(*bounds)
    axes[2].set_xlabel("seconds · shaded: several reference speakers" + ("" if cut.scored.all() else " · hatched: not scored"))
    return figure, tables


def _rate(cut: Sweep, protocol: ScoringProtocol) -> str:
    rate = cut.counts().rate
    said = "DER undefined" if rate is None else f"DER {100 * rate:.1f} %"
    return f"{said} of the whole recording ({str(protocol).replace('+-', '±')})"


def _lanes(cut: Sweep) -> _Lanes:
    reference = {name: row for row, name in enumerate(cut.reference_speakers)}
    mapping = cut.mapping()
    system = {name: reference[mapping[name]] for name in cut.system_speakers if name in mapping}
    labels = ["" for _ in reference]
    for name, row in system.items():
        labels[row] = f"{name} = {cut.reference_speakers[row]}"
    for name in cut.system_speakers:
        if name not in system:
            system[name] = len(labels)
            labels.append(f"{name} = nobody")
    return _Lanes(reference, system, [label or f"(nobody) = {cut.reference_speakers[row]}" for row, label in enumerate(labels)])


def _draw_turns(axes: Axes, turns: Sequence[Turn], rows: dict[str, int], labels: Sequence[str], title: str) -> list[Row]:
    axes.set_title(title)
    if not turns:
        axes.set_yticks([])
        axes.text(0.5, 0.5, "nobody speaks", ha="center", va="center", color=OUTSIDE, transform=axes.transAxes)
        return []
    for name, row in rows.items():
        own = [turn for turn in turns if turn.speaker == name]
        colour = _UNMAPPED if labels[row].endswith("= nobody") else SPEAKER_COLOURS[row % len(SPEAKER_COLOURS)]
        faces = [_face(colour, turn.confidence) for turn in own]
        spans = [(turn.start, turn.duration) for turn in own]
        axes.broken_barh(spans, (row - _BAR / 2, _BAR), facecolors=faces, edgecolors="white", linewidths=0.4, zorder=2)
    _rows(axes, labels)
    ordered = sorted(turns, key=lambda turn: (turn.start, turn.speaker))
    return [
        {"start": turn.start, "end": turn.end, "speaker": turn.speaker, "row": labels[rows[turn.speaker]], "confidence": turn.confidence}
        for turn in ordered
    ]


def _face(colour: str, confidence: float | None) -> tuple[float, ...]:
    """Mix a colour with white; transparency would let the shading behind look like doubt."""
    share = 1.0 if confidence is None else _FAINTEST + (1.0 - _FAINTEST) * min(max(confidence, 0.0), 1.0)
    return tuple(1.0 - share * (1.0 - part) for part in to_rgb(colour))


def _draw_errors(axes: Axes, cut: Sweep, bounds: tuple[float, float]) -> list[Row]:
    errors = cut.piece_errors()
    lengths = np.diff(np.clip(cut.edges, *bounds))  # (pieces,) of what is in view
    said = ", ".join(f"{kind} {float(count @ lengths):.1f} s" for kind, count in zip(KINDS, errors, strict=True))
    axes.set_title(f"c  Errors in view: {said} of speaker time")
    _shade(axes, cut, ~cut.scored, facecolor="none", edgecolor=FAINT, hatch="////", linewidth=0.0, zorder=1)
    for row, count in enumerate(errors):
        spans = [(start, end - start) for start, end in _stretches(cut, count > 0)]
        axes.broken_barh(spans, (row - _BAR / 2, _BAR), facecolors=WARNING, edgecolors=WARNING, linewidths=0.3, zorder=2)
    _rows(axes, KINDS)
    pieces = np.flatnonzero(np.sum(errors, axis=0))
    return [
        {
            "start": cut.edges[piece],
            "end": cut.edges[piece + 1],
            **{kind.replace(" ", "_"): int(count[piece]) for kind, count in zip(KINDS, errors, strict=True)},
        }
        for piece in pieces.tolist()
    ]


def _rows(axes: Axes, labels: Sequence[str]) -> None:
    axes.set_yticks(range(len(labels)), labels)
    axes.set_ylim(len(labels) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)
    axes.grid(False, axis="y")


def _shade(axes: Axes, cut: Sweep, where: Flags, **look: object) -> None:
    spans = [(start, end - start) for start, end in _stretches(cut, where)]
    axes.broken_barh(spans, (0.0, 1.0), transform=axes.get_xaxis_transform(), **look)  # type: ignore[arg-type, unused-ignore]


def _stretches(cut: Sweep, where: Flags) -> list[tuple[float, float]]:
    """Return where a condition holds as few long stretches, (start, end) in seconds."""
    changes = np.flatnonzero(np.diff(np.concatenate([[False], where, [False]]).astype(np.int8)))
    return [(float(cut.edges[first]), float(cut.edges[last])) for first, last in changes.reshape(-1, 2).tolist()]
