"""The victim of a recipe: fresh weights of its model section, or the best checkpoint of a training run."""

from __future__ import annotations

from pathlib import Path

import torch

from auscult.errors import UserError
from auscult.models.recognition import RecognitionModel
from auscult.privacy.victim import Victim
from auscult.recipe.attack import AttackRecipe
from auscult.runs.directory import RunDirectory
from auscult.streams import Streams
from auscult.tasks.recognition import Recognition
from auscult.training.checkpoint import load_checkpoint, load_weights


def open_task(recipe: AttackRecipe) -> Recognition:
    """Build the recipe's task.

    Raises:
        UserError: it is not recognition, or the recipe asks for arithmetic that attacks do not have.
    """
    precision = recipe.recipe.precision
    if precision.device == "cuda" or precision.compute != "float32":
        raise UserError(f"precision: attacks run on the CPU in float32, not on {precision.device} in {precision.compute}; leave both out")
    task = recipe.recipe.task.build(recipe=recipe.recipe)
    if not isinstance(task, Recognition):
        raise UserError(f'task.name: attacks reconstruct from recognisers; expected recognition, got "{recipe.recipe.task.name}"')
    return task


def open_victim(recipe: AttackRecipe, task: Recognition) -> Victim:
    """Return the attacked network with the clients' loss.

    Raises:
        UserError: the run has no checkpoint, or one of another model or alphabet; or a layer that would be sent does not exist.
    """
    case = recipe.case
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(Streams(recipe.recipe.seed).integer("init"))
        model = task.build_model()
    if not isinstance(model, RecognitionModel):
        raise UserError(
            f'model.name: "{recipe.recipe.model.name}" is no recogniser of features; attack deepspeech1, deepspeech2 or the like'
        )
    if case.victim.run is not None:
        path = RunDirectory.open(Path(case.victim.run)).checkpoint("best")
        load_weights(model, load_checkpoint(path), task.specification, path)
    victim = Victim(model, task.specification, task.criterion.reduction, case.victim.norm_mode, case.victim.dropout)
    victim.chosen(case.leak.layers)
    return victim
