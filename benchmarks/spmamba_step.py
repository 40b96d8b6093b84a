"""A training step of SPMamba-reduced on the CPU: time and memory against the same weights with a scan under plain autograd.

Run `python benchmarks/spmamba_step.py [--json] [--repeats N] [--whole]`. The alternative is the same model with all rows at once
(`memory_rows: 0`) and the scan as a Python loop over steps that autograd records, in two forms: with inputs split once, so that its
backward pass is linear in the length, and indexed in every step as published reference code does. At one second the first needs about
18 GB, so it runs with one of the four layers there, and with all four on a quarter of a second; `--whole` runs all four on one second.

Both alternate in one process, one thread, medians of process CPU time after a step that is not counted. Peak memory is that of a fresh
process during its first two steps, above what it held before them. Exit code 1 if a promise is missed.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from auscult.losses.pit import PitSiSdr
from auscult.models import mamba
from auscult.models.spmamba import SpMamba
from auscult.ops.selective_scan import selective_scan
from auscult.specification import Specification
from shared_parts.naive_scan import indexed
from shared_parts.timing import median_seconds

SAMPLE_RATE = 8000
CASES = [(1, 1.0), (4, 0.25)]
"""(layers, seconds)"""
INDEXED = (1, 0.5)
"""The same, for the form that is indexed."""
PROMISED_RATIO = 2.0
"""Below what was measured, because shared machines jitter."""
PROMISED_MEGABYTES = 1000
"""Of a step of four layers on one second."""


def indexed_scan(u: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor, reverse: bool = False) -> Tensor:  # noqa: N803
    """As the model calls a scan; backward in time is forward on turned inputs."""
    if not reverse:
        return indexed(u, dt, A, B, C, D)
    return indexed(u.flip(1), dt.flip(1), A, B.flip(1), C.flip(1), D).flip(1)


def step_of(layers: int, seconds: float, naive: bool, other: Callable[..., Tensor] | None = None) -> Callable[[], None]:
    torch.manual_seed(0)
    rows = {"memory_rows": 0} if naive else {}
    model = SpMamba(Specification("separation", SAMPLE_RATE, sources=2), layers=layers, **rows)
    sources = torch.randn(1, 2, int(SAMPLE_RATE * seconds))
    loss = PitSiSdr()
    scan = other or (partial(selective_scan, backend="reference") if naive else selective_scan)

    def step() -> None:
        mamba.selective_scan = scan
        model.zero_grad()
        loss(model(sources.sum(1)), sources).values.mean().backward()

    return step


def peak_megabytes(layers: int, seconds: float, naive: bool) -> float:
    """Measure in a fresh process."""
    arguments = ["--peak", str(layers), str(seconds), str(int(naive))]
    done = subprocess.run([sys.executable, __file__, *arguments], capture_output=True, text=True, check=True)
    return float(done.stdout)


def print_peak(layers: int, seconds: float, naive: bool) -> None:
    """Print by how much the resident memory of this process rises above what it holds now.

    Not `ru_maxrss`, which a process inherits from the one that started it, so that the rise would be zero below a large parent.
    """
    step_of(1, 0.02, naive)()  # what is imported and compiled once is not memory of a step
    step = step_of(layers, seconds, naive)
    Path("/proc/self/clear_refs").write_text("5")  # the highest so far becomes what is held now
    before = _status_megabytes("VmRSS")
    step()
    step()
    print(_status_megabytes("VmHWM") - before)


def _status_megabytes(key: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(key + ":"))


def measure(layers: int, seconds: float, repeats: int) -> dict[str, float]:
    ours, theirs = median_seconds(step_of(layers, seconds, False), step_of(layers, seconds, True), repeats=repeats, warm_up=1)
    return {
        "ours_seconds": ours,
        "naive_seconds": theirs,
        "ratio": theirs / ours,
        "ours_megabytes": peak_megabytes(layers, seconds, False),
        "naive_megabytes": peak_megabytes(layers, seconds, True),
    }


def measure_indexed(repeats: int) -> dict[str, float]:
    ours, theirs = median_seconds(step_of(*INDEXED, False), step_of(*INDEXED, True, indexed_scan), repeats=repeats, warm_up=0)
    return {"ours_seconds": ours, "indexed_seconds": theirs, "ratio": theirs / ours}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--whole", action="store_true", help="also four layers on one second; needs 24 GB")
    parser.add_argument("--peak", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.peak:
        print_peak(int(arguments.peak[0]), float(arguments.peak[1]), arguments.peak[2] == "1")
        return 0
    cases = [*CASES, (4, 1.0)] if arguments.whole else CASES
    results = {f"layers {layers}, {seconds} s": measure(layers, seconds, arguments.repeats) for layers, seconds in cases}
    results[f"layers {INDEXED[0]}, {INDEXED[1]} s, indexed"] = measure_indexed(repeats=2)
    (ours,) = median_seconds(step_of(4, 1.0, False), repeats=arguments.repeats, warm_up=1)
    megabytes = peak_megabytes(4, 1.0, False)
    if arguments.json:
        print(json.dumps({"cases": results, "reduced, 1 s": {"ours_seconds": ours, "ours_megabytes": megabytes}}))
    else:
        for name, result in results.items():
            print(f"{name}: " + ", ".join(f"{key} {value:.2f}" for key, value in result.items()))
        print(f"reduced network, 1.0 s: ours_seconds {ours:.2f}, ours_megabytes {megabytes:.0f} (promised below {PROMISED_MEGABYTES})")
    if megabytes <= 0:
        raise RuntimeError("a step that needs no memory was not measured")
    slow = [name for name, result in results.items() if result["ratio"] < PROMISED_RATIO]
    return int(bool(slow) or megabytes >= PROMISED_MEGABYTES)


if __name__ == "__main__":
    sys.exit(main())
