"""What the page of a separation run says of its mixtures: variants beside the unprocessed mixture, and the mixtures that went worst.

An SI-SDR is never shown alone: the level of the mixture itself stands in the same row, because what is left to gain differs by 10 dB
between variants.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from auscult.report.html_parts import escape, folded, number, paragraph, section, table
from auscult.report.listening_page import anchor
from auscult.report.mixture_groups import Group, by_variant, measured
from auscult.report.train_record import Judged

MOST_WORST = 30
MEASURES = (("sdr", "SDR (BSS eval), dB"), ("stoi", "STOI"), ("pesq", "PESQ"))
"""Further measures of the estimates, where the records have them, and what they are called."""
_BEFORE = {"sdr": "input_sdr", "stoi": "stoi_input", "pesq": "pesq_input"}


def beside(judged: Judged) -> str:
    """Return the table of variants: the mixture itself, the estimates, and what was gained."""
    groups = by_variant(judged)
    if not groups:
        return paragraph(f"{judged.split}: no mixture has a level, so nothing can be compared")
    header = ("split", "variant", "mixture itself", "estimates", "improvement", "95 % interval", "median", "worse than before", "mixtures")
    notes = [
        paragraph("Means of SI-SDR in dB. Doing nothing is an improvement of 0 dB: the unprocessed mixture as every estimate.", "soft")
    ]
    left = len(judged.items) - len(measured(judged.items))
    if left:
        notes.append(paragraph(f"{left:,} mixtures without a level (no source is active) are not in the table.", "soft"))
    return "\n".join([table(header, [_variant(judged.split, group) for group in groups]), *notes, _measures(judged)])


def _variant(split: str, group: Group) -> list[str]:
    interval = "no interval" if np.isnan(group.low) else f"{group.low:.2f} to {group.high:.2f}"
    return [
        split, group.name, f"{group.before:.2f}", f"{group.after:.2f}", f"{group.gain:+.2f}", interval, f"{group.median:+.2f}",
        f"{group.failed:,} ({group.failed / group.count:.1%})", f"{group.count:,}",
    ]  # fmt: skip


def _measures(judged: Judged) -> str:
    rows = []
    for key, name in MEASURES:
        pairs = [(item.get(key), _before(item, key)) for item in judged.items]
        known = np.array([pair for pair in pairs if all(isinstance(one, int | float) for one in pair)], dtype=np.float64)
        known = known[np.isfinite(known).all(axis=1)] if known.size else known
        if len(known):
            before, after = known[:, 1].mean(), known[:, 0].mean()
            rows.append([judged.split, name, f"{before:.3f}", f"{after:.3f}", f"{after - before:+.3f}", f"{len(known):,}"])
    return table(("split", "measure", "mixture itself", "estimates", "improvement", "mixtures"), rows) if rows else ""


def _before(item: Mapping[str, Any], key: str) -> Any:
    """Return a measure of the mixture itself; that of SDR follows from its improvement where only this was kept."""
    if _BEFORE[key] not in item and isinstance(item.get(f"{key}i"), int | float) and isinstance(item.get(key), int | float):
        return item[key] - item[f"{key}i"]
    return item.get(_BEFORE[key])


def worst(judged: Judged) -> str:
    """Return the mixtures that gained least, with a link to their sounds where some were kept."""
    title = f"Worst mixtures of {judged.split}"
    items = sorted(measured(judged.items), key=lambda item: (float(item["si_sdri"]), str(item["id"])))
    if not items:
        return section(title, paragraph("no mixture has a level"))
    failed = sum(float(item["si_sdri"]) < 0 for item in items)
    heard = {str(item["id"]): number for number, item in enumerate(judged.listening.get("items", ()), start=1)}
    rows = [_mixture(judged.split, item, heard.get(str(item["id"]))) for item in items[:MOST_WORST]]
    header = (
        "mixture",
        "variant",
        "speakers",
        "mixture itself",
        "estimates",
        "improvement",
        "improvement of each source",
        "seconds",
        "sounds",
    )
    listing = table(header, rows, markup=(len(header) - 1,))
    note = paragraph(
        f"{failed:,} of {len(items):,} mixtures are worse than before; least improvement first, {len(rows)} shown. SI-SDR in dB.", "soft"
    )
    return section(title, note, folded("show mixtures", listing) if judged.split == "validation" and len(rows) > 5 else listing)


def _mixture(split: str, item: Mapping[str, Any], place: int | None) -> list[str]:
    speakers = " + ".join(map(str, item.get("speakers") or ["unknown"]))
    sources = zip(item.get("source_input_si_sdr") or (), item.get("source_si_sdr") or (), strict=False)
    own = [f"{after - before:+.1f}" if None not in (before, after) else "silent" for before, after in sources]
    return [
        str(item["id"]),
        str(item["variant"]),
        speakers + (" (one speaker twice)" if item.get("same_speaker") else ""),
        *(f"{item[key]:.2f}" for key in ("input_si_sdr", "si_sdr")),
        f"{item['si_sdri']:+.2f}",
        " / ".join(own) or "–",
        number(item.get("seconds"), ".1f"),
        "not kept" if place is None else f'<a href="#{escape(anchor(split, place))}">listen</a>',
    ]
