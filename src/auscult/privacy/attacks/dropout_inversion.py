"""Gradient matching against dropout: masks are unknowns too.

Problem: dropout in the client's network ends plain gradient matching (Dang et al. 2021: 34% of speakers found become 0% at 0.2), and a
defence that is only measured against an attacker who ignores it looks better than it is. Choice: the adaptive attack of Scheliga et al.
2022 (arXiv:2208.06163), which descends on the features and on every mask at once, with a penalty that keeps the share of kept values at
what the protocol says (the probability of dropping is public; see `Leak.dropout`).

What does not follow: more unknowns fit the message better, whether features come nearer or not. A low objective here says less than one of
`gradient_matching`.
"""

from __future__ import annotations

from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor

from auscult.errors import UserError
from auscult.privacy.attack import Attack, Reconstruction, Watch
from auscult.privacy.descent import Descent, DescentSettings, Schedule, descend
from auscult.privacy.learned_masks import LearnedMasks, install
from auscult.privacy.matching import Matching, Precision
from auscult.privacy.message import Knowledge, Leak
from auscult.privacy.objectives import GradientDistance, Objective
from auscult.privacy.priors import Priors
from auscult.privacy.search import Start, by_utterance, resumed, save, starting_point, warnings
from auscult.privacy.victim import Victim
from auscult.registry import register

SAVED_EVERY = 20
"""Iterations between two saved states."""


@register("attack", "dropout_inversion")
class DropoutInversion(Attack):
    """Match a message whose clients dropped values, by guessing features and masks; needs transcripts and lengths.

    Args:
        layers: that are matched: prefixes of parameter names, or "all".
        objective: "cosine", "l2" (relative), "both", or "declared" (adapts to the message's defences, and is 0 at the truth).
        iterations: of Adam.
        rate: of the first iteration, for features and for the logits of masks.
        schedule: "constant", "cosine" to zero, or "plateau" (halve after 50 iterations without a new lowest objective).
        start: of the features: "zero", "uniform" in [-1, 1), or "gaussian" of deviation 1; masks start at the share of kept values.
        kept_share: weight of the squared difference between each mask's mean and the share of values that dropout keeps.
        total_variation: weight of neighbouring frames' and bins' mean absolute difference.
        dtype: of the attack's arithmetic: "float32" or "float64".
    """

    def __init__(
        self,
        layers: tuple[str, ...] = ("fc",),
        objective: Objective = "cosine",
        iterations: Annotated[int, Field(ge=1)] = 400,
        rate: Annotated[float, Field(gt=0)] = 0.05,
        schedule: Schedule = "cosine",
        start: Start = "gaussian",
        kept_share: Annotated[float, Field(ge=0)] = 0.1,
        total_variation: Annotated[float, Field(ge=0)] = 0.0,
        dtype: Precision = "float32",
    ) -> None:
        self.layers, self.start, self.kept_share, self.precision = tuple(layers), start, kept_share, dtype
        self.distance, self.priors = GradientDistance(objective), Priors(total_variation)
        self.descent = DescentSettings("adam", rate, schedule, 50, iterations, signed=False)

    def run(self, victim: Victim, leak: Leak, knowledge: Knowledge, watch: Watch) -> Reconstruction:
        """Return the features of the lowest objective; raises as the contract says."""
        victim.accept(leak)
        if leak.dropout <= 0:
            raise UserError("dropout_inversion: the message's clients dropped nothing; use gradient_matching")
        target = self.needed(leak, victim.chosen(self.layers))
        matching = Matching(victim, leak, target, knowledge, self.distance, self.precision)
        notes = warnings(matching, self.layers, watch.generator, differentiates=True, guesses_masks=True)
        masks = install(matching, leak.dropout)
        settings = {
            "layers": self.layers, "start": self.start, "kept_share": self.kept_share, "dtype": self.precision, "victim": leak.victim,
            "distance": self.distance, "priors": self.priors, "descent": self.descent,
        }  # fmt: skip
        state = resumed(watch, settings) or self._beginning(matching, masks, watch, notes)
        matching.passes = state["passes"]

        def done(now: Descent, objective: float) -> None:
            watch.report(now.iteration, self.descent.iterations, {"objective": objective, "lowest": now.lowest, "rate": now.rate})
            if now.iteration % SAVED_EVERY == 0:
                save(watch, {**state, "descent": vars(now), "passes": matching.passes}, settings)

        begun = Descent(**state["descent"])
        descend(begun, self.descent, lambda unknowns: self._evaluate(matching, masks, unknowns), None, done)
        features = by_utterance(begun.best[: -masks.count].view(matching.shape), matching)
        return Reconstruction(features, objective=begun.lowest, gradients=matching.passes, notes=tuple(state["notes"]))

    def _beginning(self, matching: Matching, masks: LearnedMasks, watch: Watch, notes: tuple[str, ...]) -> dict[str, Any]:
        frames = starting_point(self.start, matching, watch.generator)
        unknowns = torch.cat([frames.reshape(-1), torch.full((masks.count,), masks.start, dtype=matching.dtype)])
        return {"descent": vars(Descent(unknowns, self.descent.rate)), "passes": 0, "notes": notes}

    def _evaluate(self, matching: Matching, masks: LearnedMasks, unknowns: Tensor) -> tuple[float, float, Tensor]:
        """Return objective, distance and gradient for (values of frames + values of masks,)."""
        free = unknowns.detach().requires_grad_()
        frames, logits = free[: -masks.count].view(matching.shape), free[-masks.count :]
        guessed = masks.split(logits.sigmoid())
        masks.use(guessed)
        distance = matching.compared(matching.message(frames, graph=True))
        matching.passes += matching.leak.clients * matching.leak.steps
        off = torch.stack([mask.mean() - (1 - masks.probability) for mask in guessed]).double()
        objective = distance + self.kept_share * off.square().mean() + self.priors(frames, matching.lengths)
        return float(objective.detach()), float(distance.detach()), torch.autograd.grad(objective, free)[0]
