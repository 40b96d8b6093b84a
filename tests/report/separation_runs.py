"""Run directories of separation as training, `evaluate` and `check` leave them, with planted facts that a report must show."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from auscult.runs.directory import RunDirectory
from auscult.runs.identity import Identity
from auscult.runs.state import State

VARIANTS = ("SER", "SE", "C")
RATE = 8000
FAILED = ("row07@SER", "row13@SER")
"""Mixtures that are worse after separation than before."""


def mixture(row: int, variant: str, random: np.random.Generator) -> dict[str, Any]:
    """A judged mixture: clean ones start at 0 dB and gain 9, those with scene and event start lower and gain less."""
    start = {"SER": -6.0 + float(random.standard_normal()), "SE": -3.0 + float(random.standard_normal()), "C": 0.0}[variant]
    voices = [f"v{row % 5}", f"v{row % 5 if row == 11 else (row + 1 + row % 3) % 5}"]
    ratio = float(random.integers(-5, 6))
    before = [start + ratio / 2, start - ratio / 2]
    gains = [{"SER": 5.0, "SE": 7.0, "C": 9.0}[variant] + 1.5 * float(random.standard_normal()) for _ in before]
    gains = [gain - 4.0 * (voice == "v3") for gain, voice in zip(gains, voices, strict=True)]
    if f"row{row:02d}@{variant}" in FAILED:
        gains = [-2.5, -1.0 - row / 10]
    after = [a + b for a, b in zip(before, gains, strict=True)]
    first, last = float(np.mean(before)), float(np.mean(after))
    return {
        "id": f"row{row:02d}@{variant}", "mixture": f"row{row:02d}", "variant": variant, "aim": "separate_both", "speakers": voices,
        "seconds": 4.0, "permutation": [1, 0], "source_input_si_sdr": before, "source_si_sdr": after, "input_si_sdr": first,
        "si_sdr": last, "si_sdri": last - first, "silent": [], "same_speaker": voices[0] == voices[1], "loss": -last,
        "stoi": 0.8, "stoi_input": 0.6,
    }  # fmt: skip


def mixtures(rows: int = 24) -> list[dict[str, Any]]:
    """Every row in every variant."""
    random = np.random.default_rng(4)
    return [mixture(row, variant, random) for row in range(rows) for variant in VARIANTS]


def summary(items: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The summary that belongs to records."""
    gains = [item["si_sdri"] for item in items]
    metrics = {"si_sdri": float(np.mean(gains)), "si_sdr": float(np.mean([item["si_sdr"] for item in items])),
               "input_si_sdr": float(np.mean([item["input_si_sdr"] for item in items])), "failure_rate": 0.0278,
               "mixtures": float(len(items))}  # fmt: skip
    return {"metrics": metrics, "intervals": {"si_sdri": [metrics["si_sdri"] - 0.7, metrics["si_sdri"] + 0.8]}}


def _open(root: Path, verb: str) -> RunDirectory:
    identity = Identity("a" * 64, "b" * 64, {"training/stepper.py": "c0ffee"}, {"python": "3.11"})
    return RunDirectory.create(root, f"separation-convtasnet-{verb}0f3a", "task: {name: separation}\nseed: 0\n", identity, [], verb)


def _write(run: RunDirectory, log: Sequence[dict[str, Any]], reason: str) -> Path:
    run.events.path.write_text("".join(json.dumps({"time": 1.0, **event}) + "\n" for event in log), encoding="utf-8")
    run.set_state(State.RUNNING)
    run.set_state(State.COMPLETE, reason)
    return run.path


def training_run(root: Path, items: Sequence[dict[str, Any]] | None = None, listening: bool = True) -> Path:
    """A training run whose loss passes through 0, with a judged test split and sounds of three mixtures."""
    run, judged = _open(root, "train"), mixtures() if items is None else list(items)
    log: list[dict[str, Any]] = [{"event": "start", "verb": "train", "task": "separation", "model": "convtasnet", "recipe": {"seed": 0}}]
    for update in range(1, 301):
        loss = 8.0 - 14.0 * (1 - np.exp(-update / 80))
        log.append({"event": "step", "update": update, "loss": loss, "gradient_norm": 3.0, "lr": 1e-3, "items": 8})
        if update % 50 == 0:
            found = {"si_sdri": -1.0 - loss, "si_sdr": -3.0 - loss, "input_si_sdr": -2.0}
            log.append({"event": "evaluation", "update": update, "split": "validation", "metrics": found})
    log.append({"event": "checkpoint", "update": 300, "which": "best"})
    run.write_items("test", judged)
    protocol = {"metric": "SI-SDR, mean over active sources", "improvement": "over the mixture itself"}
    facts = {"alarms": [], "protocol": protocol, "split": "test", "update": 300}
    run.write_summary("test", {**(summary(judged) if judged else {"metrics": {}, "intervals": {}}), **facts})
    if listening:
        store_sounds(run, "test", judged)
    return _write(run, log, "budget used")


def voice(pitch: float, seconds: float, seed: int) -> np.ndarray:
    """A buzzing voice with syllables and a gliding pitch, (time,)."""
    random = np.random.default_rng(seed)
    moment = np.arange(round(seconds * RATE)) / RATE
    phase = 2 * np.pi * np.cumsum(pitch * (1 + 0.12 * np.sin(2 * np.pi * 0.9 * moment + seed))) / RATE
    envelope = np.clip(np.sin(2 * np.pi * (1.4 + 0.3 * seed) * moment + seed) + 0.3, 0.0, 1.0)
    tone = sum(np.sin(number * phase) / number for number in range(1, 14))
    return (0.08 * envelope * tone + 0.0005 * random.standard_normal(len(moment))).astype(np.float32)


def scene(seed: int, seconds: float = 4.0, leak: float = 0.2) -> dict[str, np.ndarray]:
    """Sounds of a mixture of two voices whose estimates leak into one another."""
    first, second = voice(110.0, seconds, seed), voice(190.0, seconds, seed + 1)
    noise = 0.01 * np.random.default_rng(seed).standard_normal(len(first)).astype(np.float32)
    return {
        "mixture": first + second + noise, "source 1": first, "source 2": second, "estimate 1": first + leak * second,
        "estimate 2": second + leak * (first + noise),
    }  # fmt: skip


def store_sounds(run: RunDirectory, split: str, items: Sequence[dict[str, Any]]) -> None:
    """Write what `auscult evaluate` saves to listen to: the worst, the middle and the best mixture."""
    ordered = sorted(items, key=lambda item: item["si_sdri"])
    index: list[dict[str, Any]] = []
    folder = run.listening / split
    folder.mkdir(parents=True)
    for number, (place, item) in enumerate(
        zip(("worst", "median", "best"), (ordered[0], ordered[len(ordered) // 2], ordered[-1]), strict=True)
    ):
        sounds = scene(number, leak=(0.9, 0.3, 0.02)[number])
        rows = []
        for name, samples in sounds.items():
            file = f"{number + 1}-{name.replace(' ', '-')}.wav"
            soundfile.write(folder / file, samples, RATE, "PCM_16")
            power = float(np.mean(samples.astype(np.float64) ** 2))
            rows.append({"name": name, "file": file, "rms_db": 10 * np.log10(power), "peak": float(np.abs(samples).max())})
        index.append({"id": item["id"], "place": place, "value": item["si_sdri"], "gain_db": 0.0, "not_finite": [], "sounds": rows,
                      "variant": item["variant"], "si_sdri": item["si_sdri"], "seconds": 4.0})  # fmt: skip
    record = {"split": split, "metric": "si_sdri", "sample_rate": RATE, "scaling": "one gain for all sounds of an item", "items": index}
    (run.listening / f"{split}.json").write_text(json.dumps(record), encoding="utf-8")


def check_run(root: Path, count: int = 3, arrays: bool = True) -> Path:
    """A check whose losses pass through 0: all reach -10 dB but the second, which stops at -4."""
    run = _open(root, "check")
    parts = [("encoder", "Conv1d", 8192, [1, 512, 3999]), ("separator", "TemporalConvolution", 340_000, [1, 1024, 3999]),
             ("decoder", "ConvTranspose1d", 8192, [2, 1, 32_000])]  # fmt: skip
    log: list[dict[str, Any]] = [
        {"event": "start", "verb": "check", "task": "separation", "model": "convtasnet", "recipe": {"optimizer": {"name": "adam"}}},
        {"event": "model", "parameters": 356_384, "macs_per_second": 1.2e9, "frame_step": None, "front_end": {}, "parts": [
            {"name": a, "type": b, "parameters": c, "output_shape": d, "depth": 1, "order": e} for e, (a, b, c, d) in enumerate(parts)]},
    ]  # fmt: skip
    for index in range(count):
        log += _learned(index, failed=index % 3 == 1)
        if arrays and index < 4:
            made = scene(index, leak=0.5 if index % 3 == 1 else 0.1)
            run.arrays_folder.mkdir(parents=True, exist_ok=True)
            np.savez(
                run.arrays_folder / f"{index}.npz", mixture=made["mixture"], sources=np.stack([made["source 1"], made["source 2"]]),
                estimates=np.stack([7.0 * made["estimate 1"], 0.2 * made["estimate 2"]]), sample_rate=np.array(RATE),
            )  # fmt: skip
    log.append({"event": "end", "state": "COMPLETE", "verdict": "failed", "reasons": ["the second mixture"]})
    return _write(run, log, "failed")


def _learned(index: int, failed: bool) -> list[dict[str, Any]]:
    name, random = f"row{index:02d}@C", np.random.default_rng(index)
    before, floor, updates = -2.0 + index % 5, -4.0 if failed else -10.4, 150 + 40 * (index % 4)
    begun = {"event": "utterance", "index": index, "id": name, "seconds": 4.0, "samples": 32_000, "sample_rate": RATE, "sources": 2,
             "speakers": ["v0", "v1"], "variant": "C", "input_si_sdr": before, "initial_loss": 21.5, "threshold": -10.0,
             "uniform_loss": None}  # fmt: skip
    log: list[dict[str, Any]] = [begun]
    for update in range(1, updates + 1):
        loss = floor + (21.5 - floor) * float(np.exp(-update / 25)) * (1 + 0.1 * float(random.standard_normal()) * (update < updates))
        measured = {"si_sdr": -loss, "si_sdri": -loss - before} if update % 5 == 0 or update == 1 else {}
        norm = 4.0 * float(np.exp(-update / 90) * np.exp(0.1 * random.standard_normal()))
        log.append(
            {"event": "step", "index": index, "update": update, "loss": loss, "gradient_norm": norm, "elapsed": 0.2 * update, **measured}
        )
    end = {"event": "utterance_end", "index": index, "id": name, "update": updates, "loss": loss, "seconds": 0.2 * updates}
    reason = "budget" if failed else "threshold"
    return [*log, {**end, "stop_reason": reason, "right": not failed, "si_sdr": -loss, "si_sdri": -loss - before}]
