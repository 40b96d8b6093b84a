"""Gradient matching: descend on the features until they would have sent the same message.

Problem: reconstruction attacks differ in objective, matched layers, priors, optimiser and derivative, and each paper changes several at
once. Choice: one attack with each of them as a key (Zhu et al. 2019, "Deep leakage from gradients": l2 and L-BFGS; Geiping et al. 2020,
"Inverting gradients": cosine, signed gradients, Adam and total variation). The default matches the output layer, above every kink of
both DeepSpeeches. Of several restarts the one with the lowest objective is returned, because that is what an attacker can see.

What does not work, and is the reason why the objective stands beside every score: on DeepSpeech 1 with random weights the output layer's
gradient hardly depends on single frames, so the cosine distance falls to 3e-5 and below while the features stay worse than zeros. A low
objective is no reconstruction. `first_layer_span` recovers DeepSpeech 1's features where the first layer is sent.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor

from auscult.errors import UserError
from auscult.privacy.attack import Attack, Reconstruction, Watch
from auscult.privacy.descent import Descent, DescentSettings, Optimizer, Schedule, descend
from auscult.privacy.matching import Matching, Method, Precision
from auscult.privacy.message import Knowledge, Leak
from auscult.privacy.objectives import GradientDistance, Objective
from auscult.privacy.priors import Priors, Projection, front_end_normalisation, project
from auscult.privacy.search import Start, by_utterance, resumed, save, starting_point, warnings
from auscult.privacy.victim import Victim
from auscult.registry import register

SAVED_EVERY = 20
"""Iterations between two saved states."""


@register("attack", "gradient_matching")
class GradientMatching(Attack):
    """Minimise the distance between the message and what the guessed features would have sent; needs transcripts and lengths.

    Deltas are matched by simulating the local steps, sums over clients and batches by guessing all utterances at once.

    Args:
        layers: that are matched: prefixes of parameter names, or "all". Layers below clipped activations give a note (kink test).
        objective: "cosine", "l2" (relative), "both", or "declared" (adapts to the message's defences, and is 0 at the truth).
        per_layer: the mean of the tensors' distances instead of the distance of all together.
        method: "exact" differentiates twice; "pearlmutter" takes two ordinary gradients at moved parameters.
        iterations: of each restart.
        optimizer: "adam", or "lbfgs" with a line search.
        rate: of the first iteration; 1 is usual for lbfgs.
        schedule: "constant", "cosine" to zero, or "plateau" (halve after `patience` iterations without a new lowest objective).
        patience: iterations.
        start: "zero", "uniform" in [-1, 1), or "gaussian" of deviation 1.
        restarts: from other random points; the lowest objective is kept.
        signed: descend along the signs of the gradient (adam only).
        total_variation: weight of neighbouring frames' and bins' mean absolute difference.
        smoothness: weight of the mean squared second difference over bins.
        l2: weight of the mean square.
        projection: "front_end": after each step, the mean and deviation that the front-end gives every bin or utterance (adam only).
        coordinates: share of the message's largest magnitudes that is matched.
        dtype: of the attack's arithmetic: "float32" or "float64".
    """

    def __init__(
        self,
        layers: tuple[str, ...] = ("fc",),
        objective: Objective = "cosine",
        per_layer: bool = False,
        method: Method = "exact",
        iterations: Annotated[int, Field(ge=1)] = 400,
        optimizer: Optimizer = "adam",
        rate: Annotated[float, Field(gt=0)] = 0.05,
        schedule: Schedule = "cosine",
        patience: Annotated[int, Field(ge=1)] = 50,
        start: Start = "gaussian",
        restarts: Annotated[int, Field(ge=1)] = 3,
        signed: bool = False,
        total_variation: Annotated[float, Field(ge=0)] = 0.0,
        smoothness: Annotated[float, Field(ge=0)] = 0.0,
        l2: Annotated[float, Field(ge=0)] = 0.0,
        projection: Projection = "none",
        coordinates: Annotated[float, Field(gt=0, le=1)] = 1.0,
        dtype: Precision = "float32",
    ) -> None:
        if start == "zero" and restarts > 1:
            raise UserError("gradient_matching: restarts from zero are one and the same; set restarts to 1, or start to gaussian")
        if optimizer == "lbfgs" and (signed or projection != "none"):
            raise UserError("gradient_matching: a line search needs the objective's own gradient; use adam with signed or projection")
        self.layers, self.method, self.start, self.restarts, self.projection = tuple(layers), method, start, restarts, projection
        self.distance, self.priors = GradientDistance(objective, per_layer), Priors(total_variation, smoothness, l2)
        self.descent = DescentSettings(optimizer, rate, schedule, patience, iterations, signed)
        self.coordinates, self.precision = coordinates, dtype

    def run(self, victim: Victim, leak: Leak, knowledge: Knowledge, watch: Watch) -> Reconstruction:
        """Return the features of the lowest objective; raises as the contract says."""
        victim.accept(leak)
        target = self.needed(leak, victim.chosen(self.layers))
        matching = Matching(victim, leak, target, knowledge, self.distance, self.precision, self.coordinates)
        normalisation = front_end_normalisation(victim.model.front_end) if self.projection == "front_end" else None
        settings = self._settings(leak)
        state = resumed(watch, settings) or self._beginning(matching, watch)
        matching.passes = state["passes"]

        def fit(frames: Tensor) -> Tensor:
            return frames if normalisation is None else project(frames, matching.lengths, normalisation)

        def done(now: Descent, objective: float) -> None:
            number, count = state["restart"] * self.descent.iterations + now.iteration, self.restarts * self.descent.iterations
            watch.report(number, count, {"objective": objective, "lowest": min(now.lowest, state["lowest"]), "rate": now.rate})
            if now.iteration % SAVED_EVERY == 0:
                save(watch, {**state, "descent": vars(now), "passes": matching.passes}, settings)

        while state["restart"] < self.restarts:
            begun = Descent(**state["descent"]) if state["descent"] else self._descent(matching, watch, fit)
            descend(begun, self.descent, lambda frames: self._evaluate(matching, frames), fit if normalisation else None, done)
            if begun.lowest < state["lowest"]:
                state |= {"lowest": begun.lowest, "distance": begun.distance, "best": begun.best}
            state |= {"restart": state["restart"] + 1, "descent": None, "passes": matching.passes}
            save(watch, state, settings)
        if not math.isfinite(state["lowest"]):
            raise UserError("gradient_matching: no point had a finite objective; lower the rate, or use dtype float64")
        return Reconstruction(
            by_utterance(state["best"], matching), objective=state["lowest"], gradients=matching.passes, notes=tuple(state["notes"])
        )

    def _settings(self, leak: Leak) -> dict[str, Any]:
        """Return what a saved search must agree on to be continued."""
        return {
            "layers": self.layers, "method": self.method, "start": self.start, "restarts": self.restarts, "projection": self.projection,
            "coordinates": self.coordinates, "dtype": self.precision, "victim": leak.victim,
            **asdict(self.distance), **asdict(self.priors), **asdict(self.descent),
        }  # fmt: skip

    def _beginning(self, matching: Matching, watch: Watch) -> dict[str, Any]:
        notes = warnings(matching, self.layers, watch.generator, differentiates=True)
        return {
            "restart": 0, "descent": None, "lowest": math.inf, "distance": math.inf, "best": torch.empty(0), "passes": 0, "notes": notes,
        }  # fmt: skip

    def _descent(self, matching: Matching, watch: Watch, fit: Callable[[Tensor], Tensor]) -> Descent:
        return Descent(fit(starting_point(self.start, matching, watch.generator)), self.descent.rate)

    def _evaluate(self, matching: Matching, frames: Tensor) -> tuple[float, float, Tensor]:
        distance, gradient = matching.gradient(frames, self.method)
        if not self.priors.used:
            return distance, distance, gradient
        unknown = frames.detach().requires_grad_()
        penalty = self.priors(unknown, matching.lengths)
        return distance + float(penalty.detach()), distance, gradient + torch.autograd.grad(penalty, unknown)[0]
