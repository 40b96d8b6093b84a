"""What would make the epsilon of a run untrue and only shows once task, data and model are there.

Problem: accountants believe what they are told. Choice: before the first update everything that the proof needs is asked, and refused in
one sentence (`recipe/differential_privacy.py` refuses what the recipe alone shows). Last, the gradients themselves are asked: those of a
few utterances in one batch must be those of each alone, which finds whatever ties utterances together: a layer that normalises over
padding, say, or a parameter that is used behind the back of its layer.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from auscult.data.audit_rows import parts_of, source_of
from auscult.errors import UserError
from auscult.tasks.base import Batch, Task
from auscult.training.distributed import World
from auscult.training.dp_gradients import recording, unsupported

if TYPE_CHECKING:
    from lhotse.cut import Cut

TOLERANCE = 1e-3
"""Largest relative difference, in float32, between the gradient of an utterance in a batch and alone."""


def require_private_training(task: Task, model: nn.Module, cuts: Sequence[Cut], delta: float, world: World) -> None:
    """Refuse a task, model or data for which an epsilon would be untrue.

    Args:
        task: of the run.
        model: freshly built.
        cuts: of the training split.
        delta: that is going to be stated.
        world: the processes of the run.

    Raises:
        UserError: with what to change.
    """
    if world.size > 1:
        raise UserError(f"differential_privacy: trains in one process, this run has {world.size}; start it without torchrun")
    if (problem := task.obstacle_to_privacy()) is not None:
        raise UserError(f"differential_privacy: {problem}")
    if (problem := unsupported(model)) is not None:
        raise UserError(problem)
    if delta * len(cuts) >= 1:
        raise UserError(
            f"differential_privacy.delta: {delta:g} is not below one over the {len(cuts)} training utterances, so it would permit "
            f"publishing one of them whole; give {0.1 / len(cuts):.1g} or less"
        )
    _require_single_use(cuts)
    _require_own_gradients(task, model, cuts)


def _require_single_use(cuts: Sequence[Cut]) -> None:
    """Refuse training utterances that share a stretch of a recording: two contributions of one utterance."""
    sources = [(cut.id, *source_of(part)) for cut in cuts for part in parts_of(cut)]
    pieces = sorted((name, channel, start, start + duration, identity) for identity, name, start, duration, channel in sources)
    for before, after in pairwise(pieces):
        if before[:2] == after[:2] and after[2] < before[3] - 1e-3:
            raise UserError(
                f'differential_privacy: training utterances "{before[4]}" and "{after[4]}" share a piece of {before[0]}, and epsilon is '
                "per utterance; leave one of them out"
            )


def _require_own_gradients(task: Task, model: nn.Module, cuts: Sequence[Cut]) -> None:
    by_length = sorted(cuts, key=lambda cut: (cut.duration, cut.id))
    chosen = {cut.id: cut for cut in (by_length[len(by_length) * share // 4] for share in range(3))}
    batch = task.collate(list(chosen.values())).to(next(model.parameters()).device)
    difference = gradient_difference(task, model, batch)
    if not difference <= TOLERANCE:
        raise UserError(
            f"differential_privacy: the gradient of an utterance changes by {difference:.1%} with the batch it is in, so it cannot be "
            "clipped by itself; model or loss ties utterances together"
        )


def gradient_difference(task: Task, model: nn.Module, batch: Batch) -> float:
    """Return the largest relative difference between the gradient of an item as recorded in a batch, and by autograd alone.

    Whatever is random in the model is switched off meanwhile; gradients and modes are left as they were.
    """
    modes = {module: module.training for module in model.modules()}
    model.train()
    for module in model.modules():
        if isinstance(module, nn.modules.dropout._DropoutNd) or module is getattr(model, "feature_augmentation", None):
            module.eval()
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    with recording(model) as gradients:
        loss = task.loss(model, batch)
    (loss.value * loss.items).backward()  # type: ignore[no-untyped-call]
    worst = 0.0
    for item in range(len(batch.ids)):
        alone = torch.autograd.grad(task.loss(model, batch.select([item])).value, parameters, allow_unused=True)
        chosen = torch.zeros(len(batch.ids), device=parameters[0].device)
        chosen[item] = 1.0
        expected = torch.cat([_flat(one, parameter) for one, parameter in zip(alone, parameters, strict=True)])
        found = torch.cat([gradients.weighted_sum(parameter, chosen).detach().flatten() for parameter in parameters])
        norm = gradients.norms()[item]
        worst = max(worst, float((expected - found).norm() / expected.norm()), abs(float(norm / expected.norm()) - 1))
    for module, mode in modes.items():
        module.training = mode
    model.zero_grad(set_to_none=True)
    return worst


def _flat(gradient: Tensor | None, parameter: Tensor) -> Tensor:
    return torch.zeros_like(parameter).flatten() if gradient is None else gradient.flatten()
