"""Cost of the speaker encoders, and what lengths and masks add to a training step of ResNetSE34V2.

    python benchmarks/speaker_encoders.py [--json]

The step is waveforms to Adam (front-end, encoder, margin-free cosine head), 8 utterances of 2.015 s, against the same network in
bare torch (`tests/models/voxceleb_reference.py`) with torch.stft in front; and a ragged batch against a full one. Variants alternate in
one process on one thread; medians of process CPU time. Exits 1 when a promise is missed.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from auscult.models.speaker_encoder import SpeakerEncoder
from auscult.registry import build

SAMPLES, BATCH, CLASSES, RATE = 32240, 8, 140, 16000
FULL = "resnetse34v2 training step / bare torch"
RAGGED = "resnetse34v2 full batch / ragged batch"
SMALL = "small_tdnn step, 64 x 2 s, seconds"
PROMISES = {FULL: 0.95, RAGGED: 0.6}
"""Least ratios of the alternative's time to ours: what masks may cost without padding, and with it."""
LIMITS = {SMALL: 0.35}
"""Most seconds."""
ENCODERS: dict[str, dict[str, Any]] = {
    "small_tdnn": {},
    "fast_resnet34": {},
    "resnetse34v2": {},
    "ecapa_tdnn": {},
    "ecapa_tdnn 1024": {"channels": 1024},
    "campplus": {},
}


def reference_network() -> nn.Module:
    path = Path(__file__).resolve().parents[1] / "tests" / "models" / "voxceleb_reference.py"
    specification = importlib.util.spec_from_file_location("voxceleb_reference", path)
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    network: nn.Module = module.ReferenceNetwork(large=True)
    return network


def encoder(name: str, **arguments: Any) -> SpeakerEncoder:
    torch.manual_seed(0)
    built: SpeakerEncoder = build("model", {"name": name.split()[0], **arguments}, sample_rate=RATE)
    return built


def step_of(network: nn.Module, embed: Callable[[], Tensor], dimensions: int, batch: int = BATCH) -> Callable[[], None]:
    """A training step with a cosine head, which every margin loss has."""
    head = nn.Parameter(torch.randn(CLASSES, dimensions))
    labels = torch.arange(batch) % CLASSES
    optimizer = torch.optim.Adam([*network.parameters(), head], lr=1e-3)
    network.train()

    def step() -> None:
        cosines = nn.functional.normalize(embed()) @ nn.functional.normalize(head).T
        loss = nn.functional.cross_entropy(30.0 * cosines, labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step


def alternate(ours: Callable[[], None], theirs: Callable[[], None], repeats: int) -> dict[str, float]:
    """Median of the ratios of neighbours, which a burst of other work on the machine moves least."""
    pairs = []
    ours(), theirs()
    for index in range(repeats):
        taken = {}
        for run in (ours, theirs) if index % 2 else (theirs, ours):
            began = time.process_time()
            run()
            taken[run] = time.process_time() - began
        pairs.append((taken[ours], taken[theirs]))
    mine, other = (statistics.median(column) for column in zip(*pairs, strict=True))
    return {"ours_seconds": mine, "theirs_seconds": other, "ratio": statistics.median(b / a for a, b in pairs)}


def against_bare_torch(repeats: int) -> dict[str, float]:
    waves, lengths = 0.1 * torch.randn(BATCH, SAMPLES), torch.full((BATCH,), SAMPLES)
    ours, theirs = encoder("resnetse34v2"), reference_network()
    theirs.load_state_dict(ours.state_dict())
    with torch.no_grad():
        difference = float((ours.train()(waves, lengths) - theirs.train()(waves)).abs().max())
    assert difference < 1e-3, f"outputs differ by {difference:.2g}; a comparison of speed would mean nothing"
    return alternate(step_of(ours, lambda: ours(waves, lengths), 512), step_of(theirs, lambda: theirs(waves), 512), repeats)


def ragged_batch(repeats: int) -> dict[str, float]:
    waves, full = 0.1 * torch.randn(BATCH, SAMPLES), torch.full((BATCH,), SAMPLES)
    ragged = torch.linspace(0.6 * SAMPLES, SAMPLES, BATCH).long()
    model = encoder("resnetse34v2")
    return alternate(step_of(model, lambda: model(waves, ragged), 512), step_of(model, lambda: model(waves, full), 512), repeats)


def small_step(repeats: int) -> float:
    waves, lengths = 0.1 * torch.randn(64, SAMPLES), torch.full((64,), SAMPLES)
    model = encoder("small_tdnn")
    step = step_of(model, lambda: model(waves, lengths), model.dimensions, batch=64)
    times = []
    for _ in range(repeats + 1):
        began = time.process_time()
        step()
        times.append(time.process_time() - began)
    return statistics.median(times[1:])


def cost(name: str, arguments: dict[str, Any], repeats: int) -> dict[str, float]:
    """Parameters, multiply-accumulates per second of audio, and seconds of one core per second of audio for one voice of 4 s."""
    model = encoder(name, **arguments).eval()
    wave, length = 0.1 * torch.randn(1, 4 * RATE), torch.tensor([4 * RATE])
    times = []
    with torch.inference_mode():
        with FlopCounterMode(display=False) as counter:
            model(wave, length)
        for _ in range(repeats):
            began = time.process_time()
            model(wave, length)
            times.append(time.process_time() - began)
    return {
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "mmac_per_second": counter.get_total_flops() / 2 / 4 / 1e6,
        "real_time_factor": statistics.median(times) / 4,
        "frame_step": model.frame_step,
        "dimensions": model.dimensions,
    }


def main() -> int:
    parser = argparse.ArgumentParser(description="Cost of the speaker encoders on one core.")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--repeats", type=int, default=11)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    costs = {name: cost(name, keys, 5) for name, keys in ENCODERS.items()}
    ratios = {FULL: against_bare_torch(arguments.repeats), RAGGED: ragged_batch(arguments.repeats)}
    seconds = small_step(arguments.repeats)
    missed = [name for name, promise in PROMISES.items() if ratios[name]["ratio"] < promise]
    missed += [SMALL] if seconds > LIMITS[SMALL] else []
    if arguments.json:
        print(json.dumps({"encoders": costs, "steps": ratios, SMALL: seconds, "missed": missed}, indent=2))
        return int(bool(missed))
    print(f"{'encoder':18} {'parameters':>11} {'MMAC/s':>8} {'real time':>10} {'frame':>6} {'size':>5}")
    for name, row in costs.items():
        print(
            f"{name:18} {row['parameters']:11,} {row['mmac_per_second']:8.1f} {row['real_time_factor']:9.4f}x "
            f"{1000 * row['frame_step']:3.0f} ms {row['dimensions']:5}"
        )
    for name, row in ratios.items():
        verdict = " MISSED" if name in missed else ""
        print(f"{name:42} {row['ours_seconds']:6.3f} s {row['theirs_seconds']:6.3f} s {row['ratio']:5.2f} >= {PROMISES[name]:g}{verdict}")
    print(f"{SMALL:42} {seconds:6.3f} s <= {LIMITS[SMALL]:g}{' MISSED' if SMALL in missed else ''}")
    print(f"median process time, one thread, {arguments.repeats} alternating repeats; torch {torch.__version__}")
    return int(bool(missed))


if __name__ == "__main__":
    sys.exit(main())
