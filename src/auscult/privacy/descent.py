"""Descent on features that can be stopped anywhere and goes on to the same bits.

Problem: an attack of hours that is killed must not begin again, and must not end elsewhere either. Choice: one record holds everything that
the next iteration depends on (frames, the optimiser's moments or curvature pairs, rate, iterations without progress, the lowest point so
far), and the loop is a function of it. What is returned is the lowest point that was evaluated, not the last.

Optimisers are shown the objective divided by the first gradient's root mean square. Distances of gradients can start at 1e-4 with slopes of
1e-8, where Adam's epsilon is no longer small and torch's L-BFGS, which drops curvature pairs below 1e-10, never learns any curvature.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor

Optimizer = Literal["adam", "lbfgs"]
Schedule = Literal["constant", "cosine", "plateau"]
Evaluate = Callable[[Tensor], tuple[float, float, Tensor]]
"""Frames -> objective, distance of gradients alone, gradient of the objective by the frames."""


@dataclass(frozen=True)
class DescentSettings:
    """How one descent goes.

    Args:
        optimizer: "adam", or "lbfgs" with a line search (strong Wolfe) and 20 pairs.
        rate: of the first iteration.
        schedule: "constant"; "cosine": to 0 at the last iteration; "plateau": halved after `patience` iterations without a lower one.
        patience: in iterations.
        iterations: of the descent.
        signed: steps along the signs of the gradient.
    """

    optimizer: Optimizer
    rate: float
    schedule: Schedule
    patience: int
    iterations: int
    signed: bool


@dataclass
class Descent:
    """One descent from one point.

    Attributes:
        frames: (utterances, frames, width), where the next iteration begins.
        iteration: how many are done.
        rate: before the schedule "cosine".
        stale: iterations since the lowest point.
        lowest: objective of the lowest point.
        distance: of gradients at the lowest point.
        best: frames of the lowest point.
        optimizer: state of the optimiser, None before the first iteration.
        scale: what the objective is multiplied by for the optimiser, None before the first evaluation.
    """

    frames: Tensor
    rate: float
    iteration: int = 0
    stale: int = 0
    lowest: float = math.inf
    distance: float = math.inf
    best: Tensor = field(default_factory=lambda: torch.empty(0))
    optimizer: dict[str, Any] | None = None
    scale: float | None = None


def descend(
    state: Descent,
    settings: DescentSettings,
    evaluate: Evaluate,
    project: Callable[[Tensor], Tensor] | None,
    done: Callable[[Descent, float], None],
) -> None:
    """Go on until `settings.iterations` are done; `done` is called after each, with the objective there."""
    frames = state.frames.clone().requires_grad_()
    optimizer = _optimizer(frames, settings, state.optimizer)

    def closure() -> float:
        objective, distance, gradient = evaluate(frames.detach())
        if objective < state.lowest:
            state.lowest, state.distance, state.best, state.stale = objective, distance, frames.detach().clone(), -1
        if state.scale is None:
            size = float(gradient.double().square().mean().sqrt())
            state.scale = 1 / size if size > 0 else 1.0
        frames.grad = (gradient.sign() if settings.signed else gradient * state.scale).contiguous()
        return objective * state.scale

    while state.iteration < settings.iterations:
        for group in optimizer.param_groups:
            group["lr"] = _rate(state, settings)
        objective = float(optimizer.step(closure)) / (state.scale or 1.0)  # of the step's first evaluation
        if project is not None:
            with torch.no_grad():
                frames.copy_(project(frames))
        state.iteration, state.stale = state.iteration + 1, state.stale + 1
        if settings.schedule == "plateau" and state.stale >= settings.patience:
            state.rate, state.stale = state.rate / 2, 0
        state.frames, state.optimizer = frames.detach(), optimizer.state_dict()
        done(state, objective)
    closure()  # the last point has not been looked at


def _optimizer(frames: Tensor, settings: DescentSettings, state: dict[str, Any] | None) -> Any:
    made: torch.optim.Optimizer
    if settings.optimizer == "adam":
        made = torch.optim.Adam([frames], lr=settings.rate)
    else:
        made = torch.optim.LBFGS(
            [frames], lr=settings.rate, max_iter=1, history_size=20, line_search_fn="strong_wolfe", tolerance_grad=0.0, tolerance_change=0.0
        )
    if state is not None:
        made.load_state_dict(state)
    return made


def _rate(state: Descent, settings: DescentSettings) -> float:
    if settings.schedule == "cosine":
        return state.rate * 0.5 * (1 + math.cos(math.pi * state.iteration / settings.iterations))
    return state.rate
