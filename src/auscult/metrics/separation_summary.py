"""Many judged mixtures as a few numbers, and how far these would move with other speakers.

Problem: an absolute SI-SDR says more about the mixtures than about the model, one mean over easy and hard variants can be moved by their
shares alone, and a mean improvement hides mixtures that were made worse. Choice: improvements beside absolute values and the mixture's
own level, everything per variant too, the median, and the share of mixtures that got worse. Means run over mixtures, never over
batches. A mixture whose targets are all silent has no level; it is counted, not averaged. Intervals resample pairs of speakers
before mixtures, since mixtures of one pair are alike.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from auscult.errors import UserError
from auscult.metrics.bootstrap import Interval, bootstrap_ratio

LEVELS = ("si_sdr", "si_sdri", "input_si_sdr")
FURTHER = ("sdr", "sdri", "sir", "sar", "stoi", "stoi_input", "pesq", "pesq_input")
"""Averaged where every judged mixture was measured."""

Records = Sequence[Mapping[str, Any]]


def summary(items: Records) -> dict[str, float]:
    """Return the metrics of judged mixtures.

    Args:
        items: records with "si_sdr" and, where the mixture is known, "input_si_sdr", "si_sdri", "variant"; see `judge_mixture`.

    Returns:
        si_sdr, si_sdri, input_si_sdr, means over mixtures in dB; median_si_sdri; failure_rate, the share of mixtures that got worse;
        si_sdri_v and input_si_sdr_v for each variant v; means of what else all records hold; unjudged, how many mixtures have
        silent targets only. Values that a tool could not give (NaN) are left out and counted in unmeasured_stoi and the like.

    Raises:
        UserError: no mixture can be judged.

    >>> found = summary([{"si_sdr": 9.0, "input_si_sdr": 0.0, "si_sdri": 9.0}, {"si_sdr": -1.0, "input_si_sdr": 0.0, "si_sdri": -1.0}])
    >>> found["si_sdri"], found["failure_rate"], found["unjudged"]
    (4.0, 0.5, 0.0)
    """
    judged = _judged(items)
    values: dict[str, float] = {}
    for name in (*LEVELS, *FURTHER):
        if all(name in item for item in judged):
            known = [float(item[name]) for item in judged if _is_known(item[name])]
            values[name] = sum(known) / len(known) if known else math.nan
            if len(known) < len(judged):
                values[f"unmeasured_{name}"] = float(len(judged) - len(known))
    if "si_sdri" in values:
        improvements = np.array([item["si_sdri"] for item in judged])
        values |= {"median_si_sdri": float(np.median(improvements)), "failure_rate": float(np.mean(improvements < 0))}
    for variant, members in _by_variant(judged).items():
        for name in ("si_sdri", "input_si_sdr"):
            if name in values:
                values[f"{name}_{variant}"] = sum(item[name] for item in members) / len(members)
    return values | {"unjudged": float(len(items) - len(judged))}


def intervals(items: Records, replicates: int = 10_000, seed: int = 0) -> dict[str, Interval]:
    """Return 95 % bootstrap intervals of the means, the failure rate and the improvement of each variant.

    Args:
        items: as for `summary`; "speakers" names who is mixed. Mixtures of the same speakers are resampled together.
        replicates: of the bootstrap.
        seed: of the bootstrap.

    Raises:
        UserError: no mixture can be judged.
    """
    judged = _judged(items)
    found = {}
    for name in (*LEVELS, *FURTHER):
        known = [item for item in judged if _is_known(item.get(name))]
        if known and all(name in item for item in judged):
            found[name] = _interval(known, [item[name] for item in known], replicates, seed)
    if "si_sdri" in found:
        found["failure_rate"] = _interval(judged, [float(item["si_sdri"] < 0) for item in judged], replicates, seed)
        for variant, members in _by_variant(judged).items():
            found[f"si_sdri_{variant}"] = _interval(members, [item["si_sdri"] for item in members], replicates, seed)
    return found


def _interval(items: Records, values: Sequence[float], replicates: int, seed: int) -> Interval:
    pairs = [tuple(sorted(map(str, item["speakers"]))) for item in items] if all(item.get("speakers") for item in items) else None
    return bootstrap_ratio(values, np.ones(len(values)), pairs, replicates, seed)


def _judged(items: Records) -> Records:
    judged = [item for item in items if _is_known(item["si_sdr"])]
    if not judged:
        raise UserError(f"none of {len(items)} mixtures can be judged: their targets are all silent; are these the right source files?")
    return judged


def _by_variant(items: Records) -> dict[str, Records]:
    variants = sorted({str(item["variant"]) for item in items if item.get("variant")})
    return {variant: [item for item in items if item.get("variant") == variant] for variant in variants}


def _is_known(value: Any) -> bool:
    return value is not None and math.isfinite(value)
