"""The record of one judged mixture: levels before and after, for every source.

Levels are computed in float64 by the residual form (`metrics/separation.py`); the loss of training has another form and another precision
and is recorded beside them. Silent targets have no SI-SDR: they are named in the record and left out of its means.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from auscult.metrics.separation import judge_mixture


def mixture_item(
    facts: dict[str, Any], mixture: NDArray[np.float32], sources: NDArray[np.float32], estimates: NDArray[np.float32]
) -> dict[str, Any]:
    """Return the record of a mixture; estimates that are not finite count as silence, and the record says so.

    Args:
        facts: what is known without listening.
        mixture: (time,).
        sources: (sources, time).
        estimates: (sources, time), in any order.
    """
    finite = bool(np.isfinite(estimates).all())
    judged = judge_mixture(mixture, sources, estimates if finite else np.nan_to_num(estimates * 0.0))
    return {**facts, "finite": finite, **judged}
