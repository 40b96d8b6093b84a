"""Sounds of a judged split that a person can listen to: the worst, the best, and what lies between.

Problem: a separator that scores 8 dB may lisp, leak or swap voices at the pauses, and no number says which; so people write a script of
their own, listen to whatever comes first in the list, and normalise every file by itself, after which a silent output sounds as loud as
the speech it should hold. Choice: every evaluation keeps a handful of items that the records choose (quartiles of the task's metric, so
neither the best nor the worst can be left out), all sounds of an item with *one* gain, and the levels beside them. A task takes part by
having something `audible`; for others nothing is read, run or written. Rejected: all items (gigabytes for a test set), mp3 (hides what a
listener should hear), a gain for every file.

The folder of a split is replaced whole, and its index is taken away before and written after: an index never names sounds of another model.
"""

from __future__ import annotations

import io
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch
from numpy.typing import NDArray
from torch import nn

from auscult.runs.directory import RunDirectory
from auscult.runs.files import replace_folder, write_atomic, write_json
from auscult.runs.records import plain_name
from auscult.tasks.base import Item, Task
from auscult.training.precision import Arithmetic

PLACES = ("worst", "first quartile", "median", "third quartile", "best")
"""What is kept of a split, by the task's primary metric."""
PEAK = 10 ** (-1 / 20)
"""Largest sample of an item's files: 1 dB below full scale."""
LONGEST = 60.0
"""Seconds of each sound that are kept, from its beginning."""
SCALING = (
    "one gain for all sounds of an item, which puts the largest sample among them 1 dB below full scale: levels can be compared within an "
    "item, not between items; rms_db and peak are those before the gain"
)

Sounds = dict[str, NDArray[np.float32]]


def keep_sounds(
    task: Task, model: nn.Module, arithmetic: Arithmetic, run: RunDirectory, split: str, items: Sequence[Item], **facts: Any
) -> Path | None:
    """Save what a person should listen to of a judged split.

    Args:
        task: whose `audible` names the sounds; without one of its own nothing is done.
        model: on the device of `arithmetic`; its mode is put back afterwards.
        arithmetic: of the judgement.
        run: where `listening/<split>/` and `listening/<split>.json` go.
        split: of the items.
        items: records whose ids are those of cuts.
        facts: what the index should state beside them (checkpoint, update), so that a reader can tell to which result it belongs.

    Returns:
        The index, or None where nothing is audible.

    Raises:
        UserError: audio cannot be read, or a file cannot be written.
    """
    if type(task).audible is Task.audible:
        return None
    cuts = {cut.id: cut for cut in task.cuts(split)}
    chosen = choose([item for item in items if item["id"] in cuts], task.primary_metric, task.lower_is_better)
    was_training = model.training
    model.eval()
    try:
        heard = [(place, item, _listen(task, model, arithmetic, cuts[item["id"]])) for place, item in chosen]
    finally:
        model.train(was_training)
    heard = [(place, item, sounds) for place, item, sounds in heard if sounds]
    index = run.listening / f"{plain_name(split, 'split')}.json"
    index.unlink(missing_ok=True)
    if not heard:
        return None
    records = [_record(number, *one, task) for number, one in enumerate(heard, start=1)]
    rate = task.specification.sample_rate
    replace_folder(run.listening / split, lambda folder: write_sounds(folder, records, [sounds for _, _, sounds in heard], rate))
    told = {"split": split, "metric": task.primary_metric, "lower_is_better": task.lower_is_better, "sample_rate": rate, **facts}
    write_json(index, {**told, "scaling": SCALING, "items": records})
    return index


def choose(items: Sequence[Item], metric: str, lower_is_better: bool) -> list[tuple[str, Item]]:
    """Return the items at the quartiles of a metric, worst first, each once; equal ones by id, those without the metric never.

    >>> [(place, item["id"]) for place, item in choose([{"id": str(n), "gain": float(n)} for n in range(3)], "gain", False)]
    [('worst', '0'), ('median', '1'), ('best', '2')]
    """
    sign = -1.0 if lower_is_better else 1.0
    known = [item for item in items if isinstance(item.get(metric), int | float) and math.isfinite(item[metric])]
    ordered = sorted(known, key=lambda item: (sign * float(item[metric]), str(item["id"])))
    named: dict[int, str] = {}
    for place in (0, 4, 2, 1, 3):  # of few items: worst, best, median, and only then the quartiles
        position = place * (len(ordered) - 1) // (len(PLACES) - 1)
        if ordered:
            named.setdefault(position, PLACES[place])
    return [(named[position], ordered[position]) for position in sorted(named)]


def _listen(task: Task, model: nn.Module, arithmetic: Arithmetic, cut: Any) -> Sounds:
    batch = task.collate([cut]).to(arithmetic.device)
    with torch.inference_mode(), arithmetic.autocast():
        found = task.audible(model, batch)
    if len({_plain(name) for name in found}) < len(found):
        raise ValueError(f"{type(task).__name__}.audible: names that differ by more than signs are expected, got {', '.join(found)}")
    most = round(LONGEST * task.specification.sample_rate)
    return {name: np.array(samples, dtype=np.float32).reshape(-1)[:most] for name, samples in found.items() if np.size(samples)}


def write_sounds(folder: Path, records: Sequence[dict[str, Any]], heard: Sequence[Sounds], sample_rate: int) -> None:
    """Write the file of every sound with its item's gain; what is not finite becomes silence, which the index says."""
    for record, sounds in zip(records, heard, strict=True):
        gain = 32768 * 10 ** (record["gain_db"] / 20)
        for sound, samples in zip(record["sounds"], sounds.values(), strict=True):
            finite = np.where(np.isfinite(samples), samples, 0.0).astype(np.float64)
            whole = np.clip(np.rint(finite * gain), -32768, 32767).astype(np.int16)
            stream = io.BytesIO()
            soundfile.write(stream, whole, sample_rate, format="WAV", subtype="PCM_16")
            write_atomic(folder / sound["file"], stream.getvalue())


def _record(number: int, place: str, item: Item, sounds: Sounds, task: Task) -> dict[str, Any]:
    """Return the index's entry of one item: what it is, its levels, and the file of each sound."""
    longest = max(len(samples) for samples in sounds.values())
    told: dict[str, Any] = {key: item[key] for key in ("variant", "aim", "speakers", "si_sdri", "si_sdr", "input_si_sdr") if key in item}
    return {
        "id": item["id"],
        "place": place,
        "value": float(item[task.primary_metric]),
        **told,
        "seconds": longest / task.specification.sample_rate,
        **levels(number, sounds),
    }


def levels(number: int, sounds: Sounds) -> dict[str, Any]:
    """Return the gain that an item's sounds share, and the file and the level before that gain of each; `write_sounds` takes it.

    Args:
        number: of the item, first part of its files' names.
        sounds: by name.
    """
    finite = {name: samples[np.isfinite(samples)].astype(np.float64) for name, samples in sounds.items()}
    peak = max(float(np.abs(samples).max()) if samples.size else 0.0 for samples in finite.values())
    return {
        "gain_db": 20 * math.log10(PEAK / peak) if peak > 0 else 0.0,
        "not_finite": [name for name, samples in sounds.items() if len(finite[name]) < len(samples)],
        "sounds": [
            {
                "name": name,
                "file": f"{number}-{_plain(name)}.wav",
                "rms_db": 10 * math.log10(max(float(np.mean(samples**2)) if samples.size else 0.0, 1e-20)),
                "peak": float(np.abs(samples).max()) if samples.size else 0.0,
            }
            for name, samples in finite.items()
        ],
    }


def _plain(name: str) -> str:
    """Return a name as it stands in the name of a file.

    >>> _plain("Estimate 1")
    'estimate-1'
    """
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") or "sound"
