"""Score anybody's separation: a folder of sources and a folder of estimates in, levels with an interval out (`auscult score separation`).

Problem: separation is scored by scripts that live beside one model, each with its own SI-SDR, a fixed order of the outputs, and files cut
to the shorter of two lengths. Choice: files are matched by name, refused where rate, length or number differ, and judged by the
functions that judge our own models; the order of the estimates is solved for each mixture; every number says in words how it was
obtained. An improvement is reported only where the mixture is there. Intervals resample mixtures, because the files do not say who
speaks.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from auscult.audio.reading import read_audio
from auscult.errors import UserError
from auscult.metrics.intelligibility import PESQ_BANDS
from auscult.metrics.separation import judge_mixture
from auscult.metrics.separation_folders import check_same, find_mixtures, find_signals
from auscult.metrics.separation_measures import further_measures
from auscult.metrics.separation_summary import intervals, summary

_WORDS = {
    "bss_eval": "SDR, SIR, SAR: BSS-eval version 3, a filter of 512 taps is forgiven",
    "stoi": "STOI by pystoi, resampled to 10 kHz",
    "pesq": "PESQ by pesq, {band} band",
}


def score_separation(
    reference_folder: str | Path,
    estimate_folder: str | Path,
    mixture_folder: str | Path | None = None,
    measures: Sequence[str] = ("bss_eval",),
    replicates: int = 10_000,
    seed: int = 0,
) -> dict[str, Any]:
    """Compare estimates with sources.

    Args:
        reference_folder: the sources; layouts as in `auscult.metrics.separation_folders`.
        estimate_folder: the estimates, in any order within a mixture.
        mixture_folder: what they were made from; None looks for `mix/` in the reference folder.
        measures: besides SI-SDR, any of "bss_eval", "stoi" and "pesq".
        replicates: bootstrap replicates of the intervals.
        seed: of the bootstrap.

    Returns:
        The keys of `summary` (si_sdr, sdr, ... and, with mixtures, si_sdri, failure_rate, ...); mixtures, sources, sample_rate;
        intervals, 95 % by key as [low, high], empty for a single mixture; interval_over; silent_estimates, mixtures with an estimate of
        silence; per_mixture, one record each; protocol, in words.

    Raises:
        UserError: files are missing, left over, or differ in length or rate; the message names them.
    """
    reference, folder = Path(reference_folder), Path(estimate_folder)
    there, said = find_signals(reference), find_signals(folder)
    check_same(reference, there, folder, said)
    mixtures = find_mixtures(reference, None if mixture_folder is None else Path(mixture_folder), there)
    records, rate = [], 0
    for name, paths in there.items():
        mixture = [] if mixtures is None else [mixtures[name]]
        signals, rate = _read_alike([*paths, *said[name], *mixture], rate, paths[0])
        records.append(_record(name, signals, len(paths), rate, measures))
    known = intervals(records, replicates, seed) if len(records) > 1 else {}
    return {
        **summary(records),
        "mixtures": len(records),
        "sources": len(next(iter(there.values()))),
        "sample_rate": rate,
        "intervals": {key: list(bounds) for key, bounds in known.items()},
        "interval_over": "mixtures" if known else None,
        "silent_estimates": [record["id"] for record in records if record["silent_estimates"]],
        "per_mixture": records,
        "protocol": _protocol(measures, rate, mixtures is not None),
    }


def _record(name: str, signals: NDArray[np.float32], sources: int, rate: int, measures: Sequence[str]) -> dict[str, Any]:
    references, estimates = signals[:sources], signals[sources : 2 * sources]
    mixture = signals[2 * sources] if len(signals) > 2 * sources else None
    judged = judge_mixture(mixture, references, estimates)
    further = further_measures(measures, references, estimates, judged["permutation"], rate, mixture)
    return {"id": name, "seconds": signals.shape[1] / rate, **judged, **further}


def _read_alike(paths: Sequence[Path], rate: int, first: Path) -> tuple[NDArray[np.float32], int]:
    """Return signals of one length and rate, (files, time); `rate` is that of the files before, 0 if there were none."""
    signals: list[NDArray[np.float32]] = []
    for path in paths:
        samples, found = read_audio(path)
        if rate and found != rate:
            raise UserError(f"{path} has {found} Hz and {first} {rate} Hz; resample one of them")
        rate = found
        if signals and len(samples) != len(signals[0]):
            raise UserError(f"{path} has {len(samples)} samples and {first} {len(signals[0])}; lengths must agree to the sample")
        signals.append(samples)
    return np.stack(signals), rate


def _protocol(measures: Sequence[str], rate: int, improvement: bool) -> list[str]:
    words = ["SI-SDR: means taken out, mean over the sources that are not silent, best order of the estimates for each mixture"]
    words += [_WORDS[measure].format(band={"nb": "narrow", "wb": "wide"}.get(PESQ_BANDS.get(rate, ""), "")) for measure in measures]
    return [*words, "improvements: over the mixture itself" if improvement else "no mixtures given, so no improvements"]
