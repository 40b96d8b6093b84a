"""CTC with probabilities that are divided by their sum at every frame, for any device; the loops over frames are handed in.

Problem: probabilities need no logarithm per state and keep full precision, but a state far less likely than its neighbours falls out
of the range of floats and may be the one that matters later. Choice: such a state is raised to `FLOOR` instead of lost, so every sum
is an upper bound, and the posterior probability of raised states says by how much (`raised`). Nothing is divided by a small state, in
either order.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from auscult.ops.ctc_mirror import mirror
from auscult.ops.ctc_problem import CtcProblem

FLOOR = 1e-285
"""Least probability of a possible state, relative to the sum over states of the frame before."""
RAISED = 1e-15
"""Largest posterior probability of raised states in a trusted result."""
AGREEMENT = 1e-11
"""Largest difference of the two log-likelihoods in a trusted result, relative to their size or to 1 nat."""


class Sums(NamedTuple):
    """What a sweep leaves behind; all values are up to factors per frame and utterance, the same for both tensors.

    Attributes:
        states: (frames, 2 batch, states), probability of all paths that are in a state at a frame, at least `floor`.
        entering: (frames, 2 batch, states), the same before the score of the frame.
        totals: (frames, 2 batch), sum over `states`, by which the next frame is divided.
    """

    states: Tensor
    entering: Tensor
    totals: Tensor


class Loops(Protocol):
    """The two recursions that are worth a kernel of their own."""

    def sweep(self, weights: Tensor, floor: Tensor, skip: Tensor) -> Sums:
        """Run over frames: weights (frames, 2 batch, states) of each state, smallest result allowed, and (2 batch, states) skips."""

    def tangent(self, sums: Sums, weights: Tensor, skip: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Return the derivative of states and entering in the direction of values, added to the scores of all states."""


class Rescaled:
    """The alignments of a batch; see `auscult.ops.ctc_certified.Alignment`."""

    def __init__(self, x: Tensor, problem: CtcProblem, weights: NDArray[np.float64], loops: Loops) -> None:
        self.layout = layout = mirror(x, problem)
        self.shape, self.dtype, self.loops = x.shape, x.dtype, loops
        self.factors = -torch.from_numpy(weights).to(x.device)
        batch = x.shape[1]
        self.chances = layout.scores.masked_fill(~layout.live, -torch.inf).exp_()
        self.sums = sums = loops.sweep(self.chances, layout.live.double() * FLOOR, layout.skip)
        time = torch.arange(len(x), device=x.device)[:, None]
        inside = time < layout.frames
        self.opposite = layout.turned(sums.entering[:, batch:])
        joined = sums.states[:, :batch] * self.opposite
        self.level = torch.where(inside, joined.sum(2), 1.0)
        self.gamma = torch.where(inside[..., None], joined / self.level[..., None], 0.0)
        self.gradient = layout.by_class(self.gamma * self.factors[:, None], x.shape[2]).to(x.dtype)
        forward, turned = self._log_likelihoods(time)
        self.losses = -forward
        self.infinite: Tensor | None = None
        trusted = (self._raised(inside) <= RAISED) & ((forward - turned).abs() <= AGREEMENT * forward.abs().clamp(min=1.0))
        self.trusted: NDArray[np.bool_] | None = None if bool(trusted.all()) else trusted.cpu().numpy()

    def curvature(self, cotangent: Tensor) -> tuple[Tensor, Tensor]:
        """Return the derivatives by a weight's factor and by the scores; see `Alignment`."""
        batch = len(self.layout.frames)
        by_state = self.layout.both_ways(cotangent)
        mean = (self.gamma * by_state[:, :batch]).sum((0, 2))
        changes, entering = self.loops.tangent(self.sums, self.chances, self.layout.skip, by_state)
        whole = changes[:, :batch] * self.opposite + self.sums.states[:, :batch] * self.layout.turned(entering[:, batch:])
        product = torch.where(self.gamma > 0, whole / self.level[..., None] - self.gamma * mean[:, None], 0.0)
        return mean * self.factors, self.layout.by_class(product * self.factors[:, None], self.shape[2]).to(self.dtype)

    def _log_likelihoods(self, time: Tensor) -> tuple[Tensor, Tensor]:
        """Return the log-likelihoods of the forward and of the turned-round problem, (batch,) each."""
        layout = self.layout
        frames = layout.frames.repeat(2)
        ends = layout.at_the_end(self.sums.states)
        only_one = (layout.ends[:, 0] == layout.ends[:, 1]).repeat(2)
        last = torch.where(only_one, ends[:, 0], ends.sum(1)).log()
        factors = torch.where(time < frames - 1, self.sums.totals.log(), 0.0).sum(0)
        whole = torch.where(frames > 0, last + factors + layout.peak.sum(0), 0.0)
        return whole[: len(layout.frames)], whole[len(layout.frames) :]

    def _raised(self, inside: Tensor) -> Tensor:
        """Return the posterior probability of states that were raised in either direction, infinite where it cannot be told, (batch,)."""
        batch = inside.shape[1]
        backward = self.layout.turned(self.sums.states[:, batch:])
        shares = torch.where(self.sums.states[:, :batch] <= FLOOR, self.gamma, 0.0)
        others = backward * self.sums.entering[:, :batch] / self.level[..., None]
        shares = shares + torch.where((backward <= FLOOR) & inside[..., None], others, 0.0)
        told = torch.where(inside, self.level >= FLOOR, True).all(0) & self.gamma.isfinite().all(0).all(1)
        told &= inside.any(0) | (self.layout.ends[:, 0] == 0)  # a target needs frames
        return torch.where(told, shares.sum((0, 2)), torch.inf)
