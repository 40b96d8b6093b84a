"""What a bidirectional GRU saw, frame by frame, from the gradients of its weights.

Problem: the gradient of `weight_ih` is sum_t delta_t f_t^T, so its row space is the span of the inputs f_t; but any mixture of the inputs
spans it too. A linear layer would end here. Choice: the gradient of `weight_hh` is sum_t epsilon_t h_{t-1}^T, whose row space is the span
of the states, and **a state is a nonlinear function of its input**: h_1 depends on f_1 alone, which has T coefficients in the first span,
and must lie in the second, which leaves hidden - T + 1 equations for T unknowns. Among all mixtures only the input itself solves them.
With f_1 known so is h_1, then f_2 and h_2, to the end; the last input comes from the first step of the opposite direction. A least-squares
solver finds each frame from any start, without transcript, and what is left of the equations says whether it is right.

Only frames of one utterance: the states of several span one space together, and the chain would have to be followed for each.
Rejected: descent on all frames at once (stalls near -1.5 dB); gates linearised (then mixtures solve the equations too).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import least_squares
from scipy.special import expit

from auscult.privacy.spectrum import leading

Array = NDArray[np.float64]
SOLVED = 1e-4
"""Share of a state outside the span below which its frame counts as found; the rounding of float32 leaves 1e-5 or less."""
STARTS = 8
"""Starts that are tried for a frame; one has been enough."""


class Direction(NamedTuple):
    """One direction of a GRU without biases, gates in the order r, z, n, in the units of the span of its inputs.

    Attributes:
        inputs: (3 hidden, count), `weight_ih` of the basis of inputs.
        states: (3 hidden, hidden), `weight_hh`.
        span: (count - 1, hidden), orthonormal basis of the states that have a successor.
    """

    inputs: Array
    states: Array
    span: Array

    def outside(self, values: Array) -> Array:
        """Return what lies outside the span of states; values (hidden,) or (hidden, columns)."""
        rest: Array = values - self.span.T @ (self.span @ values)
        return rest

    def step(self, coefficients: Array, state: Array) -> tuple[Array, Array]:
        """Return the next state (hidden,) and its derivative (hidden, count) by the coefficients of the input."""
        drive_r, drive_z, drive_n = np.split(self.inputs @ coefficients, 3)
        back_r, back_z, back_n = np.split(self.states @ state, 3)
        by_r, by_z, by_n = np.split(self.inputs, 3)
        reset, update = expit(drive_r + back_r), expit(drive_z + back_z)
        new = np.tanh(drive_n + reset * back_n)
        slope = (1 - new**2)[:, None] * (by_n + (reset * (1 - reset) * back_n)[:, None] * by_r)
        return (1 - update) * new + update * state, (1 - update)[:, None] * slope + ((state - new) * update * (1 - update))[:, None] * by_z


@dataclass(frozen=True)
class Inputs:
    """What was found.

    Attributes:
        frames: (frames, width) of the layer's input.
        slopes: (frames, width), gradients of the loss by them.
        worst: largest share of a state outside the span of states; small is right.
    """

    frames: Array
    slopes: Array
    worst: float


def recurrent_inputs(weights: tuple[Array, Array], forward: tuple[Array, Array], backward: tuple[Array, Array], frames: int) -> Inputs:
    """Solve for the inputs of one utterance.

    Args:
        weights: `weight_ih` (6 hidden, width) of both directions, forward first, and `weight_hh` (6 hidden, hidden), likewise.
        forward: gradients of `weight_ih` (3 hidden, width) and `weight_hh` (3 hidden, hidden) of the forward direction.
        backward: the same of the backward direction.
        frames: of the utterance, no more than hidden / 2 or so.
    """
    both = np.concatenate([forward[0], backward[0]])
    basis = _span(both, frames)  # (frames, width)
    ahead, behind = (
        Direction(inputs @ basis.T, states, _span(gradient, frames - 1))
        for inputs, states, gradient in zip(np.split(weights[0], 2), np.split(weights[1], 2), (forward[1], backward[1]), strict=True)
    )
    first, worst = chain(ahead, frames - 1)
    last, worst_last = chain(behind, 1)
    found = np.concatenate([first, last]) @ basis
    deltas = np.linalg.lstsq(found.T, both.T, rcond=1e-12)[0]  # (frames, 6 hidden)
    return Inputs(found, deltas @ weights[0], max(worst, worst_last))


def chain(direction: Direction, steps: int) -> tuple[Array, float]:
    """Follow a direction from its zero state.

    Returns:
        (steps, count), coefficients of each input, and the largest share of a state that is left outside the span.
    """
    state, found, worst = np.zeros(direction.states.shape[1]), list[Array](), 0.0
    starts = np.random.default_rng(0).normal(size=(STARTS, direction.inputs.shape[1])) * np.geomspace(1, 16, STARTS)[:, None]
    for _ in range(steps):
        tries = [found[-1], *starts] if found else list(starts)
        best, share = tries[0], np.inf
        for start in tries:
            solved = _solve(direction, state, start)
            rest = _share(direction, state, solved)
            if rest < share:
                best, share = solved, rest
            if share < SOLVED:
                break
        state = direction.step(best, state)[0]
        found.append(best)
        worst = max(worst, share)
    return np.stack(found), worst


def _span(gradient: Array, count: int) -> Array:
    return leading(gradient, count)[1][:count]


def _share(direction: Direction, state: Array, coefficients: Array) -> float:
    after = direction.step(coefficients, state)[0]
    return float(np.linalg.norm(direction.outside(after)) / (np.linalg.norm(after) + 1e-300))


def _solve(direction: Direction, state: Array, start: Array) -> Array:
    """Return coefficients whose next state lies in the span; its share is minimised, since a zero state would lie there too."""

    def rest(coefficients: Array) -> Array:
        after = direction.step(coefficients, state)[0]
        return direction.outside(after) / float(np.linalg.norm(after))

    def slopes(coefficients: Array) -> Array:
        after, by = direction.step(coefficients, state)
        size = float(np.linalg.norm(after))
        return direction.outside(by) / size - np.outer(direction.outside(after), after @ by) / size**3

    solved: Array = least_squares(rest, start, slopes, method="lm", xtol=1e-14, ftol=1e-15, gtol=1e-15, max_nfev=200).x
    return solved
