"""Judged mixtures by what they have in common: variant, speaker, level of the mixture.

Problem: an average over variants hides that a model does nothing for the noisy half, and an SI-SDR without that of the mixture beside it
says nothing at all: 2 dB is much from -6 and little from 0. Choice: every group holds the level before, the level after and the
difference, with the median and the share that got worse, so that no table or panel can show one without the others. A speaker's
improvement is that of their *own* source, not the mean of the mixture. Intervals are those the task stated where it stated some; for
other groups pairs of speakers are resampled, then their mixtures.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from auscult.metrics.bootstrap import bootstrap_ratio
from auscult.report.train_record import Judged

Item = Mapping[str, Any]
Floats = NDArray[np.float64]
REPLICATES = 2000
MOST_BINS = 6
LEAST_IN_BIN = 8


@dataclass(frozen=True)
class Group:
    """Mixtures that belong together; levels are means in dB.

    Attributes:
        name: of the group.
        count: mixtures in it.
        before: SI-SDR of the mixture itself.
        after: SI-SDR of the estimates.
        gain: improvement.
        low: lower end of its 95 % interval; nan for a single mixture.
        high: upper end.
        median: of the improvement.
        failed: mixtures that are worse than before.
    """

    name: str
    count: int
    before: float
    after: float
    gain: float
    low: float
    high: float
    median: float
    failed: int


def measured(items: Sequence[Item]) -> list[Item]:
    """Return the mixtures that have an improvement; one whose sources are all silent has none."""
    return [item for item in items if all(_known(item.get(key)) for key in ("input_si_sdr", "si_sdr", "si_sdri"))]


def gains(items: Sequence[Item]) -> Floats:
    """Return improvements in dB, (items,)."""
    return np.array([float(item["si_sdri"]) for item in items])


def by_variant(judged: Judged) -> list[Group]:
    """Return all mixtures, and those of each variant, the fullest first and the clean one last."""
    items = measured(judged.items)
    if not items:
        return []
    names = sorted({str(item["variant"]) for item in items}, key=lambda name: (name == "C", -len(name), name))
    stated = judged.summary.get("intervals", {})
    whole = [group_of("all", items, stated.get("si_sdri"))]
    own = [group_of(name, [item for item in items if item["variant"] == name], stated.get(f"si_sdri_{name}")) for name in names]
    return whole + own if len(own) > 1 else [group_of(f"all ({names[0]})", items, stated.get("si_sdri"))]


def group_of(name: str, items: Sequence[Item], interval: Sequence[float] | None = None) -> Group:
    """Return the numbers of some measured mixtures, at least one.

    Args:
        interval: of the improvement, where the task has stated one.
    """
    gain = gains(items)
    if interval is None and len(items) > 1:
        pairs = [" ".join(sorted(map(str, item.get("speakers") or [item["id"]]))) for item in items]
        interval = bootstrap_ratio(gain, np.ones(len(gain)), pairs, replicates=REPLICATES)
    low, high = (math.nan, math.nan) if interval is None else interval
    before, after = (float(np.mean([item[key] for item in items])) for key in ("input_si_sdr", "si_sdr"))
    failed = int((gain < 0).sum())
    return Group(name, len(items), before, after, float(gain.mean()), float(low), float(high), float(np.median(gain)), failed)


@dataclass(frozen=True)
class Voice:
    """What was gained for the sources of one speaker: number of sources, mean improvement in dB, and how many got worse."""

    speaker: str
    sources: int
    gain: float
    failed: int


def by_speaker(items: Sequence[Item]) -> list[Voice]:
    """Return the speakers, least improvement first; none where the speakers have no names or sources no levels of their own."""
    found: dict[str, list[float]] = {}
    for item in measured(items):
        columns = (item.get("speakers") or (), item.get("source_input_si_sdr") or (), item.get("source_si_sdr") or ())
        for speaker, before, after in zip(*columns, strict=False):
            if _known(before) and _known(after) and str(speaker) != "unknown":
                found.setdefault(str(speaker), []).append(float(after) - float(before))
    voices = [Voice(speaker, len(own), float(np.mean(own)), sum(gain < 0 for gain in own)) for speaker, own in found.items()]
    return sorted(voices, key=lambda voice: (voice.gain, voice.speaker))


def by_level(items: Sequence[Item]) -> list[Group]:
    """Return groups of equal size by the SI-SDR of the mixture, lowest first; equal levels stay together, so there may be fewer."""
    own = measured(items)
    levels = np.array([float(item["input_si_sdr"]) for item in own])
    bins = min(MOST_BINS, len(own) // LEAST_IN_BIN)
    if bins < 2:
        return []
    edges = np.unique(np.quantile(levels, np.linspace(0, 1, bins + 1)))
    places = np.clip(np.searchsorted(edges, levels, side="right") - 1, 0, max(len(edges) - 2, 0))
    made = []
    for place in np.unique(places).tolist():
        inside = [item for item, here in zip(own, places.tolist(), strict=True) if here == place]
        some = levels[places == place]
        made.append(group_of(" to ".join(dict.fromkeys(f"{end:.1f}" for end in (some.min(), some.max()))), inside))
    return made


def _known(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)
