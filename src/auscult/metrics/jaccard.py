"""Jaccard error rate: how badly each reference speaker was found, every speaker weighing the same.

Problem: the diarization error rate is ruled by whoever talks most; a system may lose a quiet participant and look good. Choice: the
definition of the DIHARD challenges (dscore): one minus intersection over union of each reference speaker and their system speaker under
the best one-to-one mapping, 1 for a speaker without a partner, averaged over all reference speakers of all recordings; no collar,
overlap included. dscore counts frames of 10 ms, frame i being active when start <= i * 0.01 < end in double precision, where
29 * 0.01 is less than 0.29. So does this, to the bit: published values contain those off-by-one frames (ES2005a of AMI: 29.992 %, in
exact time 29.957 %). The frames are not laid out: boundaries become frame numbers and the sweep does the rest, so that hours cost
nothing. Rejected: a raster (memory grows with the recording); exact time (cleaner, and comparable with nothing).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from auscult.metrics.diarization import check_recordings
from auscult.metrics.segments import Annotation, Evaluated, Floats, Regions, Turn, activity, extent, to_lanes

FRAME_SECONDS = 0.01


def jaccard_errors(reference: Annotation, system: Annotation, evaluated: Evaluated | None = None) -> dict[str, dict[str, float]]:
    """Return the error of every reference speaker by recording, each from 0 to 1; their mean over everything is the JER.

    Args:
        reference: recording to turns.
        system: recording to turns.
        evaluated: recording to regions (UEM); None takes first to last turn. Speakers without a frame in the regions are left out.

    Raises:
        UserError: as `diarization_errors`.

    >>> jaccard_errors({"talk": [Turn(0, 10, "A"), Turn(10, 20, "B")]}, {"talk": [Turn(0, 20, "x")]})
    {'talk': {'A': 0.5, 'B': 1.0}}
    """
    check_recordings(reference, system, evaluated)
    return {
        name: _of_recording(turns, system.get(name, ()), extent(turns, system.get(name, ())) if evaluated is None else evaluated[name])
        for name, turns in reference.items()
    }


def jaccard_error_rate(errors: dict[str, dict[str, float]]) -> float | None:
    """Return the mean over all reference speakers of all recordings, or None without any.

    >>> jaccard_error_rate({"one": {"A": 0.5, "B": 1.0}, "two": {"C": 0.0}})
    0.5
    """
    values = [error for speakers in errors.values() for error in speakers.values()]
    return sum(values) / len(values) if values else None


def _of_recording(reference: Sequence[Turn], system: Sequence[Turn], regions: Regions) -> dict[str, float]:
    there, said = to_lanes(reference), to_lanes(system)
    bounds = [_frame_number(values) for values in (there.starts, there.ends, said.starts, said.ends)]
    region_bounds = _frame_number(np.array(list(regions), dtype=np.float64).reshape(-1, 2))
    edges = np.unique(np.concatenate([*bounds, region_bounds.ravel()]))
    inside = activity(edges, region_bounds[:, 0], region_bounds[:, 1], np.zeros(len(region_bounds), dtype=np.int64), 1)[0]
    frames = np.diff(edges) * inside  # (pieces,)
    talking = activity(edges, bounds[0], bounds[1], there.lanes, len(there.speakers)).astype(np.float64)
    claimed = activity(edges, bounds[2], bounds[3], said.lanes, len(said.speakers)).astype(np.float64)
    ours, theirs, both = talking @ frames, claimed @ frames, (talking * frames) @ claimed.T
    union = np.maximum(ours[:, None] + theirs[None, :] - both, 1.0)
    errors: Floats = 1.0 - both / union  # (reference speakers, system speakers)
    best = np.ones(len(ours))
    rows, columns = linear_sum_assignment(errors)
    best[rows] = errors[rows, columns]
    return {name: float(error) for name, error, length in zip(there.speakers, best, ours, strict=True) if length > 0}


def _frame_number(seconds: Floats) -> NDArray[np.int64]:
    """Return the first frame i with i * 0.01 not below a time: a turn is active from that of its start to before that of its end."""
    numbers: NDArray[np.int64] = np.ceil(seconds / FRAME_SECONDS).astype(np.int64)
    numbers += numbers * FRAME_SECONDS < seconds  # the division may round down to the frame before
    numbers -= (numbers - 1) * FRAME_SECONDS >= seconds  # or up to the one after
    return numbers
