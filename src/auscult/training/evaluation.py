"""Judging a model on a split: records first, metrics and intervals from the records.

An utterance that cannot be judged is a failed record, never a missing one, and the interval resamples speakers before
utterances, because utterances of one speaker are not independent.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn

from auscult.data.loading import evaluation_batches
from auscult.recipe import Recipe
from auscult.tasks.base import Item, Task
from auscult.training.distributed import World
from auscult.training.precision import Arithmetic


def judge_split(
    task: Task,
    model: nn.Module,
    recipe: Recipe,
    split: str,
    arithmetic: Arithmetic,
    world: World | None = None,
    advance: Callable[[int], None] | None = None,
) -> list[Item]:
    """Return the records of a split, sorted by id; every process judges its share.

    Args:
        advance: called with the number of items judged after every batch.
    """
    world = world if world is not None else World()
    was_training = model.training
    model.eval()
    items: list[Item] = []
    batching = recipe.data.batch
    share = list(task.cuts(split))[world.rank :: world.size]
    batches = evaluation_batches(share, task.collate, seconds=batching.seconds, items=batching.judged_items)
    try:
        with torch.inference_mode():
            task.prepare_judging(model, split, arithmetic.device)
            for batch in batches:
                with arithmetic.autocast():
                    judged = task.judge(model, batch.to(arithmetic.device))
                items += judged
                if advance is not None:
                    advance(len(judged))
    finally:
        model.train(was_training)
    return task.conclude(split, sorted(world.gather(items), key=lambda item: str(item["id"])))


def summary_of(task: Task, items: Sequence[Item], **facts: Any) -> dict[str, Any]:
    """Return metrics, 95 % intervals, alarms and protocol of judged records, ready to be stored.

    Args:
        facts: what else the summary should state (checkpoint, update, split).
    """
    return {
        "metrics": task.summarise(items),
        "intervals": {name: list(interval) for name, interval in task.intervals(items).items()},
        "alarms": task.alarms(items),
        "protocol": task.protocol(),
        **facts,
    }
