"""How alternatives are timed against one another: process CPU time, in turn, medians, so that a busy machine falls on all of them alike."""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median


def median_seconds(*runs: Callable[[], object], repeats: int = 5, warm_up: int = 0) -> list[float]:
    """Return the median CPU seconds of each run over repeats in turn; the first `warm_up` rounds are not counted."""
    times: list[list[float]] = [[] for _ in runs]
    for round_number in range(warm_up + repeats):
        for kept, run in zip(times, runs, strict=True):
            began = time.process_time()
            run()
            if round_number >= warm_up:
                kept.append(time.process_time() - began)
    return [median(one) for one in times]
