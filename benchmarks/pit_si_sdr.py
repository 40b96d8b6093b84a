"""Speed and exactness of the permutation-invariant SI-SDR loss and of BSS-eval, as ratios against named alternatives in the same process.

Forward and backward of 8 mixtures of 2 speakers, 4 s at 8 kHz, in float32 on one thread; process CPU time, medians over alternating
repeats. Errors in dB, the largest of 8 mixtures, against float64. Run: `OMP_NUM_THREADS=1 python benchmarks/pit_si_sdr.py`. Promises: at
least 5 times faster than torchmetrics while every pair is below 25 dB; above, never less exact; BSS-eval faster than mir_eval at
equal values. Alternatives: torchmetrics (`pip install torchmetrics`), asteroid (`pip install --no-deps asteroid`; only its losses are
imported), mir_eval and fast_bss_eval (`pip install mir_eval fast_bss_eval`).
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import sys
import types
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from auscult.losses.pit import PitSiSdr
from auscult.metrics.bss_eval import bss_eval
from auscult.testing.known_mixtures import estimates_at
from shared_parts.timing import median_seconds

LEVELS = (0, 10, 20, 24, 30, 40, 60, 90)
TIMED = (10, 40)
BATCH, SOURCES, SAMPLES = 8, 2, 32_000

seconds = partial(median_seconds, repeats=15, warm_up=3)

Loss = Callable[[Tensor, Tensor], Tensor]


def ours() -> Loss:
    loss = PitSiSdr()
    return lambda estimates, sources: loss(estimates, sources).values


def torchmetrics() -> Loss | None:
    if importlib.util.find_spec("torchmetrics") is None:
        return None
    audio = importlib.import_module("torchmetrics.functional.audio")

    def loss(estimates: Tensor, sources: Tensor) -> Tensor:
        values: Tensor = audio.permutation_invariant_training(
            estimates, sources, audio.scale_invariant_signal_distortion_ratio, mode="speaker-wise", eval_func="max", zero_mean=True
        )[0]
        return -values

    return loss


def asteroid() -> Loss | None:
    """Import its losses without its package, which wants far more than they do."""
    found = importlib.util.find_spec("asteroid")
    if found is None or found.submodule_search_locations is None:
        return None
    package = types.ModuleType("asteroid")
    package.__path__ = list(found.submodule_search_locations)
    sys.modules["asteroid"] = package
    losses: Any = importlib.import_module("asteroid.losses")
    wrapper = losses.PITLossWrapper(losses.pairwise_neg_sisdr, pit_from="pw_mtx")
    return lambda estimates, sources: wrapper(estimates, sources)  # its mean over the batch


def at_level(decibels: float) -> tuple[Tensor, Tensor]:
    """Sources and estimates in the other order."""
    there, said = estimates_at(decibels, BATCH, SOURCES, SAMPLES)
    return torch.from_numpy(there).float(), torch.from_numpy(said[:, ::-1].copy()).float()


def exact(estimates: Tensor, sources: Tensor) -> Tensor:
    """In float64, for estimates in the other order."""
    said, there = (one.double() - one.double().mean(-1, keepdim=True) for one in (estimates.flip(1), sources))
    image = (said * there).sum(-1, keepdim=True) / there.square().sum(-1, keepdim=True) * there
    return -10 * torch.log10(image.square().sum(-1) / (said - image).square().sum(-1)).mean(1)


def step(loss: Loss, estimates: Tensor, sources: Tensor) -> Callable[[], object]:
    estimates = estimates.clone().requires_grad_()
    return lambda: torch.autograd.grad(loss(estimates, sources).mean(), estimates)


def loss_rows() -> dict[str, Any]:
    makers = {"torchmetrics": torchmetrics(), "asteroid": asteroid()}
    rows: dict[str, Any] = {}
    for name, other in makers.items():
        if other is None:
            rows[name] = "not installed"
            continue
        for decibels in TIMED:
            sources, estimates = at_level(decibels)
            own, theirs = seconds(step(ours(), estimates, sources), step(other, estimates, sources))
            rows[f"{name}, {decibels} dB"] = {"milliseconds": 1e3 * own, "their_milliseconds": 1e3 * theirs, "times_faster": theirs / own}
    rows["largest error in dB by level"] = {
        str(decibels): {
            name: float((loss(estimates, sources).double() - exact(estimates, sources)).abs().max())
            for name, loss in (("auscult", ours()), ("torchmetrics", makers["torchmetrics"]))
            if loss is not None
        }
        for decibels in LEVELS
        for sources, estimates in [at_level(decibels)]
    }
    return rows


def metric_rows() -> dict[str, Any]:
    there, said = (one[0] for one in estimates_at(10, 1, SOURCES, SAMPLES))
    said = said + 0.1 * there[::-1]
    rows: dict[str, Any] = {}
    for name in ("mir_eval", "fast_bss_eval"):
        if importlib.util.find_spec(name) is None:
            rows[name] = "not installed"
            continue
        package = importlib.import_module("mir_eval.separation" if name == "mir_eval" else name)
        run = partial(package.bss_eval_sources, there, said)
        own, theirs = median_seconds(partial(bss_eval, there, said), run, repeats=5, warm_up=1)
        difference = max(float(np.abs(one - other).max()) for one, other in zip(bss_eval(there, said)[:3], run()[:3], strict=True))
        if difference > 1e-3:
            raise SystemExit(f"{name} gives other values (by {difference} dB): the comparison is void")
        rows[name] = {"milliseconds": 1e3 * own, "times_faster": theirs / own, "largest_difference_dB": difference}
    return rows


def main() -> None:
    torch.set_num_threads(1)
    warnings.simplefilter("ignore", FutureWarning)
    print(json.dumps({"PIT SI-SDR, forward and backward, 8 x 2 x 32,000": loss_rows(), "BSS-eval, 2 x 32,000": metric_rows()}, indent=2))


if __name__ == "__main__":
    main()
