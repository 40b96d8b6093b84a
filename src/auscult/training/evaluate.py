"""The verb `evaluate`: judge a run's checkpoint on a split, with intervals, and store the records.

The recipe, the label map and the architecture are those of the run directory; nothing is taken from the command line but the
split, the checkpoint and the decoder, and whatever was used is stated in the summary.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from auscult.errors import UserError
from auscult.recipe import Recipe
from auscult.runs.directory import RunDirectory
from auscult.runs.files import read_json
from auscult.runs.identity import Identity
from auscult.tasks.base import Item, Task
from auscult.training.checkpoint import load_checkpoint, load_weights
from auscult.training.dp_accountant import sentence
from auscult.training.dp_training import read_record
from auscult.training.evaluation import judge_split, summary_of
from auscult.training.listening import keep_sounds
from auscult.training.precision import Arithmetic
from auscult.training.progress import ProgressBar


@dataclass(frozen=True)
class Evaluation:
    """Metrics of one checkpoint on one split.

    Attributes:
        run: the run directory.
        summary: metrics, 95 % intervals, protocol, split, checkpoint and update, as stored.
        items: one record per item.
        notes: what changed since the run was trained.
        listening: index of the sounds that were kept, where the task has something audible.
    """

    run: Path
    summary: dict[str, Any]
    items: list[Item]
    notes: list[str]
    listening: Path | None = None

    def worst(self, count: int = 5) -> list[Item]:
        """Return the records with most errors, worst first."""
        return sorted(self.items, key=lambda item: (-_errors(item), str(item["id"])))[:count]


def evaluate(run: str | Path, *overrides: str, split: str = "test", checkpoint: str = "best", progress: bool = False) -> Evaluation:
    """Judge a checkpoint of a run on a split.

    Args:
        run: run directory.
        overrides: `key=value` changes that leave the weights as they are, such as `task.decoder.name=prefix_beam`.
        split: "test", "validation" or "train".
        checkpoint: "best", "last" or another name in the run's checkpoints folder.
        progress: draw a progress bar on standard error.

    Returns:
        Records, metrics and intervals; also written to the run directory (only where no override was given).

    Raises:
        UserError: not a run, no such checkpoint or split, or the data now give another label map.

    Example:
        >>> evaluate("runs/recognition-conv_ctc-0123456789ab", split="test").summary["metrics"]["wer"]  # doctest: +SKIP
    """
    directory = RunDirectory.open(Path(run))
    recipe = recipe_of(directory, overrides)
    task: Task = recipe.task.build(recipe=recipe)
    if directory.labels is not None and list(directory.labels) != list(task.specification.labels):
        raise UserError(f"{directory.path}: the run's label map and today's data disagree; restore the data the run was trained on")
    path = directory.checkpoint(checkpoint)
    payload = load_checkpoint(path)
    arithmetic = Arithmetic(recipe.precision)
    torch.set_num_threads(recipe.data.threads)
    model = task.build_model()
    load_weights(model, payload, task.specification, path)
    model.to(arithmetic.device)
    task.use_run(directory.path, model)
    with ProgressBar(f"{directory.path.name} {split}", len(task.cuts(split)), enabled=progress) as bar:
        items = judge_split(task, model, recipe, split, arithmetic, advance=bar.advance)
    summary = summary_of(task, items, split=split, checkpoint=checkpoint, update=int(payload["update"]), overrides=list(overrides))
    if (record := read_record(directory)) is not None:
        summary["protocol"]["privacy"] = sentence(record)
    listening = None
    if not overrides:
        directory.write_items(split, items)
        directory.write_summary(split, summary)
        listening = keep_sounds(task, model, arithmetic, directory, split, items, checkpoint=checkpoint, update=summary["update"])
    notes = Identity.current(recipe.hash, task.data_hash).changes_since(directory.identity)
    return Evaluation(directory.path, summary, items, notes, listening)


def recipe_of(directory: RunDirectory, overrides: tuple[str, ...] = ()) -> Recipe:
    """Return the resolved recipe a run directory was made from, with changes.

    Raises:
        UserError: the run trained nothing: it is an attack, or a sweep of attacks.
    """
    verb = read_json(directory.path / "run.json").get("verb")
    if verb in ("attack", "sweep"):
        kind = "an attack" if verb == "attack" else "a sweep of attacks"
        raise UserError(
            f"{directory.path}: is {kind}, which has no model of its own and is scored already (summary/{verb}.json, `auscult report` "
            "draws it); name a run of `auscult train`"
        )
    return Recipe.load(directory.path / "recipe.yaml", overrides=list(overrides))


def _errors(item: Item) -> float:
    """How wrong a record is.

    Edits of a transcript, share of a window's frames, how far a trial's score leans to the wrong side, or how little a mixture has gained.
    """
    if "si_sdri" in item:
        return -float(item["si_sdri"]) if _is_number(item["si_sdri"]) else -math.inf
    if "target" in item:
        return -float(item["score"]) if item["target"] else float(item["score"])
    if "frame_errors" in item:
        return float(item["frame_errors"]) / max(int(item["frames"]), 1)
    return sum(int(item.get(kind, 0)) for kind in ("substitutions", "insertions", "deletions"))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not math.isnan(value)
