"""What every task must hold, for tests of your own: `check_task(task)` raises one AssertionError that lists all faults."""

from __future__ import annotations

import json
import math
from typing import Any

import torch
from torch import nn

from auscult.specification import Specification
from auscult.tasks.base import Task


def check_task(task: Task, split: str = "train", items: int = 4, tolerance: float = 1e-4) -> None:
    """Check a task on its own data.

    One batch of the split is collated; its loss must be finite, the mean over its items, and unchanged by judging; judging must
    give one plain record per item, whatever the batch; metrics must be finite numbers and hold the primary metric.

    Args:
        task: built from a recipe.
        split: whose cuts to use.
        items: utterances in the batch, at least 2.
        tolerance: largest relative difference of losses that should be equal.

    Raises:
        AssertionError: with one line per fault.
    """
    cuts = list(task.cuts(split))[:items]
    torch.manual_seed(0)
    model = task.build_model().eval()
    batch = task.collate(cuts)
    reasons = [*_batch_reasons(batch, cuts), *_loss_reasons(task, model, batch, tolerance), *_judge_reasons(task, model, batch)]
    if Specification.from_dict(json.loads(json.dumps(task.specification.to_dict()))) != task.specification:
        reasons.append("specification: does not survive to_dict, JSON and from_dict")
    assert not reasons, f"{type(task).__name__}:\n" + "\n".join(f"- {reason}" for reason in reasons)


def _batch_reasons(batch: Any, cuts: list[Any]) -> list[str]:
    reasons = []
    if tuple(batch.ids) != tuple(cut.id for cut in cuts):
        reasons.append(f"collate: ids are {batch.ids[:3]}..., expected those of the cuts, in order")
    if tuple(batch.select([1, 0]).ids) != (batch.ids[1], batch.ids[0]):
        reasons.append("batch.select([1, 0]): does not return the second and the first item")
    return reasons


def _loss_reasons(task: Task, model: nn.Module, batch: Any, tolerance: float) -> list[str]:
    """The trainer weights batches by `items`: the loss of a batch must be the item-weighted mean of the losses of its parts."""
    with torch.no_grad():
        whole = task.loss(model, batch)
        parts = [task.loss(model, batch.select(part)) for part in ([0], list(range(1, len(batch.ids))))]
    value = float(whole.value)
    if whole.value.ndim or not math.isfinite(value):
        return [f"loss: {value} of shape {tuple(whole.value.shape)}, expected a finite scalar"]
    if whole.value.dtype != torch.float32:
        return [f"loss: {whole.value.dtype}, expected float32 whatever the autocast state"]
    mean = sum(float(part.value) * part.items for part in parts) / max(sum(part.items for part in parts), 1)
    if whole.items != sum(part.items for part in parts) or abs(mean - value) > tolerance * max(abs(value), 1e-6):
        return [f"loss: {value:.6g} over {whole.items} items, but the item-weighted mean of its parts is {mean:.6g}"]
    return []


def _judge_reasons(task: Task, model: nn.Module, batch: Any) -> list[str]:
    with torch.inference_mode():
        records = task.judge(model, batch)
        alone = task.judge(model, batch.select([0]))
    reasons = []
    if [record.get("id") for record in records] != list(batch.ids):
        reasons.append("judge: expected one record per item, each with its id, in order")
    try:
        json.dumps(records)
    except TypeError as error:
        reasons.append(f"judge: records must be plain JSON values ({error})")
    if {key: value for key, value in alone[0].items() if not isinstance(value, float)} != {
        key: value for key, value in records[0].items() if not isinstance(value, float)
    }:
        reasons.append(f"judge: item {batch.ids[0]} is judged otherwise alone than in its batch")
    metrics = task.summarise(records)
    if task.primary_metric not in metrics:
        reasons.append(f'summarise: no "{task.primary_metric}", which the task names as its primary metric')
    reasons += [f"summarise: {key} is {value}" for key, value in metrics.items() if not math.isfinite(value)]
    outside = sorted(set(task.intervals(records)) - set(metrics))
    if outside:
        reasons.append(f"intervals: {', '.join(outside)} are no metrics of summarise")
    return reasons
