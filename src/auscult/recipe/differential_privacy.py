"""The section of a recipe that asks for differential privacy, and what a recipe with it cannot have.

Problem: most of what makes an epsilon untrue is a setting that looks harmless: batches that are shuffled but accounted as drawn, gradients
clipped together, a run that stops when the data say so. Choice: everything that can be seen in a recipe is refused before anything is
read, each in one sentence with the key to change; what only model and data show is refused when training begins (`training/dp_rules.py`).
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from auscult.recipe.fields import Budget, Data, Part, Positive, Precision


class DifferentialPrivacy(Part):
    """Differentially private training (DP-SGD): gradients clipped per utterance, noise on their sum, batches drawn by lot."""

    noise_multiplier: Annotated[float, Field(gt=0)] | None = None
    """Deviation of the noise on the sum of a batch's gradients, in clipping norms; epsilon follows."""
    epsilon: Annotated[float, Field(gt=0)] | None = None
    """Epsilon of the whole budget; the noise multiplier follows."""
    clip: Annotated[float, Field(gt=0)]
    """Greatest norm of one utterance's gradient, over all parameters together; longer ones are scaled down to it."""
    delta: Annotated[float, Field(gt=0, lt=1)] = 1e-5
    """Delta of the epsilon; well below one over the number of training utterances."""
    accountant: Literal["prv", "rdp"] = "prv"
    """How updates add up: "prv" by convolution, tight; "rdp" by Renyi orders, the bound most papers print."""
    secret: bool = False
    """Take noise and batches from a key that the operating system gives the run, and not from the recipe's seed, which others may know."""
    at_once: Positive = 32
    """Most utterances that go through the model together; limits memory."""

    @model_validator(mode="after")
    def _one_measure(self) -> DifferentialPrivacy:
        if (self.noise_multiplier is None) == (self.epsilon is None):
            raise ValueError("give noise_multiplier, from which epsilon follows, or epsilon, from which the noise follows: one of the two")
        return self


def conflict(settings: DifferentialPrivacy | None, data: Data, budget: Budget, precision: Precision) -> str | None:
    """Return what in a recipe would make its epsilon untrue, in words; None if nothing does."""
    if settings is None:
        return None
    problems = (
        (
            data.batch.poisson is None,
            "data.batch: epsilon holds for batches drawn by lot; give poisson (expected utterances per batch) instead of what is there",
        ),
        (
            budget.accumulate != 1,
            "budget.accumulate: an update is one drawn batch; raise data.batch.poisson (differential_privacy.at_once limits memory)",
        ),
        (budget.clip is not None, "budget.clip: gradients are clipped per utterance by differential_privacy.clip; remove this key"),
        (
            budget.stop is not None,
            "budget.stop: epsilon is stated for a number of updates that does not depend on the data; remove stop and set updates",
        ),
        (
            precision.compute != "float32",
            f"precision.compute: {precision.compute} rounds gradients before they are clipped; use float32 with differential_privacy",
        ),
        *(
            (
                getattr(data, key) is not None,
                f"data.{key}: a recording would be in several training items and epsilon holds for one; write the items as a corpus first",
            )
            for key in ("concatenate", "conversations", "mixtures")
        ),
    )
    return next((text for wrong, text in problems if wrong), None)
