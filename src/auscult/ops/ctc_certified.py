"""Every result of a fast CTC kernel with a certificate, and the utterances without one computed again where nothing can underflow.

Problem: rescaled kernels go silently wrong for confident outputs (losses several percent off, second derivatives NaN). Choice: two tests
per utterance, both by-products of passes that are made anyway. First a proof: kernels raise vanishing states to a floor instead of dropping
them, so what they sum is the truth plus at most the posterior probability of raised states; below `RAISED` the result is right to rounding.
Second the forward likelihood must agree with that of the turned-round problem, normalised on its own. The second test alone, which finds
the errors that occur in practice, would miss an alignment that vanishes in both directions and matters in both. Whoever fails
goes to `auscult.ops.ctc_log_domain`, and `tally` counts it: no benchmark or test is faster than what was computed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from auscult.ops.ctc_log_domain import LogDomain
from auscult.ops.ctc_problem import CtcProblem


class Alignment(Protocol):
    """All alignments of each utterance of a batch with its target, once scores and weights of the losses are known.

    Attributes:
        losses: (batch,) float64, nats, not weighted.
        infinite: which utterances have no path, (batch,); None if all have one.
        gradient: -weight * gamma, (frames, batch, classes), in the dtype of the scores.
    """

    losses: Tensor
    infinite: Tensor | None
    gradient: Tensor

    def curvature(self, cotangent: Tensor) -> tuple[Tensor, Tensor]:
        """Return the two derivatives of <gradient, cotangent>.

        The first is by a factor on each utterance's weight: -weight * (mean over paths of the sum of the cotangent along the path),
        (batch,) float64. The second is by the scores: weight * (Hessian of the loss) cotangent, (frames, batch, classes).
        """


class FastAlignment(Alignment, Protocol):
    """An alignment that says how far it goes.

    Attributes:
        trusted: (batch,), None if it is true of all; an utterance without a path is never trusted.
    """

    trusted: NDArray[np.bool_] | None


Fast = Callable[[Tensor, CtcProblem, NDArray[np.float64], bool], FastAlignment]
"""Scores (frames, batch, classes), problem, weight of each loss, and whether derivatives will be asked for -> alignment."""


@dataclass
class Tally:
    """How many utterances were aligned, and for how many of them the fast kernel was not trusted."""

    utterances: int = 0
    refused: int = 0


tally = Tally()
"""Of this process so far; for tests and benchmarks, not exact when several threads align at once."""


def certified(x: Tensor, problem: CtcProblem, weights: NDArray[np.float64], differentiable: bool, fast: Fast) -> Alignment:
    """Return the alignment of a fast kernel, with the utterances it is not trusted with replaced.

    Args:
        x: (frames, batch, classes), float32 or float64, without graph.
        problem: targets and lengths; a target that cannot fit into its frames gets an infinite loss, and derivatives of no meaning.
        weights: (batch,), factors of the losses in the derivatives.
        differentiable: whether derivatives will be asked for.
        fast: the kernel.
    """
    first = fast(x, problem, weights, differentiable)
    tally.utterances += x.shape[1]
    return first if first.trusted is None else _Mixed(first, first.trusted, x, problem, weights)


class _Mixed:
    """A fast alignment with some of its utterances replaced by the log domain's."""

    infinite: Tensor | None

    def __init__(self, fast: Alignment, trusted: NDArray[np.bool_], x: Tensor, problem: CtcProblem, weights: NDArray[np.float64]) -> None:
        feasible = problem.feasible()
        refused = np.flatnonzero(~trusted & feasible)
        tally.refused += len(refused)
        self.fast, self.rows = fast, torch.from_numpy(refused).to(x.device)
        self.exact = LogDomain(x[:, self.rows], problem.select(refused), weights[refused])
        self.losses = fast.losses.masked_fill(torch.from_numpy(~feasible).to(x.device), torch.inf)
        self.losses = self.losses.index_copy_(0, self.rows, self.exact.losses)
        self.infinite = self.losses == torch.inf
        self.gradient = fast.gradient
        if len(fast.gradient):
            self.gradient = fast.gradient.index_copy_(1, self.rows, self.exact.gradient)

    def curvature(self, cotangent: Tensor) -> tuple[Tensor, Tensor]:
        """See `Alignment`."""
        means, products = self.fast.curvature(cotangent)
        mean, product = self.exact.curvature(cotangent[:, self.rows])
        return means.index_copy_(0, self.rows, mean), products.index_copy_(1, self.rows, product)
