"""A first layer's gradient that noise, pruning or rounding has spoilt, explained by features once more: an attack on defences.

Problem: what is left of the span of all windows under noise or in the few values that were sent is a poor estimate, and a defence looks
strong that was only ever tried on linear algebra for exact numbers. Choice: least squares for the gradient as what it is, a product of
deltas (one for each frame and unit) and windows (which repeat each other's frames, so that a sequence has far fewer unknowns than a
matrix of its rank), over the values that were sent alone. Each factor has a closed form given the other; alternating between them is
slow, and Anderson's extrapolation of the last few rounds makes it fast.

What makes it strong is public: **a unit that is off at a frame has a delta of zero, and whether it is off follows from the features and
the weights that the server itself has sent**. Half of the deltas vanish, noise that would fit them has nowhere to go, and scale and sign
are fixed. While the features are wrong the units are too, so that a delta is not forbidden but made dear, by the probability of being off
at the error that the last round suggests; the variance of what is not explained, estimated in each round, weighs that against the message.

Features that a front-end normalises are kept so; this is knowledge of the protocol, not of the utterance. Rejected: intervals for rounded
values and half-lines for signs, filled in as truncated normal means; 1 to 3 dB better where it was tried, for three times the work. Also
rejected: a certificate from the curvature at the end, which said 30 dB where 13 were true because it holds the deltas for known.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

ITERATIONS = 30
"""Rounds at most; under noise ten are enough, with a tenth of the values all are needed."""
STILL = 1e-4
"""Share of the features' length that a last round changes."""
MEMORY = 8
"""Rounds that the extrapolation looks back on."""
SOFTEST, HARDEST = 0.7, 0.01
"""Limits of the error of the units' inputs, as shares of their deviation, by which a unit may or may not be off."""
CLIPPED = 20.0
"""Where activations end; a unit beyond has no gradient either."""
CHUNK = 2**24
"""Values of the normal matrices that are held at once."""


class Observed(NamedTuple):
    """What was sent of a first layer.

    Attributes:
        values: (units, features of a window) gradient of the weights, with that of the bias as a last column if it was sent.
        told: the same shape, 1 where the value counts and 0 where it was not sent; None is 1 everywhere.
        deviation: of noise that is known to be on the values; 0 where only an estimate from what is left can tell.
    """

    values: Tensor
    told: Tensor | None = None
    deviation: float = 0.0


class Refined(NamedTuple):
    """Features, and how well they explain the message.

    Attributes:
        sequences: (frames, width) of each utterance.
        unexplained: deviation of what is left, as a share of the root mean square of what was sent, corrected for the deltas' freedom.
    """

    sequences: list[Tensor]
    unexplained: float


def refine(
    observed: Observed,
    layer: tuple[Tensor, Tensor],
    start: Sequence[Tensor],
    context: int,
    fit: Callable[[list[Tensor]], list[Tensor]] = lambda sequences: sequences,
    iterations: int = ITERATIONS,
) -> Refined:
    """Return features that explain what was sent of a first layer's gradient.

    Args:
        observed: what was sent.
        layer: weights (units, features of a window) and bias (units,) of the attacked network.
        start: (frames, width) of each utterance, on the scale of the features; a rough guess.
        context: frames on each side of a window.
        fit: puts what the front-end fixes (mean and deviation) back after each round.
        iterations: at most.
    """
    lengths = [len(one) for one in start]
    problem = _Problem(observed, layer, lengths, start[0].shape[1], context)

    def fitted(frames: Tensor) -> Tensor:
        return torch.cat(fit(list(torch.split(frames, lengths))))

    frames = found = fitted(torch.cat([one.double() for one in start]))
    variance, softness, ahead = 0.3, SOFTEST, Anderson()
    for _ in range(iterations):
        windows = problem.windows(frames)  # (frames, columns)
        active = problem.active(windows, softness)
        deltas = problem.deltas(windows, active, variance)
        variance = problem.unexplained(windows, deltas, active)
        raw, doubt = problem.frames(deltas, variance)
        found = fitted(raw)
        change = float((found - frames).norm() / frames.norm())
        if change < STILL:
            break
        softness = min(SOFTEST, max(HARDEST, 2 * change, 0.5 * doubt**0.5))
        frames = fitted(ahead(frames, found))
    return Refined(list(torch.split(found, lengths)), math.sqrt(variance))


def left_by(observed: Observed, layer: tuple[Tensor, Tensor], sequences: Sequence[Tensor], context: int) -> float:
    """Return what given features leave unexplained; arguments and result as of `refine`."""
    problem = _Problem(observed, layer, [len(one) for one in sequences], sequences[0].shape[1], context)
    windows = problem.windows(torch.cat([one.double() for one in sequences]))
    active, variance = problem.active(windows, HARDEST), 1e-4
    for _ in range(2):  # with the ridge of the first variance, and with that of what it found
        variance = problem.unexplained(windows, problem.deltas(windows, active, variance), active)
    return math.sqrt(variance)


class Anderson:
    """Extrapolation of a fixed-point iteration from its last rounds (Anderson 1965, as least squares over differences)."""

    def __init__(self) -> None:
        self.images: list[Tensor] = []
        self.steps: list[Tensor] = []

    def __call__(self, point: Tensor, image: Tensor) -> Tensor:
        """Return where to look next, given a point and what the iteration makes of it; float64.

        >>> turn, ahead = torch.tensor([[0.9, 0.2], [-0.2, 0.9]], dtype=torch.float64), Anderson()
        >>> point = torch.ones(2, dtype=torch.float64)
        >>> for _ in range(4):
        ...     point = ahead(point, turn @ point)
        >>> bool(point.norm() < 1e-9)
        True
        """
        self.images = [*self.images, image.reshape(-1)][-MEMORY:]
        self.steps = [*self.steps, (image - point).reshape(-1)][-MEMORY:]
        if len(self.steps) < 2:
            return image
        changes, moves = torch.stack(self.steps, 1).diff(dim=1), torch.stack(self.images, 1).diff(dim=1)
        mix = torch.linalg.lstsq(changes, self.steps[-1][:, None], rcond=1e-8, driver="gelsd").solution
        ahead: Tensor = self.images[-1] - (moves @ mix)[:, 0]
        return ahead.view_as(image)


class _Problem:
    """The two least squares problems, in units of the message's root mean square."""

    def __init__(self, observed: Observed, layer: tuple[Tensor, Tensor], lengths: list[int], width: int, context: int) -> None:
        self.width, self.frames_of_all = width, sum(lengths)
        told, heard = observed.told, observed.values.abs().sum(1) > 0  # a unit that sent nothing says nothing
        values = observed.values[heard].double()
        self.told = None if told is None else told[heard].float()
        self.count = float(values.numel()) if self.told is None else float(self.told.sum())
        size = float((values.square().sum() / max(self.count, 1.0)).sqrt().clamp_min(1e-300))
        self.values = (values / size).float()
        self.floor = max((observed.deviation / size) ** 2, 1e-13)
        self.weight, self.bias = layer[0][heard].double(), layer[1][heard].double()
        self.with_bias = values.shape[1] == self.weight.shape[1] + 1
        self.places = _places(lengths, context)  # (frames, window), the number of all frames where a window leaves its utterance

    def windows(self, frames: Tensor) -> Tensor:
        """Return (frames, columns): stacked windows, with ones for the bias."""
        padded = functional.pad(frames, (0, 0, 0, 1))
        stacked = padded[self.places].flatten(1)
        return functional.pad(stacked, (0, 1), value=1.0) if self.with_bias else stacked

    def active(self, windows: Tensor, softness: float) -> Tensor:
        """Return the probability that a unit is neither off nor clipped, (units, frames)."""
        inputs = self.weight @ windows[:, : self.weight.shape[1]].T + self.bias[:, None]
        error = softness * inputs.std()
        probability: Tensor = torch.special.ndtr(inputs / error) * torch.special.ndtr((CLIPPED - inputs) / error)
        return probability

    def deltas(self, windows: Tensor, active: Tensor, variance: float) -> Tensor:
        """Return (frames, units): ridge regression of each unit's values on the windows, dearer where the unit is off."""
        # the values' mean square is 1 and windows' values have about that of features, 1; neighbours add up instead of averaging out
        expected = 0.5 * max(1 - self.floor, 0.05) / active.sum(1).mean()
        ridge = (variance / (expected * (active + 1e-3))).float()
        narrow = windows.float()
        right = self.values @ narrow.T  # (units, frames)
        products = _products(narrow)  # (columns, frames * frames)
        found = []
        for units in torch.split(torch.arange(len(right)), max(1, CHUNK // products.shape[1])):
            sums = products.sum(0) if self.told is None else self.told[units] @ products
            systems = sums.view(-1, len(windows), len(windows)) + torch.diag_embed(ridge[units])
            found.append(torch.linalg.solve(systems, right[units]))
        return torch.cat(found).T.double()

    def unexplained(self, windows: Tensor, deltas: Tensor, active: Tensor) -> float:
        """Return the variance of what is left, corrected for what the deltas fit whatever is sent."""
        left = self.values - (deltas.T.float() @ windows.float())
        left = left if self.told is None else left * self.told
        freedom = max(self.count - float(active.sum()), 0.3 * self.count)
        return max(float(left.double().square().sum()) / freedom, self.floor)

    def frames(self, deltas: Tensor, variance: float) -> tuple[Tensor, float]:
        """Return frames (frames, width) given the deltas, normal of deviation 1 before anything is seen, and their mean variance."""
        total = self.frames_of_all
        sides = (deltas.float() @ self.values[:, : self.weight.shape[1]]).double().view(total, -1, self.width)  # (frames, window, width)
        bins = 1 if self.told is None else self.width
        system, side = deltas.new_zeros(bins, total, total), deltas.new_zeros(self.width, total)
        for place, part in enumerate(self._systems(deltas)):
            inside = (self.places[:, place] < total).nonzero()[:, 0]  # frames whose window holds a frame at this place
            at = self.places[inside, place]
            system[:, at[:, None], at] += part[:, inside[:, None], inside]
            side[:, at] += sides[inside, place].T
        inverse = torch.linalg.inv(system + variance * torch.eye(total, dtype=system.dtype))
        doubt = variance * float(inverse.diagonal(dim1=1, dim2=2).mean())
        return (inverse @ side[..., None])[..., 0].T, doubt

    def _systems(self, deltas: Tensor) -> Iterator[Tensor]:
        """Yield sums of products of deltas over the units that sent a value, (1 or width, frames, frames), for each place of a window."""
        total, count = self.frames_of_all, self.places.shape[1]
        if self.told is None:
            yield from [(deltas @ deltas.T)[None]] * count
            return
        products = _products(deltas.float())  # (units, frames * frames)
        columns = self.told[:, : count * self.width].T
        for some in torch.split(columns, self.width * max(1, CHUNK // (self.width * total**2))):
            yield from (some @ products).view(-1, self.width, total, total).double()


def _places(lengths: Sequence[int], context: int) -> Tensor:
    """Return which frame of all is at each place of each window, (frames, 2 context + 1), their number where there is none."""
    total, first, rows = sum(lengths), 0, []
    for length in lengths:
        places = torch.arange(length)[:, None] + torch.arange(-context, context + 1)
        rows.append(torch.where((places >= 0) & (places < length), places + first, total))
        first += length
    return torch.cat(rows)


def _products(rows: Tensor) -> Tensor:
    """(frames, columns) -> products of all pairs of frames, (columns, frames * frames)."""
    columns = rows.T
    return (columns[:, :, None] * columns[:, None, :]).flatten(1)


def unknowns(frames: int, width: int, units: int) -> int:
    """Return how many numbers a fit must find: every frame, and the deltas of units that are on, which are half of all.

    >>> unknowns(40, 26, 100)
    3040
    """
    return frames * width + frames * units // 2
