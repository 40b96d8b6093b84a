"""What is measured of a separated mixture besides SI-SDR, each with the value of the mixture itself beside it.

Problem: SDR, STOI and PESQ are quoted alone, though a mixture of a quiet second speaker has a high value before anything is separated.
Choice: every measure is the mean over the sources that are not silent, under the permutation that SI-SDR has chosen, and the same
measure of the unprocessed mixture stands beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike

from auscult.errors import UserError, did_you_mean
from auscult.metrics.bss_eval import bss_eval
from auscult.metrics.intelligibility import pesq, stoi
from auscult.metrics.separation import is_silent, mean_of_active

Measure = Literal["bss_eval", "stoi", "pesq"]
MEASURES: tuple[Measure, ...] = get_args(Measure)


def further_measures(
    measures: Sequence[str],
    references: ArrayLike,
    estimates: ArrayLike,
    permutation: Sequence[int],
    sample_rate: int,
    mixture: ArrayLike | None = None,
) -> dict[str, float]:
    """Measure one mixture.

    Args:
        measures: any of "bss_eval", "stoi" and "pesq".
        references: (sources, time).
        estimates: (sources, time).
        permutation: the estimate of each source.
        sample_rate: in hertz.
        mixture: (time,).

    Returns:
        sdr, sir, sar in dB for "bss_eval"; stoi; pesq; and of the mixture sdri = sdr - its SDR, stoi_input and pesq_input. NaN where a
        measure has no value.

    Raises:
        UserError: no such measure, its package is not installed, or the sample rate is not defined for it.
    """
    unknown = [name for name in measures if name not in MEASURES]
    if unknown:
        raise UserError(f'no measure "{unknown[0]}"{did_you_mean(unknown[0], MEASURES)}; there are {", ".join(MEASURES)}')
    there, said = (np.asarray(one, dtype=np.float64) for one in (references, estimates))
    found: dict[str, float] = {}
    if "bss_eval" in measures:
        ratios = bss_eval(there, said, permutation, mixture)
        for name, values in (("sdr", ratios.sdr), ("sir", ratios.sir), ("sar", ratios.sar)):
            found[name] = mean_of_active(values.tolist())
        if mixture is not None:
            found["sdri"] = found["sdr"] - mean_of_active(ratios.input_sdr.tolist())
    tools: tuple[tuple[str, Callable[[ArrayLike, ArrayLike, int], float]], ...] = (("stoi", stoi), ("pesq", pesq))
    active = [place for place, source in enumerate(there) if not is_silent(source)]
    for name, tool in tools:
        if name in measures:
            found[name] = mean_of_active([tool(there[place], said[permutation[place]], sample_rate) for place in active])
            if mixture is not None:
                found[f"{name}_input"] = mean_of_active([tool(there[place], mixture, sample_rate) for place in active])
    return found
