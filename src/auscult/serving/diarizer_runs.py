"""From run directories to the parts of a diarizer: the segmentation, the voices, and the threshold between them.

Problem: the distance at which two voices are two people is a property of an encoder and the length of its crops, so a constant in
the code is right for one model and makes up or merges people with every other. Choice: the threshold is read off the verification
run's own validation trials (speakers it was not trained on). Average linkage compares the mean score of two clusters with the threshold,
so it lies half way between the mean scores of same and of different speakers; the threshold of equal error rates, which is one of single
trials, is pulled up by the few pairs of similar voices and splits people (measured). A checkpoint carries the specification and the recipe
the architecture, so no corpus has to be present. Rejected: tuning the threshold on recordings that are then scored.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from auscult.errors import UserError
from auscult.losses.powerset import Powerset
from auscult.models.speaker_encoder import SpeakerEncoder
from auscult.recipe import Recipe
from auscult.runs.directory import RunDirectory, find_runs
from auscult.runs.files import read_json
from auscult.runs.state import State
from auscult.serving.embedder import load_embedder
from auscult.serving.segmenter import NetworkSegmenter
from auscult.specification import Specification
from auscult.training.checkpoint import load_checkpoint, load_weights
from auscult.training.evaluate import recipe_of
from auscult.training.precision import choose_device


def load_segmenter(run: Path, checkpoint: str, device: str) -> NetworkSegmenter:
    """Load the segmentation of a diarization run.

    Raises:
        UserError: not a run, no or damaged checkpoint, or a run of another task.
    """
    directory, recipe, payload, specification = _open(run, checkpoint, "diarization")
    model: nn.Module = recipe.model.build(specification=specification, sample_rate=specification.sample_rate)
    load_weights(model, payload, specification, directory.checkpoint(checkpoint))
    powerset = Powerset.from_labels(specification.labels)
    return NetworkSegmenter(model.to(choose_device(device)), powerset, specification.sample_rate, float(recipe.task["window"]))


def load_encoder(run: Path, checkpoint: str, device: str) -> tuple[SpeakerEncoder, int]:
    """Load the encoder of a verification run, and the sample rate it takes.

    Raises:
        UserError: not a run, no or damaged checkpoint, or a run of another task.
    """
    embedder = load_embedder(run, checkpoint, device)
    return embedder.encoder, embedder.specification.sample_rate


def find_embedding_run(run: Path, sample_rate: int) -> Path | None:
    """Return the finished verification run of this sample rate beside a run, if there is exactly one."""
    found = []
    for other in find_runs(Path(run).resolve().parent):
        if read_json(other / "run.json").get("task") == "verification" and RunDirectory.open(other).state is State.COMPLETE:
            path = RunDirectory.open(other).checkpoint("best")
            if path.is_file() and recipe_of(RunDirectory.open(other)).data.sample_rate == sample_rate:
                found.append(other)
    return found[0] if len(found) == 1 else None


def merge_threshold(run: Path) -> float | None:
    """Return the cosine half way between the means of a run's target and non-target validation trials, or None without such trials.

    Scores that are no cosines (mean distances of crops) have no threshold that holds here.
    """
    directory = RunDirectory.open(Path(run))
    if not (directory.path / "items" / "validation.jsonl").is_file() or recipe_of(directory).task["crops"]:
        return None
    trials = [item for item in directory.read_items("validation") if "score" in item and "target" in item]
    scores, targets = np.array([float(item["score"]) for item in trials]), np.array([bool(item["target"]) for item in trials])
    return float((scores[targets].mean() + scores[~targets].mean()) / 2) if targets.any() and not targets.all() else None


def _open(run: Path, checkpoint: str, task: str) -> tuple[RunDirectory, Recipe, dict[str, Any], Specification]:
    directory = RunDirectory.open(Path(run))
    payload = load_checkpoint(directory.checkpoint(checkpoint))
    specification = Specification.from_dict(payload["specification"])
    if specification.task != task:
        raise UserError(f"{directory.path}: trained for {specification.task}; a {task} run is needed here")
    recipe = recipe_of(directory)
    torch.set_num_threads(recipe.data.threads)
    return directory, recipe, payload, specification
