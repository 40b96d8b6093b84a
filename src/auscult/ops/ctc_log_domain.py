"""CTC in the log domain, to second order: slower, and right for every input, so it decides where faster kernels are not trusted.

Problem: kernels that keep probabilities lose states that are 1e-300 times less likely than their neighbours at one frame, and those alone
may reach the end. Choice: logarithms of sums all the way, with the largest score of every frame taken out, and second derivatives as
conditional means over paths (bounded by the sums of the cotangent along a path, whatever the scores are). Rejected: autograd through
`logsumexp`, which gives NaN second derivatives at impossible states.

Equations, with A_t(s) the log of the sum of all paths that are in s at frame t, p over the predecessors of s, v a cotangent by class:

    A_t(s) = x_t(s) + log sum_p exp A_{t-1}(p)                  M_t(s) = v_t(s) + sum_p (share of p) M_{t-1}(p)
    (Hessian of the loss) v = -gamma (M_forward + M_mirrored - v - z),    z the mean of the sums of v over all paths
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from auscult.ops.ctc_mirror import Mirrored, arrays, mirror
from auscult.ops.ctc_problem import CtcProblem


class LogDomain:
    """The alignments of a batch; see `auscult.ops.ctc_certified.Alignment`."""

    def __init__(self, x: Tensor, problem: CtcProblem, weights: NDArray[np.float64]) -> None:
        self.layout, self.shape, self.dtype = mirror(x, problem), x.shape, x.dtype
        self.factors = -torch.from_numpy(weights).to(x.device)
        self.states, self.entering = _sums(self.layout)
        ends = self.layout.at_the_end(self.states)[: len(self.layout.frames)]
        total = torch.where(self.layout.ends[:, 0] == self.layout.ends[:, 1], ends[:, 0], torch.logaddexp(ends[:, 0], ends[:, 1]))
        batch = len(self.layout.frames)
        total = torch.where(self.layout.frames > 0, total, 0.0)
        self.losses = -(total + self.layout.peak[:, :batch].sum(0))
        log_gamma = self.states[:, :batch] + self.layout.turned(self.entering[:, batch:])
        gamma = torch.softmax(log_gamma.masked_fill(~self.layout.live[:, :batch], -torch.inf), 2)
        self.gamma = gamma.masked_fill((torch.arange(len(x), device=x.device)[:, None] >= self.layout.frames)[..., None], 0.0)
        self.gradient = self.layout.by_class(self.gamma * self.factors[:, None], x.shape[2]).to(x.dtype)
        self.infinite = self.losses == torch.inf

    def curvature(self, cotangent: Tensor) -> tuple[Tensor, Tensor]:
        """Return the derivatives by a weight's factor and by the scores; see `Alignment`."""
        batch = len(self.layout.frames)
        by_state = self.layout.both_ways(cotangent)
        means = _means(self.states, self.entering, self.layout, by_state)
        mean = (self.gamma * by_state[:, :batch]).sum((0, 2))
        whole = means[:, :batch] + self.layout.turned(means[:, batch:]) - by_state[:, :batch] - mean[:, None]
        product = torch.where(self.gamma > 0, self.gamma * whole, self.gamma)  # NaN stays, and meets no state that cannot be
        return mean * self.factors, self.layout.by_class(product * self.factors[:, None], self.shape[2]).to(self.dtype)


def _sums(layout: Mirrored) -> tuple[Tensor, Tensor]:
    """Return A of every state, and the log of the sum over its predecessors, both (frames, 2 batch, states)."""
    scores = layout.scores.masked_fill(~layout.live, -torch.inf)
    frames, rows, count = scores.shape
    states = scores.new_full((frames + 1, rows, count + 2), -torch.inf)  # one frame before the first, two states before the first
    states[0, :, 2] = 0.0
    entering = torch.empty_like(scores)
    xp, (given, jump, found, sums) = arrays(scores, torch.log(layout.skip), states, entering)
    with np.errstate(invalid="ignore"):  # scores that are not numbers stay that, without a word on the way
        for t in range(frames):
            before, total = found[t], sums[t]
            xp.add(before[:, :-2], jump, out=total)
            xp.logaddexp(total, before[:, 1:-1], out=total)
            xp.logaddexp(total, before[:, 2:], out=total)
            xp.add(total, given[t], out=found[t + 1][:, 2:])
    return states[1:, :, 2:], entering


def _means(states: Tensor, entering: Tensor, layout: Mirrored, by_state: Tensor) -> Tensor:
    """Return M: the mean, over the paths that are in a state, of the sum of their values up to there, (frames, 2 batch, states)."""
    before = torch.nn.functional.pad(states[:-1], (2, 0, 0, 0, 1, 0), value=-torch.inf)
    jump = torch.log(layout.skip)
    possible = entering > -torch.inf
    predecessors = (before[..., 2:], before[..., 1:-1], before[..., :-2] + jump)
    shares = [torch.where(possible, torch.exp(one - entering), 0.0) for one in predecessors]
    frames, rows, count = states.shape
    means = states.new_zeros(frames + 1, rows, count + 2)
    part = states.new_empty(rows, count)
    xp, (values, stay, step, leap, found, scratch) = arrays(by_state, *shares, means, part)
    for t in range(frames):
        before_t, now = found[t], found[t + 1][:, 2:]
        xp.multiply(stay[t], before_t[:, 2:], out=now)
        xp.multiply(step[t], before_t[:, 1:-1], out=scratch)
        xp.add(now, scratch, out=now)
        xp.multiply(leap[t], before_t[:, :-2], out=scratch)
        xp.add(now, scratch, out=now)
        xp.add(now, values[t], out=now)
    return means[1:, :, 2:]
