# ruff: noqa: N803, N806
"""Speed and memory of `auscult.ops.selective_scan` against mambapy's parallel scan and naive loops, forward and backward.

Run `python benchmarks/selective_scan.py [--json] [--repeats N] [--lengths 2048 4096 ...]`. One thread; alternatives run in turn in one
process, medians of process CPU time. Memory is the growth of the peak resident size over one forward and backward pass, each
in a fresh process. Exit code 1 if a promise is missed. The naive alternatives stop at the length their quadratic cost allows.
On CUDA, where mamba_ssm is built, its kernel is compared with the Triton one.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import torch
from torch import Tensor

from auscult.ops.selective_scan import available_backends, selective_scan
from shared_parts.naive_scan import indexed
from shared_parts.timing import median_seconds

CHANNELS, STATES = 256, 16
LENGTHS = [2048, 4096, 8192, 16384]
SEPARATOR = (126, 126)
"""Rows and length of one scan in SPMamba at one second of audio."""
LONGEST_INDEXED, LONGEST_UNBOUND = 512, 2048
PROMISES = {"torch": 3.5, "numba": 8.0}
"""Times faster than mambapy, forward and backward, at each of `LENGTHS`; below what was measured, because shared machines jitter."""
MEMORY_PROMISE = 10.0

Scan = Callable[..., Tensor]


def mambapy(u: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor) -> Tensor:
    """What mambapy's block does around its parallel scan."""
    from mambapy.pscan import pscan

    decay = torch.exp(dt.unsqueeze(-1) * A)  # (rows, length, channels, states)
    entering = dt.unsqueeze(-1) * B.unsqueeze(2) * u.unsqueeze(-1)
    return (pscan(decay, entering) @ C.unsqueeze(-1)).squeeze(3) + D * u


def with_backend(name: str) -> Scan:
    return lambda *given: selective_scan(*given, backend=name)


def alternatives(length: int) -> dict[str, Scan]:
    found: dict[str, Scan] = {name: with_backend(name) for name in ("numba", "torch") if name in available_backends("cpu")}
    if importlib.util.find_spec("mambapy"):
        found["mambapy"] = mambapy
    if length <= LONGEST_UNBOUND:
        found["naive loop, unbind"] = with_backend("reference")
    if length <= LONGEST_INDEXED:
        found["naive loop, indexed"] = indexed
    return found


def inputs(rows: int, length: int, device: str = "cpu") -> list[Tensor]:
    random = torch.Generator().manual_seed(0)
    u, dt, B, C = (torch.randn(rows, length, size, generator=random) for size in (CHANNELS, CHANNELS, STATES, STATES))
    A = -torch.arange(1.0, STATES + 1).repeat(CHANNELS, 1)
    given = (u, torch.nn.functional.softplus(dt - 3), A, B, C, torch.ones(CHANNELS))
    return [one.to(device).requires_grad_() for one in given]


def both_passes(scan: Scan, given: list[Tensor], gradient: Tensor) -> tuple[Tensor, ...]:
    return torch.autograd.grad(scan(*given), given, gradient)


def no_gradient(scan: Scan, given: list[Tensor]) -> Tensor:
    with torch.no_grad():
        return scan(*given)


def measure(rows: int, length: int, scans: dict[str, Scan], repeats: int) -> dict[str, dict[str, float]]:
    """CPU milliseconds of each alternative, forward alone and with backward, and the largest relative difference of its gradients."""
    given = inputs(rows, length)
    gradient = torch.randn(rows, length, CHANNELS, generator=torch.Generator().manual_seed(1))
    expected = both_passes(scans["torch"], given, gradient)
    names = list(scans)
    forward = median_seconds(*(lambda scan=scans[name]: no_gradient(scan, given) for name in names), repeats=repeats, warm_up=1)
    whole = median_seconds(*(lambda scan=scans[name]: both_passes(scan, given, gradient) for name in names), repeats=repeats, warm_up=1)
    result = {}
    for name, one, both in zip(names, forward, whole, strict=True):
        found = both_passes(scans[name], given, gradient)
        difference = max(float((a - b).abs().max() / b.abs().max()) for a, b in zip(found, expected, strict=True))
        result[name] = {"forward_ms": 1000 * one, "both_ms": 1000 * both, "difference": difference}
    return result


def grown_megabytes(name: str, length: int) -> float:
    """Growth of the peak resident size over one forward and backward pass, in a process of its own."""
    command = [sys.executable, __file__, "--memory-of", name, "--lengths", str(length)]
    return float(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout)


def print_grown_megabytes(name: str, length: int) -> int:
    scan = alternatives(length)[name]
    both_passes(scan, inputs(1, 64), torch.ones(1, 64, CHANNELS))  # imports and compilation
    given, gradient = inputs(1, length), torch.ones(1, length, CHANNELS)
    Path("/proc/self/clear_refs").write_text("5")  # the highest so far becomes what is held now
    before = status_megabytes("VmRSS")
    both_passes(scan, given, gradient)
    print(status_megabytes("VmHWM") - before)
    return 0


def status_megabytes(field: str) -> float:
    """A field of this process's memory (Linux); `ru_maxrss` would be inherited from the parent."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(field))
    return int(line.split()[1]) / 1024


def measure_cuda(repeats: int) -> dict[str, float]:
    """Wall milliseconds of forward and backward at the separator's size, for the CUDA backends that are there."""
    result = {}
    given = inputs(*SEPARATOR, device="cuda")
    gradient = torch.ones(*SEPARATOR, CHANNELS, device="cuda")
    for name in available_backends("cuda")[:-1]:
        times = []
        for _ in range(repeats + 2):
            torch.cuda.synchronize()
            began = time.perf_counter()
            both_passes(with_backend(name), given, gradient)
            torch.cuda.synchronize()
            times.append(1000 * (time.perf_counter() - began))
        result[name] = median(times[2:])
    return result


def report(title: str, length: int, found: dict[str, dict[str, float]]) -> list[str]:
    """Print a table; return the promises that were missed."""
    base = found.get("mambapy")
    promises = PROMISES if length >= min(LENGTHS) else {}
    missed = []
    print(title)
    for name, one in found.items():
        ratio = f"{base['both_ms'] / one['both_ms']:6.1f} x mambapy" if base else ""
        memory = f", peak grows {one['megabytes']:6.0f} MB" if "megabytes" in one else ""
        print(f"  {name:20} forward {one['forward_ms']:8.1f} ms, forward + backward {one['both_ms']:8.1f} ms {ratio}{memory}")
        if base and name in promises and base["both_ms"] < promises[name] * one["both_ms"]:
            missed.append(f"{title}: {name} is not {promises[name]} times as fast as mambapy")
        if base and name in PROMISES and "megabytes" in one and base["megabytes"] < MEMORY_PROMISE * one["megabytes"]:
            missed.append(f"{title}: {name} needs more than 1/{MEMORY_PROMISE:.0f} of mambapy's memory")
        if one["difference"] > 1e-4:
            missed.append(f"{title}: gradients of {name} differ by {one['difference']:.1e}")
    return missed


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--lengths", type=int, nargs="+", default=[LONGEST_INDEXED, *LENGTHS])
    parser.add_argument("--memory-of", help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.memory_of:
        return print_grown_megabytes(options.memory_of, options.lengths[0])
    for package, line in (("mambapy", "pip install mambapy"), ("numba", "pip install 'auscult[speed]'")):
        if not importlib.util.find_spec(package):
            print(f"{package} is not installed, so it is left out: {line}", file=sys.stderr)
    results, missed = {}, []
    for length in options.lengths:
        title = f"rows 1, length {length}"
        results[title] = measure(1, length, alternatives(length), options.repeats)
        if length == max(options.lengths):
            for name in results[title]:
                results[title][name]["megabytes"] = grown_megabytes(name, length)
        missed += report(title, length, results[title])
    title = f"rows {SEPARATOR[0]}, length {SEPARATOR[1]} (one of SPMamba's scans at one second)"
    scans = {name: scan for name, scan in alternatives(LONGEST_UNBOUND).items() if name in PROMISES}
    results[title] = measure(*SEPARATOR, scans, options.repeats)
    missed += report(title, SEPARATOR[1], results[title])
    if torch.cuda.is_available():
        print("CUDA, wall ms forward + backward:", measure_cuda(options.repeats))
    if options.json:
        print(json.dumps({"results": results, "missed": missed}, indent=1))
    for line in missed:
        print("MISSED", line)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
