"""Speed of the front-ends on one core, as ratios measured in one process.

Problem: a rate in hours per minute says more about the machine and its other tenants than about the code. Choice: each of our
front-ends against a named alternative with equal output (asserted first), alternating repeats, medians of process time, one
thread. Promises: log-spectrogram at least 3 times the rate of `torch.stft` with magnitude, logarithm and normalisation on a
batch of 16 utterances of 10 s; log-mel in Kaldi's form at least the rate of lhotse's `Fbank`. Shapes without a promise are
printed as well. Run: `python benchmarks/front_ends.py [--json]`; exits with 1 if a promise is missed.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass

import torch
from lhotse.features import Fbank, FbankConfig
from torch import Tensor

from auscult.audio.front_end import FrontEnd
from auscult.audio.front_ends.log_mel import LogMel
from auscult.audio.front_ends.log_spectrogram import LogSpectrogram

RATE = 16_000
REPEATS = 15
EQUAL = 5e-3
"""Rounding in a filter that holds one weak bin; a wrong window or filter is a hundred times worse."""
SECONDS_PER_REPEAT = 320
"""Seconds of audio in each timed repeat, so that short shapes are not at the mercy of the clock."""


@dataclass(frozen=True)
class Ratio:
    """One comparison: microseconds per second of audio, ours and theirs, and what is promised of theirs / ours."""

    name: str
    batch: int
    seconds: float
    ours: float
    theirs: float
    ratio: float
    promise: float | None
    largest_difference: float

    @property
    def missed(self) -> bool:
        """Whether the promise is broken."""
        return self.promise is not None and self.ratio < self.promise


def noise(batch: int, seconds: float) -> tuple[Tensor, Tensor]:
    samples = 0.1 * torch.randn(batch, int(seconds * RATE), generator=torch.Generator().manual_seed(0))
    return samples, torch.full((batch,), samples.shape[1])


def compare(name: str, ours: Callable[[], Tensor], theirs: Callable[[], Tensor], shape: tuple[int, float], promise: float | None) -> Ratio:
    """Assert equal output, then time both in turns."""
    difference = float((ours() - theirs()).abs().max())
    assert difference <= EQUAL, f"{name}: outputs differ by {difference:.2g}; a comparison of speed would mean nothing"
    batch, seconds = shape
    calls = max(1, round(SECONDS_PER_REPEAT / (batch * seconds)))
    times: dict[Callable[[], Tensor], list[float]] = {ours: [], theirs: []}
    for _ in range(REPEATS):
        for function, taken in times.items():
            start = time.process_time()
            for _ in range(calls):
                function()
            taken.append((time.process_time() - start) / (calls * batch * seconds) * 1e6)
    our_time, their_time = (statistics.median(taken) for taken in times.values())
    ratio = statistics.median(b / a for a, b in zip(*times.values(), strict=True))
    return Ratio(name, batch, seconds, our_time, their_time, ratio, promise, difference)


def log_spectrogram(batch: int, seconds: float, promise: float | None) -> Ratio:
    samples, lengths = noise(batch, seconds)
    front_end: FrontEnd = LogSpectrogram(RATE)
    window = torch.hann_window(512)

    def by_stft() -> Tensor:
        magnitude = torch.stft(samples, 512, 320, 512, window, center=True, pad_mode="reflect", return_complex=True).abs()
        values = magnitude.log1p().transpose(1, 2)
        return (values - values.mean((1, 2), keepdim=True)) / values.std((1, 2), keepdim=True)

    return compare("log_spectrogram / torch.stft", lambda: front_end(samples, lengths).values, by_stft, (batch, seconds), promise)


def log_mel(batch: int, seconds: float, promise: float | None) -> Ratio:
    """Kaldi's 80 bins; lhotse leaves scaling to int16 to its caller, so it is done outside the timing."""
    samples, lengths = noise(batch, seconds)
    front_end: FrontEnd = LogMel(RATE, kaldi=True, normalise="none")
    extractor = Fbank(FbankConfig(sampling_rate=RATE, num_filters=80, high_freq=0.0, snip_edges=True))
    scaled = samples * 32768

    def by_lhotse() -> Tensor:
        return torch.stack([torch.as_tensor(extractor.extract(row, RATE)) for row in scaled])

    return compare("log_mel (kaldi) / lhotse Fbank", lambda: front_end(samples, lengths).values, by_lhotse, (batch, seconds), promise)


def main() -> int:
    parser = argparse.ArgumentParser(description="Speed of the front-ends on one core.")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    as_json = parser.parse_args().json
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore", message=".*snip_edges", category=UserWarning)
    with torch.no_grad():
        shapes = ((16, 10.0, 3.0), (8, 3.0, None), (1, 10.0, None), (1, 3.0, None))
        results = [log_spectrogram(*shape) for shape in shapes]
        results += [log_mel(16, 10.0, 1.0), log_mel(1, 10.0, 1.0)]
    if as_json:
        print(json.dumps([asdict(result) for result in results], indent=2))
    else:
        print(f"{'front-end / alternative':32} {'batch':>5} {'s':>4} {'ours':>9} {'theirs':>9} {'ratio':>6} {'promise':>8} {'max diff':>9}")
        for r in results:
            promise = "-" if r.promise is None else f">= {r.promise:g}"
            verdict = " MISSED" if r.missed else ""
            columns = f"{r.name:32} {r.batch:5d} {r.seconds:4g} {r.ours:6.1f} us {r.theirs:6.1f} us {r.ratio:6.2f} {promise:>8}"
            print(f"{columns} {r.largest_difference:9.1e}{verdict}")
        print(f"median process time per second of audio, one thread, {REPEATS} alternating repeats; torch {torch.__version__}")
    return int(any(result.missed for result in results))


if __name__ == "__main__":
    sys.exit(main())
