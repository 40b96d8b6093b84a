"""Speed of diarization scoring, as a ratio against frames of 10 ms in the same process.

18 meetings of AMI (9.7 hours), all three protocols and the Jaccard error rate, from turns in memory; single-thread process CPU
time, medians over alternating repeats. Run: `OMP_NUM_THREADS=1 python benchmarks/diarization_scoring.py`; reads `fixtures/der` of the
data pack (`AUSCULT_DATA`, else `../shared/data`). Promise: all of it in < 0.5 s. The alternative is the usual way to write it: rasters
filled by a loop over turns, and NumPy over frames. Its rates must agree with ours, or the comparison is void.
"""

from __future__ import annotations

import json
import os
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from auscult.metrics.diarization import PROTOCOLS, ScoringProtocol, diarization_errors
from auscult.metrics.jaccard import jaccard_error_rate, jaccard_errors
from auscult.metrics.rttm import read_rttm, read_uem
from auscult.metrics.segments import Annotation, Evaluated, Regions, Turn
from shared_parts.timing import median_seconds

REPEATS = 5
FRAMES = 100  # per second


seconds = partial(median_seconds, repeats=REPEATS)


def frame(second: float) -> int:
    return round(second * FRAMES)


def raster(turns: list[Turn], frames: int) -> NDArray[np.bool_]:
    names = sorted({turn.speaker for turn in turns})
    table = np.zeros((len(names), frames), dtype=bool)
    for turn in turns:
        table[names.index(turn.speaker), frame(turn.start) : frame(turn.end)] = True
    return table


def frame_der(reference: Annotation, system: Annotation, evaluated: Evaluated, protocol: ScoringProtocol) -> float:
    """Pooled error rate on frames."""
    errors = total = 0
    for name, turns in reference.items():
        said_turns, regions = list(system[name]), evaluated[name]
        frames = 1 + frame(max(turn.end for turn in [*turns, *said_turns]))
        there, said, scored = raster(list(turns), frames), raster(said_turns, frames), scored_frames(regions, frames)
        reach = round(protocol.collar * FRAMES)
        for turn in turns:
            for boundary in (frame(turn.start), frame(turn.end)):
                scored[max(0, boundary - reach) : boundary + reach] = False
        if protocol.skip_overlap:
            scored &= there.sum(axis=0) <= 1
        there, said = there[:, scored], said[:, scored]
        shared = there.astype(np.float32) @ said.T.astype(np.float32)
        right = shared[linear_sum_assignment(-shared)].sum()
        errors += np.maximum(there.sum(axis=0), said.sum(axis=0)).sum() - right
        total += there.sum()
    return float(errors / total)


def scored_frames(regions: Regions, frames: int) -> NDArray[np.bool_]:
    scored = np.zeros(frames, dtype=bool)
    for start, end in regions:
        scored[frame(start) : frame(end)] = True
    return scored


def frame_jer(reference: Annotation, system: Annotation, evaluated: Evaluated) -> float:
    """Jaccard error rate on frames."""
    errors: list[float] = []
    for name, turns in reference.items():
        said_turns = list(system[name])
        frames = 1 + frame(max(turn.end for turn in [*turns, *said_turns]))
        scored = scored_frames(evaluated[name], frames)
        there, said = (raster(side, frames)[:, scored].astype(np.float32) for side in (list(turns), said_turns))
        both = there @ said.T
        table = 1 - both / (there.sum(axis=1)[:, None] + said.sum(axis=1)[None] - both)
        rows, columns = linear_sum_assignment(table)
        errors += [*table[rows, columns].tolist(), *[1.0] * (len(there) - len(rows))]
    return sum(errors) / len(errors)


def main() -> None:
    root = Path(os.environ.get("AUSCULT_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
    folder = root / "fixtures" / "der" / "ami_mixheadset_dev"
    if not folder.is_dir():
        print(f"not run: no {folder}; set AUSCULT_DATA to the data pack")
        return
    reference, system, evaluated = read_rttm(folder / "ref.rttm").turns, read_rttm(folder / "sys.rttm").turns, read_uem(folder / "all.uem")

    def ours() -> list[float | None]:
        rates = [diarization_errors(reference, system, evaluated, protocol).total.rate for protocol in PROTOCOLS]
        return [*rates, jaccard_error_rate(jaccard_errors(reference, system, evaluated))]

    def theirs() -> list[float]:
        return [frame_der(reference, system, evaluated, protocol) for protocol in PROTOCOLS] + [frame_jer(reference, system, evaluated)]

    if not np.allclose(np.array(ours(), dtype=float), theirs(), atol=2e-4):
        raise SystemExit(f"frames give other rates ({theirs()} instead of {ours()}): the comparison is void")
    fast, slow = seconds(ours, theirs)
    read, _ = seconds(lambda: (read_rttm(folder / "ref.rttm"), read_rttm(folder / "sys.rttm")), lambda: None)
    rows = {
        "18 meetings, three protocols and JER": {"seconds": fast, "alternative": "10 ms frames in NumPy", "times_faster": slow / fast},
        "reading 15,325 lines of RTTM": {"seconds": read, "alternative": "scoring them", "times_faster": fast / read},
    }
    print(json.dumps(rows, indent=2))


if __name__ == "__main__":
    main()
