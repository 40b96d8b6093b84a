"""A finished separation run with fresh weights: everything around a network can be tested and timed without training one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from auscult.recipe import Recipe
from auscult.runs.directory import RunDirectory
from auscult.runs.identity import Identity
from auscult.runs.state import State
from auscult.specification import Specification
from auscult.training.checkpoint import save_checkpoint

SMALL_CONV_TASNET: dict[str, Any] = {
    "name": "conv_tasnet", "filters": 32, "bottleneck": 16, "hidden": 32, "blocks": 2, "repeats": 1, "skip": 16
}  # fmt: skip


def fresh_separation_run(
    root: Path,
    name: str = "separation-fresh",
    model: dict[str, Any] | None = None,
    sample_rate: int = 8000,
    seconds: float | None = 4.0,
    sources: int = 2,
) -> Path:
    """Leave a run directory of a separator that was never trained, and return its path.

    Args:
        root: folder of runs.
        name: of the run.
        model: section of the recipe; None is a small Conv-TasNet.
        sample_rate: in hertz.
        seconds: of its training stretches; None is whole mixtures.
        sources: outputs.
    """
    recipe = Recipe.from_dict(
        {
            "task": {"name": "separation", "seconds": seconds},
            "data": {
                "corpus": {"name": "folder", "source": "not/needed"},
                "sample_rate": sample_rate,
                "train": ["train"],
                "batch": {"items": 4},
            },
            "model": model if model is not None else SMALL_CONV_TASNET,
            "budget": {"updates": 1},
        }
    )
    run = RunDirectory.create(root, name, recipe.to_yaml(), Identity.current(recipe.hash, "none"), None, "train")
    specification = Specification("separation", sample_rate, sources=sources)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = recipe.model.build(specification=specification, sample_rate=sample_rate)
    run.checkpoint("best").parent.mkdir()
    save_checkpoint(run.checkpoint("best"), network.state_dict(), specification, update=1)
    run.set_state(State.COMPLETE)
    return run.path
