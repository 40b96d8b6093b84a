"""The verb `audit`: look at the data of a recipe, or of a manifest, before anything is trained on it."""

from __future__ import annotations

from pathlib import Path

from auscult.corpora.manifests import Manifests
from auscult.data.audit import audit as audit_splits
from auscult.data.audit_audio import Progress
from auscult.data.audit_mixture_audio import RESIDUAL_LIMIT
from auscult.data.audit_report import AuditReport
from auscult.errors import UserError
from auscult.recipe import Recipe
from auscult.tasks.base import Task


def audit(
    target: Recipe | str | Path,
    *overrides: str,
    audio: bool = True,
    residual_limit: float | None = None,
    progress: Progress | None = None,
) -> AuditReport:
    """Audit a recipe's data with its alphabet, model lengths and sample rate; or a prepared folder or CutSet as it is.

    Args:
        target: a recipe, the path of one (.yaml), a prepared folder, or a CutSet file.
        overrides: `key=value` changes of a recipe.
        audio: read the samples too; without, duplicates, clipping, silence and unreadable files are not looked for.
        residual_limit: of a prepared folder or CutSet, how far mixtures may be from the sum of their layers, as a share of full scale;
            None is what rounding to 16 bits explains.
        progress: called while audio is read.

    Returns:
        Facts per split and findings; `failed` says whether any finding is an error.

    Raises:
        UserError: the target is neither, or its data cannot be read at all.
    """
    if isinstance(target, Recipe) or Path(target).suffix in (".yaml", ".yml"):
        if residual_limit is not None:
            raise UserError(f"{target}: a residual limit applies to a prepared folder or a CutSet, and this is a recipe; audit its corpus")
        recipe = target if isinstance(target, Recipe) else Recipe.load(target, overrides=list(overrides))
        task: Task = recipe.task.build(recipe=recipe)
        return task.audit(audio=audio, progress=progress)
    if overrides:
        raise UserError(f"{target}: key=value settings apply to a recipe, and this is a manifest; leave them out")
    limit = RESIDUAL_LIMIT if residual_limit is None else residual_limit
    return audit_splits(Manifests(str(target)).splits(), audio=audio, residual_limit=limit, progress=progress)
