"""CTC as its definition says it, for tests and for reading: a loop over frames left to autograd, and the sum over every single path.

Problem: a fast kernel can only be trusted beside something that is obviously right. Choice: the recursion in the log domain with plain
operations, differentiable any number of times; and enumeration of all alignments, which shares nothing with any recursion. A
finite stand-in for log 0 keeps autograd from the NaN of infinity minus infinity; paths that use it weigh exactly 0.
"""

from __future__ import annotations

from itertools import product

import torch
from torch import Tensor

from auscult.ops.ctc_problem import CtcProblem

IMPOSSIBLE = -1e30


def reference_losses(x: Tensor, problem: CtcProblem) -> Tensor:
    """Return the loss of each utterance, (batch,), infinite where no path exists.

    Args:
        x: (frames, batch, classes) scores; computed in their dtype.
        problem: targets and lengths.
    """
    losses = [_loss(x[:frames, i], row[:symbols], problem.blank) for i, (row, frames, symbols) in enumerate(_each(problem))]
    return torch.stack(losses)


def _each(problem: CtcProblem) -> list[tuple[list[int], int, int]]:
    return list(zip(problem.rows.tolist(), problem.frames.tolist(), problem.symbols.tolist(), strict=True))


def _loss(x: Tensor, target: list[int], blank: int) -> Tensor:
    """(frames, classes) -> ()."""
    states = torch.tensor([blank, *(one for symbol in target for one in (symbol, blank))], device=x.device)
    jumps = torch.zeros(len(states), dtype=torch.bool, device=x.device)
    jumps[2:] = (states[2:] != blank) & (states[2:] != states[:-2])
    nothing = x.new_full((2,), IMPOSSIBLE)
    sums = x.new_full((len(states),), IMPOSSIBLE)
    sums = torch.cat([sums.new_zeros(1), sums[1:]])  # before the first frame: only the first state may follow, or the second
    for scores in x[:, states]:
        before = torch.cat([nothing, sums])
        skipped = torch.where(jumps, before[:-2], IMPOSSIBLE)
        sums = scores + torch.logsumexp(torch.stack([before[2:], before[1:-1], skipped]), 0)
    ends = sums[-2:] if len(x) else sums[-1:]
    total = torch.logsumexp(ends, 0)
    return torch.where(total < IMPOSSIBLE / 2, torch.inf, -total)


def enumerated_loss(x: Tensor, target: list[int], blank: int) -> Tensor:
    """Return the loss of one utterance from every path that reads as the target; keep classes ** frames under a million.

    Args:
        x: (frames, classes) scores.
        target: symbols.
        blank: index of the blank.

    >>> round(enumerated_loss(torch.zeros(2, 3), [1], 0).item(), 6)  # three paths: 1 1, 1 blank, blank 1
    -1.098612
    """
    paths = [path for path in product(range(x.shape[1]), repeat=len(x)) if _reads(path, blank) == target]
    if not paths:
        return x.new_tensor(torch.inf)
    places = torch.tensor(paths, dtype=torch.int64).reshape(len(paths), len(x))
    along = x[torch.arange(len(x)), places].sum(1)  # (paths,)
    return -torch.logsumexp(along, 0)


def _reads(path: tuple[int, ...], blank: int) -> list[int]:
    """Merge repeats, then drop blanks."""
    return [symbol for i, symbol in enumerate(path) if symbol != blank and (i == 0 or path[i - 1] != symbol)]
