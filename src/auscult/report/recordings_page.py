"""Diarization error rates of whole recordings, where `auscult evaluate --reference` has left some, with both systems that do not listen.

All three protocols stand in one table with their names, since the same output is 7 % under one and 26 % under another. Pictures of who
spoke when are linked, not embedded: there may be hundreds; the three worst are shown.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from auscult.report.html_parts import NOT_RUN, bullets, escape, figure, number, paragraph, section, table
from auscult.report.train_record import Training

PROTOCOLS = ("full", "fair", "forgiving")
PARTS = ("miss", "false_alarm", "confusion")
MOST_PICTURES = 3
MOST_RECORDINGS = 200


def recordings(training: Training) -> str:
    """Return the section; it says how to get the numbers where there are none."""
    found = training.recordings
    title = "Whole recordings"
    if not found:
        return section(title, paragraph(f"{NOT_RUN}: auscult evaluate {training.run.path.name} --reference TURNS.rttm", "soft"))
    names = sorted(found.get("per_file", {}), key=lambda name: (-_worth(found["per_file"][name].get("der_full")), name))
    pooled = table(("system", *_header()), [[name, *_cells(scores)] for name, scores in found.get("systems", {}).items()])
    listing = table(
        ("recording", *_header(), "speakers found", "in the reference", "picture"),
        [_recording(name, found["per_file"][name], _drawn(training.run.path, found, name)) for name in names[:MOST_RECORDINGS]],
        markup=(len(_header()) + 3,),
    )
    return section(
        title,
        paragraph(
            f"{len(names):,} recordings pooled as ratios of sums, % of reference speaker time; no interval: one run, one set.", "soft"
        ),
        pooled,
        paragraph("Recordings, largest error first." + ("" if len(names) <= MOST_RECORDINGS else f" {MOST_RECORDINGS} of them."), "soft"),
        listing,
        bullets([*map(str, found.get("protocol", ())), *_facts(found)]),
        *_pictures(training.run.path, found, names),
    )


def _worth(value: float | None) -> float:
    return -1.0 if value is None else float(value)


def _header() -> list[str]:
    first = [f"DER {PROTOCOLS[0]}", *(part.replace("_", " ") for part in PARTS)]
    return [*first, *(f"DER {name}" for name in PROTOCOLS[1:]), "JER"]


def _cells(scores: Mapping[str, Any]) -> list[str]:
    keys = ["der_full", *(f"{part}_full" for part in PARTS), *(f"der_{name}" for name in PROTOCOLS[1:]), "jer"]
    return [number(None if scores.get(key) is None else 100.0 * scores[key], ".2f") for key in keys]


def _recording(name: str, scores: Mapping[str, Any], picture: Path | None) -> list[str]:
    counts = [str(scores.get(key, "–")) for key in ("speakers_found", "speakers_reference")]
    link = "not drawn" if picture is None else f'<a href="{escape(quote(f"figures/{picture.name}"))}">who spoke when</a>'
    return [name, *_cells(scores), *counts, link]


def _drawn(run: Path, found: Mapping[str, Any], name: str) -> Path | None:
    """Return the picture that belongs to these very scores; one of an earlier evaluation may show other turns."""
    picture = run / "figures" / f"timeline.{name}.png"
    return picture if picture.name in found.get("figures", ()) and picture.exists() else None


def _facts(found: Mapping[str, Any]) -> list[str]:
    lines = [f"{key.replace('_', ' ')}: {found[key]}" for key in ("checkpoint", "embedding", "reference", "uem") if found.get(key)]
    if found.get("real_time_factor") is not None:
        lines.append(f"real-time factor {float(found['real_time_factor']):.4f} on the machine that judged")
    return [*lines, *(f"note: {text}" for text in found.get("notes", ()))]


def _pictures(run: Path, found: Mapping[str, Any], names: Sequence[str]) -> list[str]:
    drawn = [(name, picture) for name in names if (picture := _drawn(run, found, name)) is not None]
    if not drawn:
        return [paragraph("No pictures of who spoke when: they are drawn by auscult evaluate with --figures.", "soft")]
    return [figure(picture, f"Who spoke when in {name}: reference, system, errors.") for name, picture in drawn[:MOST_PICTURES]]
