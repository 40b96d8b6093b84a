"""The record of one judged mixture: levels before and after, for every source.

Levels are computed in float64 by the residual form (`metrics/separation.py`); the loss of training has another form and another precision
and is recorded beside them. Silent targets have no SI-SDR: they are named in the record and left out of its means.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from auscult.metrics.bss_eval import bss_eval
from auscult.metrics.intelligibility import pesq, stoi
from auscult.metrics.separation import judge_mixture


@dataclass(frozen=True)
class Measures:
    """What is measured besides SI-SDR.

    Attributes:
        names: of "sdr", "stoi", "pesq".
        sample_rate: in hertz.
    """

    names: tuple[str, ...]
    sample_rate: int


def mixture_item(
    facts: dict[str, Any], mixture: NDArray[np.float32], sources: NDArray[np.float32], estimates: NDArray[np.float32]
) -> dict[str, Any]:
    """Return the record of a mixture; estimates that are not finite count as silence, and the record says so.

    Args:
        facts: what is known without listening; must hold "speakers".
        mixture: (time,).
        sources: (sources, time).
        estimates: (sources, time), in any order.
    """
    named = [speaker for speaker in facts["speakers"] if speaker != "unknown"]
    finite = bool(np.isfinite(estimates).all())
    judged = judge_mixture(mixture, sources, estimates if finite else np.nan_to_num(estimates * 0.0))
    return {**facts, "same_speaker": len(set(named)) < len(named), "finite": finite, **judged}


def measure_item(
    item: dict[str, Any], mixture: NDArray[np.float32], sources: NDArray[np.float32], estimates: NDArray[np.float32], measures: Measures
) -> dict[str, Any]:
    """Return a record with further measures, means over the sources that are not silent, each beside that of the untouched mixture.

    Raises:
        UserError: a package that a measure needs is not installed.
    """
    heard = [place for place in range(len(sources)) if place not in item["silent"]]
    if not heard:
        return item
    ordered = estimates[item["permutation"]]
    mixed = np.broadcast_to(mixture, sources.shape)
    found: dict[str, float] = {}
    if "sdr" in measures.names:
        after, before = (bss_eval(sources[heard], signals[heard], range(len(heard))).sdr for signals in (ordered, mixed))
        found |= {"sdr": float(after.mean()), "sdri": float((after - before).mean())}
    for name, measure in (("stoi", stoi), ("pesq", pesq)):
        if name in measures.names:
            for key, signals in ((name, ordered), (f"{name}_input", mixed)):
                found[key] = float(np.mean([measure(sources[place], signals[place], measures.sample_rate) for place in heard]))
    return {**item, **found}
