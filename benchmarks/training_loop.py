"""What the training loop costs: against a bare torch step at DeepSpeech 2 size, and with the sentinel on against off.

Run `python benchmarks/training_loop.py [--json] [--repeats N]`. One process, one thread, process CPU time; the variants alternate on the
same model and optimiser, and the figure is the median of the ratios of neighbours. "loop" is all the trainer does for an update on one
utterance of 112 frames (load it, set the rate, the guarded step, the event log). "guard" is the stepper with the sentinel on against off,
to which the share of a snapshot every `guard.snapshot_every` updates is added; on utterances of half a second, because a short step makes
the promise harder and the noise of a shared machine smaller. Exit code 1 if a promise is missed.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from auscult.recipe import Guard, Recipe
from auscult.runs.directory import RunDirectory
from auscult.runs.identity import Identity
from auscult.testing.corpora import toy_corpus
from auscult.training.distributed import World
from auscult.training.interruption import StopRequest
from auscult.training.journal import Journal
from auscult.training.progress import ProgressBar
from auscult.training.sentinel import Sentinel
from auscult.training.stepper import Stepper
from auscult.training.trainer import Trainer

PROMISES = {
    "deepspeech2 loop": 1.05,
    "deepspeech2 guard": 1.02,
    "conv_ctc guard": 1.02,
    "deepspeech2 tiny guard": 1.02,
}
"""Largest ratio that keeps the promise."""
CLIP = 400.0
MODELS: dict[str, dict[str, Any]] = {
    "deepspeech2": {"model": {"name": "deepspeech2"}, "items": 1, "repeats": 2},
    "conv_ctc": {"model": {"name": "conv_ctc"}, "items": 12, "repeats": 10},
    "deepspeech2 tiny": {"model": {"name": "deepspeech2", "channels": 8, "hidden": 64, "layers": 2}, "items": 8, "repeats": 10},
}
"""The full model; a small one as it trains on a CPU; a small one with batch statistics to copy."""
LONG, SHORT = 22, 5
"""Letters of an utterance: 112 and 27 frames."""


def make_trainer(manifest: Path, folder: Path, name: str) -> Trainer:
    """Return a trainer of the toy corpus, ready to advance."""
    recipe = Recipe.from_dict(
        {
            "task": {"name": "recognition"},
            "data": {
                "corpus": {"name": "folder", "source": str(manifest)},
                "sample_rate": 16000,
                "train": "train",
                "batch": {"items": MODELS[name]["items"]},
            },
            "model": MODELS[name]["model"],
            "optimizer": {"name": "adam", "lr": 1e-5},
            "budget": {"updates": 1000, "clip": CLIP},
        }
    )
    task = recipe.task.build(recipe=recipe)
    identity = Identity.current(recipe.hash, task.data_hash)
    run = RunDirectory.create(folder, name.replace(" ", "-"), recipe.to_yaml(), identity, list(task.specification.labels), "train")
    trainer = Trainer(recipe, task, run, Journal(run), World(), StopRequest(), ProgressBar(name, 1000, enabled=False))
    trainer.resume()
    return trainer


def bare_step(trainer: Trainer, batch: Any) -> Callable[[], None]:
    """Return what one writes by hand: forward, backward, clip, step."""

    def step() -> None:
        trainer.optimizer.zero_grad(set_to_none=True)
        trainer.task.loss(trainer.model, batch).value.backward()
        torch.nn.utils.clip_grad_norm_(trainer.model.parameters(), CLIP)
        trainer.optimizer.step()

    return step


def guarded_step(trainer: Trainer, batch: Any, enabled: bool) -> Callable[[], None]:
    """Return the stepper's update with the sentinel on or off."""
    sentinel = Sentinel(Guard(enabled=enabled, snapshot_every=10**9), trainer.model, trainer.optimizer, trainer.arithmetic)
    stepper = Stepper(
        trainer.task, trainer.model, trainer.optimizer, trainer.arithmetic, sentinel, streams=trainer.streams, clip=CLIP
    )  # fmt: skip
    count = iter(range(1, 10**9))

    def step() -> None:
        assert stepper.step([batch], next(count)).applied

    return step


def ratio(ours: Callable[[], None], theirs: Callable[[], None], repeats: int) -> dict[str, float]:
    """Return the median CPU times in milliseconds and the median ratio of neighbouring runs."""
    ours(), theirs()
    times: list[tuple[float, float]] = []
    for repeat in range(repeats):
        pair = {}
        for run in (ours, theirs) if repeat % 2 else (theirs, ours):
            start = time.process_time()
            run()
            pair[run] = time.process_time() - start
        times.append((pair[ours], pair[theirs]))
    one, other = (1000 * statistics.median(column) for column in zip(*times, strict=True))
    return {"ours_ms": one, "other_ms": other, "ratio": statistics.median(mine / their for mine, their in times)}


def snapshot_milliseconds(trainer: Trainer) -> float:
    """Return the CPU time of one snapshot."""
    start = time.process_time()
    trainer.sentinel.ring.push(1)
    return 1000 * (time.process_time() - start)


def loop(folder: Path, name: str, repeats: int) -> dict[str, float]:
    """Measure the whole loop against the bare step."""
    trainer = make_trainer(toy_corpus(folder / "long", utterances=8, letters=(LONG, LONG)), folder / "loop", name)
    trainer.model.train()
    return ratio(trainer.advance, bare_step(trainer, next(trainer.loader).batch), repeats)


def guard(folder: Path, name: str, repeats: int) -> dict[str, float]:
    """Measure the guarded step against the same step unguarded."""
    trainer = make_trainer(toy_corpus(folder / "short", utterances=8, letters=(SHORT, SHORT)), folder / "guard", name)
    batch = next(trainer.loader).batch
    found = ratio(guarded_step(trainer, batch, True), guarded_step(trainer, batch, False), repeats * MODELS[name]["repeats"])
    snapshot = snapshot_milliseconds(trainer)
    share = snapshot / trainer.recipe.guard.snapshot_every / found["other_ms"]
    return {**found, "ratio": found["ratio"] + share, "snapshot_ms": snapshot}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--repeats", type=int, default=16, help="of the whole loop; the guard gets more")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    rows: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        rows["deepspeech2 loop"] = loop(folder, "deepspeech2", arguments.repeats)
        for model in MODELS:
            rows[f"{model} guard"] = guard(folder, model, arguments.repeats)
    for name, row in rows.items():
        row["promise"], row["kept"] = PROMISES[name], row["ratio"] <= PROMISES[name]
    if arguments.json:
        print(json.dumps(rows, indent=1))
    else:
        print(f"{'':24}{'ours':>10}{'other':>10}{'ratio':>8}{'promise':>9}")
        for name, row in rows.items():
            times = f"{row['ours_ms']:8.1f}ms{row['other_ms']:8.1f}ms{row['ratio']:8.3f}"
            snapshot = f"  a snapshot {row['snapshot_ms']:.1f}ms" if "snapshot_ms" in row else ""
            print(f"{name:24}{times}{row['promise']:9.2f}{snapshot}{'' if row['kept'] else '  MISSED'}")
    return 0 if all(row["kept"] for row in rows.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
