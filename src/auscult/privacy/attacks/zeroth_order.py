"""Gradient matching by comparing guesses alone: no derivative of the message, so no second order and no fear of kinks.

Problem: second derivatives of recognisers are costly, missing (cuDNN's recurrent layers) or meaningless (clipped ReLUs). Dang et al. 2021
(arXiv:2104.07815) search instead: unit directions that touch one frame each, three lengths, and the sum of the best that help. Choice:
that search, with the one guarantee that it allows and descent does not: **the objective never rises**, because the sum of the best is taken
only if it is lower than the best alone, and nothing is taken unless it is lower than where the search stands, each time computed again in
the same way. Their gradient dropout changes the objective from step to step and is left out; their share of coordinates is `coordinates`.

What does not work: at the price of some two hundred gradients a step, it moves a few frames by a tenth of a deviation. The published
attack takes 50,000 steps. Where exact or Pearlmutter derivatives pass the kink test, `gradient_matching` is faster by orders.
"""

from __future__ import annotations

from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor

from auscult.privacy.attack import Attack, Reconstruction, Watch
from auscult.privacy.candidates import Candidates
from auscult.privacy.matching import Matching, Precision
from auscult.privacy.message import Knowledge, Leak
from auscult.privacy.objectives import GradientDistance, Objective
from auscult.privacy.priors import Priors
from auscult.privacy.search import Start, by_utterance, resumed, save, starting_point, warnings
from auscult.privacy.victim import Victim
from auscult.registry import register

SAVED_EVERY = 20
"""Steps between two saved states."""


@register("attack", "hessian_free")
class HessianFree(Attack):
    """Lower the distance between the message and a guess by random changes of single frames; needs transcripts and lengths.

    Args:
        layers: that are matched: prefixes of parameter names, or "all". The output layer alone is computed for many guesses at once.
        objective: "cosine", "l2" (relative), "both", or "declared" (adapts to the message's defences, and is 0 at the truth).
        iterations: steps.
        directions: tried in each step, each on one frame of one utterance.
        lengths: lengths of each direction: the rate times 2, 1, 1/2, ...
        keep: most directions whose sum is taken.
        basis: directions are single bins with a sign, instead of normal draws over the frame's bins.
        rate: length of a change, halved when `patience` steps in a row changed nothing.
        patience: steps.
        start: "zero", "uniform" in [-1, 1), or "gaussian" of deviation 1.
        coordinates: share of the message's largest magnitudes that is matched (0.5 in the paper).
        total_variation: weight of neighbouring frames' and bins' mean absolute difference.
        smoothness: weight of the mean squared second difference over bins.
        l2: weight of the mean square.
        dtype: of the attack's arithmetic: "float32" or "float64".
    """

    def __init__(
        self,
        layers: tuple[str, ...] = ("fc",),
        objective: Objective = "cosine",
        iterations: Annotated[int, Field(ge=1)] = 2000,
        directions: Annotated[int, Field(ge=1)] = 64,
        lengths: Annotated[int, Field(ge=1)] = 3,
        keep: Annotated[int, Field(ge=1)] = 10,
        basis: bool = False,
        rate: Annotated[float, Field(gt=0)] = 0.1,
        patience: Annotated[int, Field(ge=1)] = 20,
        start: Start = "zero",
        coordinates: Annotated[float, Field(gt=0, le=1)] = 1.0,
        total_variation: Annotated[float, Field(ge=0)] = 0.0,
        smoothness: Annotated[float, Field(ge=0)] = 0.0,
        l2: Annotated[float, Field(ge=0)] = 0.0,
        dtype: Precision = "float32",
    ) -> None:
        self.layers, self.start, self.precision, self.basis = tuple(layers), start, dtype, basis
        self.distance, self.priors = GradientDistance(objective), Priors(total_variation, smoothness, l2)
        self.iterations, self.directions, self.keep, self.patience = iterations, directions, keep, patience
        self.rate, self.coordinates = rate, coordinates
        self.factors = tuple(2.0 ** (1 - number) for number in range(lengths))

    def run(self, victim: Victim, leak: Leak, knowledge: Knowledge, watch: Watch) -> Reconstruction:
        """Return the features of the lowest objective; raises as the contract says."""
        victim.accept(leak)
        target = self.needed(leak, victim.chosen(self.layers))
        matching = Matching(victim, leak, target, knowledge, self.distance, self.precision, self.coordinates)
        settings = self._settings(leak)
        candidates = Candidates(matching, watch.generator)
        state = resumed(watch, settings)  # which puts the generator back, whatever the candidates drew
        if state is None:
            frames = starting_point(self.start, matching, watch.generator)
            notes = warnings(matching, self.layers, watch.generator, differentiates=False)
            state = {"iteration": 0, "frames": frames, "rate": self.rate, "stale": 0, "passes": matching.passes, "notes": notes}
            state["objective"] = self._objective(matching, frames)
        matching.passes = state["passes"]
        while state["iteration"] < self.iterations:
            self._step(matching, candidates, state, watch.generator)
            state |= {"iteration": state["iteration"] + 1, "passes": matching.passes}
            watch.report(state["iteration"], self.iterations, {"objective": state["objective"], "rate": state["rate"]})
            if state["iteration"] % SAVED_EVERY == 0 or state["iteration"] == self.iterations:
                save(watch, state, settings)
        return Reconstruction(
            by_utterance(state["frames"], matching), objective=state["objective"], gradients=matching.passes, notes=tuple(state["notes"])
        )

    def _step(self, matching: Matching, candidates: Candidates, state: dict[str, Any], generator: torch.Generator) -> None:
        """Try directions around the state's frames, and move them if something is lower."""
        directions = self._directions(matching, generator)
        changes = torch.cat([state["rate"] * factor * directions for factor in self.factors])  # (lengths * directions, ...)
        guesses = state["frames"] + changes
        values = torch.tensor(candidates.distances(guesses), dtype=torch.float64)
        if self.priors.used:
            values += torch.stack([self.priors(guess, matching.lengths) for guess in guesses])
        lowest, which = values.view(len(self.factors), -1).min(0)  # of each direction, its best length
        order = [int(index) for index in lowest.argsort() if lowest[index] < state["objective"]][: self.keep]
        chosen = changes[[int(which[index]) * len(directions) + index for index in order]]
        state["stale"] += 1
        for change in (chosen.sum(0), chosen[0]) if order else ():
            moved = state["frames"] + change
            objective = self._objective(matching, moved)
            if objective < state["objective"]:
                state |= {"frames": moved, "objective": objective, "stale": 0}
        if state["stale"] >= self.patience:
            state |= {"rate": state["rate"] / 2, "stale": 0}

    def _directions(self, matching: Matching, generator: torch.Generator) -> Tensor:
        """Return (directions, utterances, frames, width) of norm 1, each on one true frame."""
        found = torch.zeros((self.directions, *matching.shape), dtype=matching.dtype)
        true = (torch.arange(matching.shape[1]) < matching.lengths[:, None]).nonzero()  # (frames of all utterances, 2)
        for one, place in zip(found, torch.randint(len(true), (self.directions,), generator=generator), strict=True):
            frame = one[int(true[place, 0]), int(true[place, 1])]
            drawn = torch.randn(len(frame), generator=generator).to(matching.dtype)
            if self.basis:
                drawn = torch.where(torch.arange(len(frame)) == drawn.abs().argmax(), drawn.sign(), 0.0)
            frame.copy_(drawn / drawn.norm())
        return found

    def _objective(self, matching: Matching, frames: Tensor) -> float:
        return matching.value(frames) + float(self.priors(frames, matching.lengths))

    def _settings(self, leak: Leak) -> dict[str, Any]:
        """Return what a saved search must agree on to be continued."""
        return {
            "layers": self.layers, "objective": self.distance.kind, "iterations": self.iterations, "directions": self.directions,
            "factors": self.factors, "keep": self.keep, "basis": self.basis, "rate": self.rate, "patience": self.patience,
            "start": self.start, "coordinates": self.coordinates, "priors": self.priors, "dtype": self.precision, "victim": leak.victim,
        }  # fmt: skip
