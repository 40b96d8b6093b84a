"""CTC as a Python loop over frames with everything left to autograd: the two ways people got second derivatives of CTC."""

from __future__ import annotations

import torch
from torch import Tensor

IMPOSSIBLE = -1e30


def states_of(targets: Tensor, blank: int = 0) -> tuple[Tensor, Tensor]:
    """(batch, symbols) -> classes of the states (batch, 2 symbols + 1), and where a state can be reached from two before."""
    batch, symbols = targets.shape
    states = targets.new_full((batch, 2 * symbols + 1), blank)
    states[:, 1::2] = targets
    skips = torch.zeros_like(states, dtype=torch.bool)
    skips[:, 3::2] = targets[:, 1:] != targets[:, :-1]
    return states, skips


def log_domain_loop(log_probs: Tensor, targets: Tensor, input_lengths: Tensor, target_lengths: Tensor) -> Tensor:
    """Logarithms all the way, whole batch at once, lengths respected, a finite stand-in for log 0; mean of loss / target length."""
    states, skips = states_of(targets)
    scores = log_probs.gather(2, states.expand(len(log_probs), -1, -1))  # (frames, batch, states)
    sums = torch.full_like(scores[0], IMPOSSIBLE)
    sums = torch.cat([torch.zeros_like(sums[:, :1]), sums[:, 1:]], 1)
    nothing = torch.full_like(sums[:, :2], IMPOSSIBLE)
    for t, frame in enumerate(scores):
        before = torch.cat([nothing, sums], 1)
        skipped = torch.where(skips, before[:, :-2], IMPOSSIBLE)
        following = frame + torch.logsumexp(torch.stack([before[:, 2:], before[:, 1:-1], skipped]), 0)
        sums = torch.where((t < input_lengths)[:, None], following, sums)
    ends = torch.stack([2 * target_lengths, 2 * target_lengths - 1], 1)
    return (-torch.logsumexp(sums.gather(1, ends), 1) / target_lengths).mean()


def probability_loop(log_probs: Tensor, targets: Tensor, input_lengths: Tensor, target_lengths: Tensor) -> Tensor:
    """Float64 probabilities divided by their sum at every frame, all frames whatever the lengths say; mean of loss / target length."""
    states, skips = states_of(targets)
    chances = log_probs.double().exp()
    first = torch.zeros(states.shape, dtype=torch.float64)
    first[:, :2] = 1.0
    sums = first * chances[0].gather(1, states)
    total = sums.sum(1, keepdim=True)
    sums, log_likelihood = sums / total, total.log()
    for frame in chances[1:]:
        before = torch.nn.functional.pad(sums, (2, 0))
        sums = (before[:, 2:] + before[:, 1:-1] + before[:, :-2] * skips) * frame.gather(1, states)
        total = sums.sum(1, keepdim=True)
        sums, log_likelihood = sums / total, log_likelihood + total.log()
    ends = torch.stack([2 * target_lengths, 2 * target_lengths - 1], 1)
    whole = log_likelihood[:, 0] + sums.gather(1, ends).sum(1).log()
    return (-whole / target_lengths).mean()
