"""What a separator makes of one mixture, for the log, the figures and the ears; and what is said of its results.

Kept apart from the task, which only says which of these exist. Estimates are shown in the order of the sources they belong to, each at
the gain that suits its source best: SI-SDR leaves the gain free, so an estimate can be right and a hundred times too loud.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from auscult.audio.front_ends.log_mel import log_mel
from auscult.data.layers import SILENCE, Aim, root_mean_square
from auscult.data.separation_batch import SeparationBatch
from auscult.metrics.separation import judge_mixture
from auscult.models.separator import Separator
from auscult.tasks.base import Independence, Item

LEARNED = 15.0
"""Improvement in dB above which one mixture counts as learned by heart."""
OF_CEILING = 0.8
"""Share of a model's ceiling in dB that does, where that is less."""
AIMS: dict[Aim, str] = {
    "separate_both": "every speaker by itself, dry",
    "enhance_both": "all speech together, dry, without scene, event and reverberation",
    "enhance_single": "the first speaker alone, dry, the others taken out of the mixture",
}


def enough(model: nn.Module) -> float:
    """Return the improvement in dB above which a model has learned one mixture by heart."""
    ceiling = model.ceiling if isinstance(model, Separator) else math.inf
    return min(LEARNED, OF_CEILING * ceiling)


def silent_targets(sources: NDArray[np.float32]) -> int:
    """Return how many of (sources, time) are silent."""
    return sum(root_mean_square(source) < SILENCE for source in sources)


def alarms(items: Sequence[Item], metrics: Mapping[str, float]) -> list[str]:
    """Return what is suspicious about judged mixtures."""
    found = []
    same = sum(bool(item["same_speaker"]) for item in items)
    if same:
        found.append(f"{same} of {len(items)} mixtures mix a speaker with themselves: there is no right answer to them")
    broken = sum(not item["finite"] for item in items)
    if broken:
        found.append(f"{broken} of {len(items)} mixtures got estimates that are not finite; they were judged as silence")
    silent = sum(bool(item["silent"]) for item in items)
    if silent:
        found.append(f"{silent} of {len(items)} mixtures have a silent target, which counts in no mean")
    if metrics.get("si_sdri", 0.0) <= 0:
        found.append(f"SI-SDRi {metrics.get('si_sdri', float('nan')):.2f} dB: the untouched mixture is no worse than what was put out")
    return found


def protocol(aim: Aim, judged: Mapping[str, Mapping[str, tuple[Any, str]]], same_speaker: Mapping[str, int]) -> dict[str, str]:
    """Return how results are obtained."""
    stated = {name: ", ".join(sorted({variant for _, variant in members.values()})) for name, members in judged.items()}
    words = {
        "si_sdr": "scale-invariant signal-to-distortion ratio, zero mean, residual form in float64; mean over sources, then over mixtures",
        "si_sdri": "si_sdr minus that of the untouched mixture, measured by the same function",
        "permutation": "the one with the best mean SI-SDR, per mixture",
        "aim": AIMS[aim],
        "variants": "; ".join(f"{name}: {variants}" for name, variants in stated.items())
        + " (kept besides speech: S scene, E event, R room)",
        "failure_rate": "share of mixtures that were made worse",
        "intervals": "pairs of speakers resampled, then mixtures; one trained model",
        "number format": "judged in float32 whatever the run was trained in",
    }
    if same_speaker:
        words["same speaker"] = ", ".join(
            f"{count} mixtures of {name} mix a speaker with themselves" for name, count in same_speaker.items()
        )
    return words


def describe(batch: SeparationBatch, sample_rate: int) -> dict[str, Any]:
    """Return length, variant and level of the mixture of a batch of one."""
    mixture, sources = batch.mixture[0].cpu().numpy(), batch.sources[0].cpu().numpy()
    untouched = judge_mixture(mixture, sources, np.broadcast_to(mixture, sources.shape))
    return {
        "samples": int(batch.lengths[0]),
        "sample_rate": sample_rate,
        "sources": len(sources),
        "variant": batch.variants[0],
        "input_si_sdr": untouched["input_si_sdr"],
    }


def arrays(model: nn.Module, batch: SeparationBatch, sample_rate: int) -> dict[str, np.ndarray]:
    """Return mixture, sources and ordered estimates of a batch of one, and what the mixture looks like."""
    mixture, sources, estimates = _ordered(model, batch)
    return {
        "waveform": mixture,
        "sample_rate": np.array(sample_rate),
        "waveform_log_mel": log_mel(mixture, sample_rate),
        "mixture": mixture,
        "sources": sources,
        "estimates": estimates,
    }


def audible(model: nn.Module, batch: SeparationBatch, sample_rate: int) -> dict[str, np.ndarray]:
    """Return the sounds of a batch of one by name."""
    mixture, sources, estimates = _ordered(model, batch)
    named = {
        f"{what} {place + 1}": signal
        for what, signals in (("source", sources), ("estimate", estimates))
        for place, signal in enumerate(signals)
    }
    return {"mixture": mixture, **named}


def _ordered(model: nn.Module, batch: SeparationBatch) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return mixture (time,), sources and estimates (sources, time) at the gain that suits them."""
    with torch.no_grad(), torch.autocast(batch.mixture.device.type, enabled=False):  # what is heard is what was judged
        found = model(batch.mixture[:1])[0].float().cpu().numpy()
    mixture, sources = batch.mixture[0].cpu().numpy(), batch.sources[0].cpu().numpy()
    estimates = found[judge_mixture(mixture, sources, found)["permutation"]]
    gains = (sources * estimates).sum(axis=1) / np.maximum(np.square(estimates).sum(axis=1), 1e-12)
    return mixture, sources, estimates * np.where(np.abs(gains) > 0, gains, 1.0)[:, None].astype(np.float32)


def independence(model: nn.Module, batch: SeparationBatch) -> Independence | None:
    """Return the influence of mixtures on one another through gradients, and the difference of each alone and among others."""
    gradient = padding = 0.0
    parts = [part for _, part in batch.of_one_length() if len(part.ids) > 1]
    for part in parts:
        mixture = part.mixture[:3].clone().requires_grad_()
        estimates = model(mixture)
        for row in range(len(mixture)):
            [influence] = torch.autograd.grad(estimates[row].square().sum(), mixture, retain_graph=True)
            influence[row] = 0.0
            gradient = max(gradient, float(influence.abs().max()))
            with torch.no_grad():
                padding = max(padding, float((model(mixture[row : row + 1])[0] - estimates[row]).abs().max()))
    return Independence(gradient, padding) if parts else None
