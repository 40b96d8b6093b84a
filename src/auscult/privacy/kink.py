"""Whether the gradient of a gradient means anything: derivatives by autograd against finite steps.

Problem: a clipped ReLU has a step in its derivative. A gradient of the parameters below it holds that step as a factor, and differentiating
it again drops what happens at the step: autograd returns a number that is right between two kinks and says nothing of any step of useful
length. Descent then follows it without a complaint. Choice: ask. Along a direction v of the matched parameters, d<v, g(x)>/dx is computed
twice in float64, by differentiating twice and from two ordinary gradients at theta + h v and theta - h v. Smooth networks agree as h falls
(error ~ h^2); across kinks the error grows instead (~ h^-1/2). To pass, they must agree to 1e-5 at some h.

That alone is not enough: at the smallest steps a small network crosses no kink at all and agrees to nine digits, after an error above 1 at
steps ten times longer. So the error must also fall as that of a smooth function does, a hundredfold from one step to the next and not
a millionfold. What passes has no clipped activation between parameter and loss: the output layer, the recurrent layers of DeepSpeech 2. The
LSTM of DeepSpeech 1 does not, because a clipped layer lies above it.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from auscult.privacy.victim import Victim

TOLERANCE = 1e-5
STEPS = (1e-2, 1e-3, 1e-4)
"""Lengths of steps as shares of the norm of the parameters that move."""
STEEPEST = 1000.0
"""Most that the error of a smooth function falls from one step to the next; the second order says 100."""


@dataclass(frozen=True)
class KinkTest:
    """Outcome.

    Attributes:
        errors: relative error of the two derivatives by length of step, the worst of all directions.
        passed: whether some error is at most `TOLERANCE`, and errors fall no faster than `STEEPEST` says.
    """

    errors: Mapping[float, float]
    passed: bool

    def describe(self) -> str:
        """Return the outcome as a sentence."""
        found = ", ".join(f"{error:.1e} at {step:g}" for step, error in self.errors.items())
        if self.passed:
            return f"kink test passed: relative errors of {found}"
        return (
            f"kink test failed: derivatives of the matched layers' gradient by autograd and by finite steps differ by {found}; "
            "the layers lie below clipped activations, and descent on them follows a derivative that means nothing; match layers above "
            "(fc), or a network with smooth activations"
        )


def kink_test(
    victim: Victim,
    layers: Sequence[str],
    frames: Tensor,
    lengths: Tensor,
    tokens: Tensor,
    token_lengths: Tensor,
    generator: torch.Generator,
    directions: int = 2,
) -> KinkTest:
    """Compare second derivatives with finite steps in float64.

    Args:
        victim: copied.
        layers: that are to be matched, as for `Victim.chosen`.
        frames: (batch, time, width) where; not zeros, which are no place that descent visits.
        lengths: (batch,) int64.
        tokens: (batch, symbols) int64.
        token_lengths: (batch,) int64.
        generator: of the directions.
        directions: how many random directions of the parameters to try.
    """
    wide = copy.deepcopy(victim)
    wide.model.to(torch.float64)
    batch = (lengths, tokens, token_lengths)
    names = list(wide.chosen(layers))
    errors = dict.fromkeys(STEPS, 0.0)
    for _ in range(directions):
        direction = {}
        for name in names:  # each tensor moves by a like share of itself
            value = wide.parameters[name].detach()
            drawn = torch.randn(value.shape, generator=generator, dtype=torch.float64)
            direction[name] = drawn * value.norm().clamp_min(1e-3 * value.numel() ** 0.5) / drawn.norm()
        exact = _twice(wide, frames.double(), batch, direction)
        for step in STEPS:
            near = _finite(wide, frames.double(), batch, direction, step)
            errors[step] = max(errors[step], float((near - exact).norm() / exact.norm().clamp_min(1e-300)))
    falls = [errors[longer] / max(errors[shorter], 1e-300) for longer, shorter in pairwise(STEPS)]
    return KinkTest(errors, min(errors.values()) <= TOLERANCE and max(falls) <= STEEPEST)


def _twice(victim: Victim, frames: Tensor, batch: tuple[Tensor, Tensor, Tensor], direction: Mapping[str, Tensor]) -> Tensor:
    unknown = frames.detach().requires_grad_()
    slopes = torch.autograd.grad(victim.loss(unknown, *batch), [victim.parameters[name] for name in direction], create_graph=True)
    product = torch.stack([(slope * value).sum() for slope, value in zip(slopes, direction.values(), strict=True)]).sum()
    return torch.autograd.grad(product, unknown)[0]


def _finite(victim: Victim, frames: Tensor, batch: tuple[Tensor, Tensor, Tensor], direction: Mapping[str, Tensor], step: float) -> Tensor:
    sides = []
    for sign in (1.0, -1.0):
        moved = {name: victim.parameters[name].detach() + sign * step * value for name, value in direction.items()}
        unknown = frames.detach().requires_grad_()
        sides.append(torch.autograd.grad(victim.loss(unknown, *batch, moved), unknown)[0])
    return (sides[0] - sides[1]) / (2 * step)
