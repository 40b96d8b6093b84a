"""Score anybody's diarization: two RTTM files in, error rates under all three usual protocols out (`auscult score der`).

Problem: one number without collar, overlap and regions cannot be compared with another. Choice: there is no protocol to choose; every key
names its own, and the words that explain them travel in `protocol`. Intervals resample recordings, because turns of one recording
share their speakers and their clustering, so that one recording alone has none.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from auscult.errors import UserError
from auscult.metrics.bootstrap import bootstrap_ratio
from auscult.metrics.diarization import PROTOCOLS, DiarizationCounts, DiarizationErrors, diarization_errors
from auscult.metrics.jaccard import jaccard_error_rate, jaccard_errors
from auscult.metrics.rttm import read_rttm, read_uem

_JER = "jer: dscore's, every reference speaker weighs the same, no collar, 10 ms frames"


def score_der(
    reference_rttm: str | Path, system_rttm: str | Path, uem: str | Path | None = None, replicates: int = 10_000, seed: int = 0
) -> dict[str, Any]:
    """Compare a system's RTTM with a reference.

    Args:
        reference_rttm: who spoke.
        system_rttm: who is said to have spoken; speaker names are free.
        uem: what is scored; None scores every recording from the first to the last turn of reference and system together.
        replicates: bootstrap replicates of the intervals.
        seed: of the bootstrap.

    Returns:
        For each protocol p of full (no collar), fair (+-0.25 s) and forgiving (+-0.25 s, overlap left out): der_p, and its parts miss_p,
        false_alarm_p and confusion_p, shares of scored_seconds_p of reference speaker time, pooled over recordings (None where nothing is
        left to score); interval_p, the 95 % interval of der_p as [low, high], None for one recording. Then jer; files, their number;
        interval_over; missing, the recordings the system lacks, counted as missed; per_file, the same keys by recording; protocol, in
        words; regions; skipped, lines of other types by file.

    Raises:
        UserError: a file cannot be understood, or the files name different recordings (see `diarization_errors`).
    """
    reference, system = read_rttm(reference_rttm), read_rttm(system_rttm)
    evaluated = None if uem is None else read_uem(uem)
    try:
        results = [diarization_errors(reference.turns, system.turns, evaluated, protocol) for protocol in PROTOCOLS]
        speakers = jaccard_errors(reference.turns, system.turns, evaluated)
    except UserError as error:
        named = " and ".join(str(path) for path in (reference_rttm, system_rttm, uem) if path is not None)
        raise UserError(f"{named}: {error}") from error
    scores: dict[str, Any] = {}
    for result in results:
        scores |= _rates(result.total, result.protocol.name)
        scores[f"interval_{result.protocol.name}"] = _interval(result, replicates, seed)
    return scores | {
        "jer": jaccard_error_rate(speakers),
        "files": len(reference.turns),
        "interval_over": "recordings" if len(reference.turns) > 1 else None,
        "missing": list(results[0].missing),
        "per_file": [_of_file(name, results, jaccard_error_rate({name: speakers[name]})) for name in reference.turns],
        "protocol": [str(result.protocol) for result in results] + [_JER],
        "regions": results[0].regions.removeprefix("regions: "),
        "skipped": {"reference": reference.skipped, "system": system.skipped},
    }


def _rates(counts: DiarizationCounts, protocol: str) -> dict[str, float | None]:
    seconds = counts.speaker_seconds
    parts = {"miss": counts.miss, "false_alarm": counts.false_alarm, "confusion": counts.confusion}
    return {
        f"der_{protocol}": counts.rate,
        **{f"{part}_{protocol}": value / seconds if seconds > 0 else None for part, value in parts.items()},
        f"scored_seconds_{protocol}": seconds,
    }


def _of_file(name: str, results: list[DiarizationErrors], jer: float | None) -> dict[str, Any]:
    row: dict[str, Any] = {"file": name}
    for result in results:
        row |= _rates(result.files[name], result.protocol.name)
    return row | {"jer": jer}


def _interval(result: DiarizationErrors, replicates: int, seed: int) -> list[float] | None:
    counts = list(result.files.values())
    if len(counts) < 2 or result.total.rate is None:
        return None
    return list(bootstrap_ratio([one.errors for one in counts], [one.speaker_seconds for one in counts], None, replicates, seed))
