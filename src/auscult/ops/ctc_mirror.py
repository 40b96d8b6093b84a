"""One recursion for both directions of CTC: every utterance stands in the batch twice, once with time and target turned round.

Problem: a backward pass over an alignment is the forward pass written a second time with every index reversed, where mistakes hide and
frameworks without a compiler pay for a second loop. Choice: the backward quantity of a state is what enters the mirrored state of the
turned-round utterance, so a loop over frames serves both halves at once. Both halves normalise on their own, which is what lets their
two likelihoods be compared.

Notation: states are blank, first symbol, blank, ..., blank: S = 2 L + 1 of them; the first `batch` rows run forward, the others back.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from auscult.ops.ctc_problem import CtcProblem


class Mirrored(NamedTuple):
    """Utterances and their mirror images, on the device of the scores.

    Attributes:
        scores: (frames, 2 batch, states) float64, less `peak`; anything where not `live`.
        peak: (frames, 2 batch) float64, largest live score of each frame; 0 beyond an utterance.
        live: (frames, 2 batch, states), whether a path from the first frame to the last passes there.
        skip: (2 batch, states) float64, 1 where the state two before is a predecessor.
        classes: (batch, states) int64, the class of each state.
        time: (frames, batch), the frame whose mirror image is at each frame.
        state: (batch, states), the state whose mirror image is at each state.
        frames: (batch,), valid frames.
        ends: (batch, 2), the last two states; the same one twice for an empty target.
    """

    scores: Tensor
    peak: Tensor
    live: Tensor
    skip: Tensor
    classes: Tensor
    time: Tensor
    state: Tensor
    frames: Tensor
    ends: Tensor

    def both_ways(self, values: Tensor) -> Tensor:
        """(frames, batch, classes) -> (frames, 2 batch, states) float64: the value of each state's class, 0 where not live."""
        index = self.classes.expand(len(values), -1, -1)
        forward = values.gather(2, index).double()
        return torch.cat([forward, self.turned(forward)], 1).masked_fill_(~self.live, 0.0)

    def turned(self, values: Tensor) -> Tensor:
        """Turn (frames, batch, states) round in time and target, either way; what is beyond an utterance is arbitrary."""
        index = self.time[:, :, None].expand_as(values)
        return values.gather(0, index).gather(2, self.state.expand_as(values))

    def by_class(self, values: Tensor, classes: int) -> Tensor:
        """(frames, batch, states) -> (frames, batch, classes): the sum over the states of each class."""
        return values.new_zeros(*values.shape[:2], classes).scatter_add_(2, self.classes.expand_as(values), values)

    def at_the_end(self, values: Tensor) -> Tensor:
        """(frames, 2 batch, states) -> (2 batch, 2): the last two states at each last frame."""
        last = (self.frames - 1).clamp(min=0).repeat(2)
        return values[last, torch.arange(len(last), device=last.device)].gather(1, self.ends.repeat(2, 1))


def mirror(x: Tensor, problem: CtcProblem) -> Mirrored:
    """Lay out (frames, batch, classes) scores by state, both ways."""
    frames, symbols, rows = (torch.from_numpy(one).to(x.device) for one in (problem.frames, problem.symbols, problem.rows))
    batch, longest = rows.shape
    count = 2 * longest + 1
    classes = rows.new_full((batch, count), problem.blank)
    classes[:, 1::2] = rows
    place = torch.arange(count, device=x.device)
    real = place < (2 * symbols + 1)[:, None]
    state = torch.where(real, 2 * symbols[:, None] - place, place)
    time = torch.arange(len(x), device=x.device)[:, None]
    both_classes = torch.cat([classes, classes.gather(1, state)])
    skip = torch.zeros_like(both_classes, dtype=torch.float64)
    skip[:, 3::2] = (both_classes[:, 3::2] != both_classes[:, 1:-2:2]).double()
    since = _first_frames(skip)
    until = frames[:, None] - 1 - torch.cat([since[batch:], since[:batch]]).gather(1, state.repeat(2, 1)).view(2, batch, count)
    live = (time[..., None] >= since) & (time[..., None] <= until.flatten(0, 1)) & real.repeat(2, 1)
    layout = Mirrored(
        x, x, live, skip, classes, torch.where(time < frames, frames - 1 - time, time), state, frames,
        torch.stack([2 * symbols, (2 * symbols - 1).clamp(min=0)], 1),
    )  # fmt: skip
    scores = layout.both_ways(x)
    peak = scores.masked_fill(~live, -torch.inf).amax(2)
    peak = torch.where(peak == -torch.inf, 0.0, peak)
    return layout._replace(scores=scores - peak[..., None], peak=peak)


def arrays(*tensors: Tensor) -> tuple[Any, list[Any]]:
    """Return the module with in-place operations for the tensors, and the tensors as that module wants them (sharing memory)."""
    if tensors[0].device.type == "cpu":
        return np, [one.numpy() for one in tensors]
    return torch, list(tensors)


def _first_frames(skip: Tensor) -> Tensor:
    """Return the first frame in which each state can be reached, (2 batch, states): a symbol after an equal one waits for a blank."""
    waits = torch.ones_like(skip, dtype=torch.int64)
    waits[:, 3::2] = torch.where(skip[:, 3::2] > 0, 1, 2)
    symbols = waits[:, 1::2].cumsum(1) - 1
    first = torch.zeros_like(waits)
    first[:, 1::2] = symbols
    first[:, 2::2] = symbols + 1
    return first
