"""Crops of 2 s read, collated and trained on: from files and from a pack, against reading whole files.

    OMP_NUM_THREADS=1 python benchmarks/crops.py [--json] [--repeats N]

256 recordings of 8 s at 16 kHz in WAV and in FLAC, pages warm, nothing kept in memory (`cache_megabytes: 0`), 64 crops a batch, through the
loader and the collation of the verification task; one process, one thread. The alternative is the loop of voxceleb_trainer: decode
the whole file to float64, slice at random, stack, make a tensor of float32. The variants alternate; figures are medians of process CPU
time, ratios medians of the ratios of neighbours. The last rows put the loader beside a training step of `small_tdnn` on a batch: loading
alone, the step alone, both together. Exit code 1 if a promise is missed.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch
from lhotse.cut import Cut
from scipy.signal import lfilter

from auscult.corpora.folder import Folder
from auscult.corpora.prepare import prepare
from auscult.data.loading import Loader
from auscult.data.planning import batch_stream
from auscult.recipe import Recipe
from auscult.streams import Streams

RATE, SECONDS, SPEAKERS, EACH, BATCH, SAMPLES = 16000, 8, 64, 4, 64, 32240
FASTER = {"wav": 4.0, "pack": 4.0}
"""Least ratios of the alternative's time to ours; the pack is compared with whole WAV files, the faster ones."""
RATES = {"wav": 3000.0, "pack": 3000.0}
"""Least clips per second and core."""


def recordings(folder: Path, suffix: str) -> Path:
    """Noise with the spectrum and the rhythm of speech, which FLAC packs like speech."""
    generator, rows = np.random.default_rng(0), []
    for speaker in range(SPEAKERS):
        for number in range(EACH):
            noise = lfilter([1.0], [1.0, -1.6, 0.75], generator.normal(size=SECONDS * RATE))
            beat = 0.2 + np.abs(np.sin(np.arange(SECONDS * RATE) * 3 * np.pi / RATE))
            name = f"s{speaker:02d}-{number}.{suffix}"
            soundfile.write(folder / name, (600 * noise * beat).astype(np.int16), RATE, subtype="PCM_16")
            rows.append(json.dumps({"audio": name, "speaker": f"s{speaker:02d}"}))
    manifest = folder / f"{suffix}.jsonl"
    manifest.write_text("\n".join(rows) + "\n", encoding="utf-8")
    return manifest


def task_of(corpus: dict[str, Any]) -> Any:
    recipe = Recipe.from_dict(
        {
            "task": {"name": "verification"},
            "data": {
                "corpus": corpus,
                "sample_rate": RATE,
                "train": "all",
                "batch": {"speakers": BATCH, "utterances": 1},
                "cache_megabytes": 0,
            },
            "model": {"name": "small_tdnn"},
            "budget": {"updates": 1},
        }
    )
    return recipe.task.build(recipe=recipe)


def loader_of(task: Any) -> Loader:
    cuts: list[Cut] = list(task.cuts("train"))
    streams = Streams(0)
    return Loader(cuts, task.training_batch, batch_stream(cuts, task.recipe.data.batch, streams), streams=streams)


def whole_files(paths: Sequence[Path]) -> torch.Tensor:
    """What voxceleb_trainer does for a batch."""
    crops = []
    for path in random.sample(paths, BATCH):
        audio, _ = soundfile.read(path)
        start = int(random.random() * (len(audio) - SAMPLES))
        crops.append(audio[start : start + SAMPLES])
    return torch.from_numpy(np.stack(crops)).float()


def alternate(runs: dict[str, Callable[[], object]], repeats: int) -> dict[str, list[float]]:
    """Return the CPU seconds of every run, by name, one per repeat; neighbours in time lie at the same place."""
    times: dict[str, list[float]] = {name: [] for name in runs}
    for run in runs.values():
        run()
    for repeat in range(repeats):
        for name in list(runs) if repeat % 2 else reversed(runs):
            began = time.process_time()
            runs[name]()
            times[name].append(time.process_time() - began)
    return times


def reading(loaders: dict[str, Loader], folder: Path, repeats: int) -> dict[str, dict[str, float]]:
    runs: dict[str, Callable[[], object]] = {name: partial(next, loader) for name, loader in loaders.items()}
    for suffix in ("wav", "flac"):
        runs[f"whole {suffix}"] = partial(whole_files, sorted(folder.glob(f"*.{suffix}")))
    times = alternate(runs, repeats)
    rows = {name: {"clips_per_second": BATCH / statistics.median(taken)} for name, taken in times.items()}
    for name, other in (("wav", "whole wav"), ("flac", "whole flac"), ("pack", "whole wav"), ("pack", "whole flac")):
        ratio = statistics.median(theirs / ours for ours, theirs in zip(times[name], times[other], strict=True))
        rows[name][f"times_faster_than_{other.replace(' ', '_')}"] = ratio
    return rows


def training(task: Any, loaders: dict[str, Loader], repeats: int) -> dict[str, float]:
    """Return CPU milliseconds of a batch: loading alone, the step alone, and both."""
    torch.manual_seed(0)
    model = task.build_model().train()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    kept = next(loaders["wav"]).batch

    def step(batch: Any) -> None:
        optimizer.zero_grad()
        task.loss(model, batch).value.backward()
        optimizer.step()

    runs: dict[str, Callable[[], object]] = {"step alone": lambda: step(kept)}
    for name, loader in loaders.items():
        runs[f"{name}: loading alone"] = partial(next, loader)
        runs[f"{name}: loading and step"] = lambda loader=loader: step(next(loader).batch)  # type: ignore[misc]
    return {name: 1000 * statistics.median(taken) for name, taken in alternate(runs, repeats).items()}


def same_crops(loaders: dict[str, Loader]) -> None:
    batches = {name: next(loader).batch for name, loader in loaders.items()}
    if not all(torch.equal(batches["wav"].samples, other.samples) for other in batches.values()):
        raise SystemExit("the crops of files and pack differ: the comparison is void")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--repeats", type=int, default=15)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        manifests = {suffix: recordings(folder, suffix) for suffix in ("wav", "flac")}
        packed = prepare(Folder(str(manifests["wav"])), folder / "packed", pack=True).folder
        corpora = {suffix: {"name": "folder", "source": str(manifest)} for suffix, manifest in manifests.items()}
        tasks = {one: task_of(corpus) for one, corpus in (*corpora.items(), ("pack", {"name": "manifests", "path": str(packed)}))}
        loaders = {one: loader_of(task) for one, task in tasks.items()}
        same_crops(loaders)
        rows = reading(loaders, folder, arguments.repeats)
        milliseconds = training(tasks["wav"], loaders, max(3, arguments.repeats // 3))
    missed = [name for name, least in FASTER.items() if rows[name]["times_faster_than_whole_wav"] < least]
    missed += [f"{name} clips per second" for name, least in RATES.items() if rows[name]["clips_per_second"] < least]
    if arguments.json:
        print(json.dumps({"reading": rows, "milliseconds_per_batch": milliseconds, "missed": missed}, indent=2))
    else:
        for row, figures in rows.items():
            print(f"{row:12}", ", ".join(f"{what.replace('_', ' ')} {value:,.1f}" for what, value in figures.items()))
        for what, value in milliseconds.items():
            print(f"{what:24} {value:8.1f} ms per batch of {BATCH}")
        print("missed: " + ", ".join(missed) if missed else "every promise kept")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
