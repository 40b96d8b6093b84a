"""Levels of estimates relative to what is wrong with them, in dB, and the judgement of one mixture.

Problem: published separation numbers differ by the mean that was or was not taken out, by a silent reference that counts as -80 dB, and
by an improvement whose mixture was measured by another function than its estimate. Choice: float64; SI-SDR of signals without their
means, from the error itself (`||a s||^2 / ||x - a s||^2`), which stays right at 90 dB where inner products alone do not; one function
judges mixture and estimates alike; a silent reference has no level (NaN), is named and left out of means. Values lie within +-140 dB. An
estimate of zeros has 0 dB, as in the training loss, and is named, because a model must not score by putting out nothing. Rejected:
references that keep their mean (a constant offset is no speech).
Source: Le Roux, Wisdom, Erdogan and Hershey 2019 (arXiv 1811.02508).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import linear_sum_assignment

from auscult.errors import UserError
from auscult.ops.silence import SILENT_POWER

_LEAST = 1e-14
"""Share of an energy that is added to both sides of a ratio: no value beyond 140 dB."""

Signals = NDArray[np.float64]


def si_sdr(reference: ArrayLike, estimate: ArrayLike) -> float:
    """Return the scale-invariant signal-to-distortion ratio in dB; NaN for a silent reference.

    Args:
        reference: (time,).
        estimate: (time,), any level and offset.

    Raises:
        UserError: the signals are not of one length.

    >>> there, wrong = np.array([1.0, -1, 1, -1]), np.array([1.0, 1, -1, -1])
    >>> round(si_sdr(there, 7.3 * (there + 0.1 * wrong) + 2), 6)
    20.0
    """
    there, said = _pair(reference, estimate)
    if is_silent(there):
        return float("nan")
    image = float(there @ said) / _energy(there) * there
    return _decibels(_energy(image), _energy(said - image), _energy(said))


def snr(reference: ArrayLike, estimate: ArrayLike) -> float:
    """Return the signal-to-noise ratio in dB, to which the level of the estimate counts; NaN for a silent reference.

    Args:
        reference: (time,); means are taken out of both.
        estimate: (time,).

    Raises:
        UserError: the signals are not of one length.
    """
    there, said = _pair(reference, estimate)
    if is_silent(there):
        return float("nan")
    return _decibels(_energy(there), _energy(said - there), _energy(there))


def is_silent(signal: ArrayLike) -> bool:
    """Whether the power without the mean is below -80 dB (`auscult.ops.silence`); what is not finite is not silent."""
    centred = _centred(signal)
    return bool(centred @ centred < SILENT_POWER * len(centred))


def best_permutation(scores: ArrayLike) -> tuple[int, ...]:
    """Return the estimate of each reference under the assignment of greatest total score.

    Args:
        scores: (references, estimates), as many of both; NaN, the score of silent references, decides nothing.

    >>> best_permutation([[1.0, 9.0], [8.0, 9.5]])
    (1, 0)
    """
    table = np.asarray(scores, dtype=np.float64)
    if table.ndim != 2 or table.shape[0] != table.shape[1]:
        raise UserError(f"permutation: expected as many estimates as references, got scores {table.shape}")
    return tuple(linear_sum_assignment(-np.nan_to_num(table, nan=0.0))[1].tolist())


def judge_mixture(mixture: ArrayLike | None, references: ArrayLike, estimates: ArrayLike) -> dict[str, Any]:
    """Compare the estimates of one mixture with its sources.

    Args:
        mixture: (time,), what the estimates were made from; None where it is not known.
        references: (sources, time).
        estimates: (sources, time), in any order.

    Returns:
        permutation, the estimate of each source; source_si_sdr, by source, NaN where it is silent; si_sdr, the mean over the others,
        NaN where none is; silent and silent_estimates, indices. With a mixture also source_input_si_sdr,
        input_si_sdr and si_sdri = si_sdr - input_si_sdr.

    Raises:
        UserError: numbers of signals or lengths differ.
    """
    there, said = (np.asarray(one, dtype=np.float64) for one in (references, estimates))
    if there.ndim != 2 or there.shape != said.shape or not there.shape[0]:
        raise UserError(f"expected references and estimates (sources, time) of one shape, got {there.shape} and {said.shape}")
    table = [[si_sdr(source, one) for one in said] for source in there]
    permutation = best_permutation(table)
    scores = [table[source][place] for source, place in enumerate(permutation)]
    judged: dict[str, Any] = {
        "permutation": list(permutation),
        "source_si_sdr": scores,
        "si_sdr": mean_of_active(scores),
        "silent": [place for place, source in enumerate(there) if is_silent(source)],
        "silent_estimates": [place for place, one in enumerate(said) if is_silent(one)],
    }
    if mixture is not None:
        before = [si_sdr(source, mixture) for source in there]
        judged |= {"source_input_si_sdr": before, "input_si_sdr": mean_of_active(before)}
        judged["si_sdri"] = judged["si_sdr"] - judged["input_si_sdr"]
    return judged


def mean_of_active(scores: Sequence[float]) -> float:
    """Return the mean of the scores of one mixture without NaN, those of silent sources; NaN where none is left."""
    known = [score for score in scores if not np.isnan(score)]
    return sum(known) / len(known) if known else float("nan")


def _pair(reference: ArrayLike, estimate: ArrayLike) -> tuple[Signals, Signals]:
    there, said = _centred(reference), _centred(estimate)
    if there.shape != said.shape or there.ndim != 1 or not len(there):
        raise UserError(f"expected a reference and an estimate (time,) of one length, got {there.shape} and {said.shape}")
    return there, said


def _centred(signal: ArrayLike) -> Signals:
    values = np.asarray(signal, dtype=np.float64)
    centred: Signals = values - values.mean() if values.size else values
    return centred


def _energy(signal: Signals) -> float:
    return float(signal @ signal)


def _decibels(power: float, error: float, scale: float) -> float:
    least = _LEAST * scale
    return float(10 * np.log10((power + least) / (error + least))) if scale != 0 else 0.0
