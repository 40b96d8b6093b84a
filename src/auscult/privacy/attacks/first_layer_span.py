"""DeepSpeech 1 gives its input away: features from the gradient of the first layer, by linear algebra and without a transcript.

Problem: matching gradients of DeepSpeech 1 by descent stalls below 0 dB; the last layer's gradient says too little about single frames,
and the layers below have kinks that make exact derivatives meaningless. Choice: no descent. The first dense layer sees a window of
features x_t around every frame t, so its gradient is sum_t delta_t x_t^T: **the row space of one matrix is the span of all windows**,
whatever the layers above, their kinks, the transcript and the training state are. Windows are not free vectors either, because neighbours
share frames and nothing lies beyond the edges; the sequences whose every window lies in the span are the solutions of a linear system.
Each of T windows must be orthogonal to what T windows leave free, T (features - T) equations for T * width unknowns less a factor: **one
solution as long as frames are no more than features of a window less those of a frame**. The gradient of the bias, sum_t delta_t, fixes
the factor, sign included. The ratio of the two smallest eigenvalues of the system tells the attacker, who sees no truth, whether it worked.

The span is cut at as many directions as there are frames. Rejected: weighing directions by their singular values with a floor against
noise; a floor that fits the noise throws away the weakest windows with it, which cost up to 40 dB and made noise look like a defence.

Whoever has the features can run the network on them. Where the message holds the output layer too, its gradient then gives the characters
and the length of every transcript (`auscult.privacy.occupancy`), in any state of training. Masks of dropout do not hide features, but the
attacker's network then is not the client's, and what defences did to the output layer is not undone: characters are then a guess.

Local steps on one batch see the same windows in every step, so that a delta of any number of steps spans what one of them does; only the
characters need a message of one step. What defences change is undone as far as they declare it (`auscult.privacy.adapted_span`).

Limits: frames of all utterances together (468 at the defaults, 9.3 s at 20 ms), a secure sum counts as one batch. Utterances of one
length are taken apart by the units that were off (`auscult.privacy.unmixing`), in an order that nothing tells.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np
import scipy.linalg
from numpy.typing import NDArray
from torch import from_numpy

from auscult.errors import UserError
from auscult.privacy import occupancy
from auscult.privacy.adapted_span import adapted, spoilt
from auscult.privacy.attack import Attack, Reconstruction, Watch
from auscult.privacy.message import Knowledge, Leak
from auscult.privacy.spectrum import rank
from auscult.privacy.unmixing import sparse_combinations
from auscult.privacy.victim import Victim
from auscult.registry import register

Array = NDArray[np.float64]
WEIGHT, BIAS = "input.0.weight", "input.0.bias"
ITERATIONS = 6
"""Of inverse iteration; the wanted eigenvalue is many orders smaller than the next, so that three would do."""
CERTAIN = 0.03
"""Ratio of the wanted eigenvalue to the next one below which features are said to be right: they were, by 30 dB or more, under noise of any
strength; a length that is wrong by a frame had 0.1 or more."""
EXACT = 1e-6
"""The same for features that are near enough to solve for characters (85 dB or more)."""

MIXED = "utterances of one length come out as mixtures of one another"
"""Says that features are of no use for anything that needs an utterance."""


class NullSpace(NamedTuple):
    """Sequences whose windows lie in the span.

    Attributes:
        sequences: (count, frames, width), orthonormal.
        gap: ratio of the last wanted eigenvalue to the first unwanted one; near 0 is a unique solution.
    """

    sequences: Array
    gap: float


@register("attack", "first_layer_span")
class FirstLayerSpan(Attack):
    """Reconstruct features of DeepSpeech 1 from the gradient of its first layer; needs no transcript.

    Lengths that are not known are read from the rank of the gradient, for a single utterance.

    Args:
        adapt: use what defences declare and which units are off (`auscult.privacy.adapted_span`); nothing else for an unchanged message.
    """

    def __init__(self, adapt: bool = True) -> None:
        self.adapt = adapt

    def run(self, victim: Victim, leak: Leak, knowledge: Knowledge, watch: Watch) -> Reconstruction:
        """Return the features of each utterance; raises as the contract says."""
        self._check(victim, leak)
        step = -leak.rate if leak.kind == "delta" and leak.rate is not None else 1.0
        gradient = self.needed(leak, [WEIGHT])[WEIGHT].double().cpu().numpy() / step  # (hidden, window features)
        bias = leak.tensors[BIAS].double().cpu().numpy() / step if BIAS in leak.tensors else None
        _, values, directions = np.linalg.svd(gradient, full_matrices=False)
        lengths = knowledge.frames if knowledge.frames is not None else (rank(values),)
        width, context = victim.features.width, victim.features.context
        if sum(lengths) > gradient.shape[1] - width:
            return _saturated(lengths, width, gradient.shape[1])
        form = outside_span(directions[: sum(lengths)])
        found = {length: null_sequences(form, length, width, lengths.count(length)) for length in sorted(set(lengths))}
        sequences, notes = _in_order(found, lengths), list[str]()
        apart = _taken_apart(sequences, gradient, context, watch.random)
        if len(set(lengths)) < len(lengths):
            notes.append(_order_note(apart is not None))
        scaled, more = _scaled(apart or sequences, gradient, bias, context)
        sent = {occupancy.WEIGHT, occupancy.BIAS} <= set(leak.tensors) and leak.steps == 1
        if knowledge.frames is None and spoilt(leak):
            notes.append("the number of frames was read off the rank of a changed message: a guess, and with it everything else")
        if self.adapt and spoilt(leak):
            result = adapted(victim, leak, Reconstruction(tuple(from_numpy(one) for one in scaled), notes=tuple(notes)))
            alone = sent and apart is not None and result.gave_up is None
            return self._with_characters(victim, leak, result) if alone else result
        worst, doubt = max(one.gap for one in found.values()), None
        if worst > CERTAIN:
            doubt = f"the two smallest eigenvalues differ by a factor of {1 / worst:.3g} only; the features are probably wrong"
            more.append(doubt)
        result = Reconstruction(tuple(from_numpy(one) for one in scaled), objective=worst, notes=(*notes, *more), gave_up=doubt)
        return self._with_characters(victim, leak, result) if sent and apart is not None and not more else result

    def _check(self, victim: Victim, leak: Leak) -> None:
        victim.accept(leak)
        if not victim.features.context or WEIGHT not in victim.parameters:
            raise UserError("first_layer_span reads a dense first layer over stacked context; it attacks deepspeech1, and nothing else")

    def _with_characters(self, victim: Victim, leak: Leak, found: Reconstruction) -> Reconstruction:
        assert found.features is not None
        read, condition = occupancy.occupancies(victim, leak, found.features)
        if condition > occupancy.SOUND:
            note = f"frames look too much alike to the output layer (condition {condition:.1g}): no characters are claimed"
            return replace(found, notes=(*found.notes, note))
        sets, doubts = tuple(one.characters for one in read), doubts_of(leak, found.objective)
        if doubts:
            found = replace(found, notes=(*found.notes, f"{' and '.join(doubts)}: characters are a guess, and no lengths are claimed"))
        counted = leak.reduction == "target_mean" and all(one.scale > 0 for one in read) and not doubts
        symbols = tuple(round(1 / (one.scale * leak.batch)) for one in read) if counted else None
        return replace(found, characters=frozenset().union(*sets), by_utterance=sets, symbols=symbols)


def _saturated(lengths: tuple[int, ...], width: int, features: int) -> Reconstruction:
    note = f"{sum(lengths)} frames are more than {features - width}, the {features} features of a window less {width} of a frame: the span "
    zeros = tuple(from_numpy(np.zeros((one, width))) for one in lengths)
    note += "holds other sequences too, and zeros are returned"
    return Reconstruction(zeros, objective=1.0, notes=(note,), gave_up=note)


def doubts_of(leak: Leak, gap: float | None) -> list[str]:
    """Return why the output layer's gradient may not be that of the attacker's network on the features that were found."""
    doubts = ["masks of dropout are unknown"] if leak.dropout > 0 else []
    doubts += [f"the message was changed ({', '.join(leak.defences)})"] if leak.defences else []
    return doubts + ([] if gap is not None and gap <= EXACT else ["the features are not exact"])


def outside_span(directions: Array) -> Array:
    """Return the quadratic form that punishes what lies outside the span of some directions, (features, features).

    Args:
        directions: (count, features), orthonormal.
    """
    form: Array = np.eye(directions.shape[1]) - directions.T @ directions
    return form


def null_sequences(form: Array, frames: int, width: int, count: int) -> NullSpace:
    """Return the sequences whose windows cost least under a quadratic form.

    Args:
        form: (window * width, window * width), symmetric, positive semidefinite.
        frames: of a sequence.
        width: values per frame.
        count: sequences wanted.
    """
    window = len(form) // width
    matrix = _banded(form.reshape(window, width, window, width).transpose(0, 2, 1, 3), frames, width, window)
    matrix[0] += 1e-14 * matrix[0].max()  # keeps the factorisation of a nearly singular matrix positive
    factor = scipy.linalg.cholesky_banded(matrix, lower=True)
    start = np.random.default_rng(0).normal(size=(frames * width, count + 1))
    basis = np.linalg.qr(start)[0]
    for _ in range(ITERATIONS):
        basis, scale = np.linalg.qr(scipy.linalg.cho_solve_banded((factor, True), basis))
    rotation, sizes, _ = np.linalg.svd(scale)  # of the inverse: the largest belong to the smallest eigenvalues
    ordered = basis @ rotation
    return NullSpace(ordered[:, :count].T.reshape(count, frames, width), float(sizes[count] / sizes[count - 1]))


def _banded(blocks: Array, frames: int, width: int, window: int) -> Array:
    """Return sum over frames t of the form of the window around t, in the lower banded layout of LAPACK.

    Frame u is at place k = u - t + context in the window around t, so the block of frames (u, u + d) is the sum of blocks (k, k + d) over
    all windows that exist and hold both; cumulative sums over k give each in one difference.

    Args:
        blocks: (window, window, width, width) of the form.
        frames: of a sequence.
        width: values per frame.
        window: frames of a window, odd.
    """
    context = window // 2
    banded = np.zeros((window * width, frames * width))
    rows, columns = np.arange(width)[:, None], np.arange(width)[None, :]
    for distance in range(min(window, frames)):
        diagonal = blocks[np.arange(distance, window), np.arange(window - distance)]  # entries (later frame, earlier frame)
        sums = np.concatenate([np.zeros((1, width, width)), np.cumsum(diagonal, axis=0)])
        for frame in range(frames - distance):
            last = min(window - distance, frame + context + 1)
            first = max(0, frame + context - frames + 1)
            block = sums[last] - sums[min(first, last)]
            below = distance * width + rows - columns  # row minus column of each entry
            kept = below >= 0
            banded[below[kept], (frame * width + columns + 0 * rows)[kept]] = block[kept]
    return banded


def _in_order(found: dict[int, NullSpace], lengths: tuple[int, ...]) -> list[Array]:
    """Return a sequence for each utterance, those of one length mixed."""
    taken = dict.fromkeys(found, 0)
    sequences = []
    for length in lengths:
        sequences.append(found[length].sequences[taken[length]])
        taken[length] += 1
    return sequences


def _deltas(sequences: list[Array], gradient: Array, context: int) -> list[Array]:
    """Return the gradients (frames, hidden) of the first layer's outputs that make its weight gradient of each sequence's windows."""
    windows = np.concatenate([_windows(one, context) for one in sequences])  # (all frames, features)
    deltas = np.linalg.lstsq(windows.T, gradient.T, rcond=1e-12)[0]
    return np.split(deltas, np.cumsum([len(one) for one in sequences])[:-1])


def _taken_apart(sequences: list[Array], gradient: Array, context: int, random: np.random.Generator) -> list[Array] | None:
    """Return the utterances behind mixtures of one length, in no known order; None where they cannot be told apart."""
    lengths = [len(one) for one in sequences]
    if len(set(lengths)) == len(lengths):
        return sequences
    deltas, result = _deltas(sequences, gradient, context), list(sequences)
    for length in sorted(set(lengths)):
        places = [place for place, one in enumerate(lengths) if one == length]
        if len(places) == 1:
            continue
        combinations = sparse_combinations(np.stack([deltas[place].ravel() for place in places]), random)
        if combinations is None:
            return None
        # deltas of mixtures are A^T-mixed where sequences are mixed by the inverse of A: their product, the gradient, is one and the same
        parts = np.linalg.inv(combinations).T @ np.stack([sequences[place].ravel() for place in places])
        for place, part in zip(places, parts, strict=True):
            result[place] = part.reshape(length, -1)
    return result


def _order_note(apart: bool) -> str:
    if apart:
        return "utterances of one length were told apart; which comes first in the batch is unknown, and they are in an order of their own"
    return MIXED


def _scaled(sequences: list[Array], gradient: Array, bias: Array | None, context: int) -> tuple[list[Array], list[str]]:
    """Give sequences their scale and sign: the windows explain the gradient by deltas, whose sum is the gradient of the bias."""
    if bias is None:
        return [one / one.std() for one in sequences], ["the bias gradient was not sent: sign unknown, deviation taken to be 1"]
    sums = np.stack([part.sum(0) for part in _deltas(sequences, gradient, context)], axis=1)  # (hidden, utterances)
    factors = np.linalg.lstsq(sums, bias, rcond=None)[0]
    if not np.all(np.abs(factors) > 0):
        return sequences, ["the gradient of the bias is zero: scale and sign are unknown"]
    return [one / factor for one, factor in zip(sequences, factors, strict=True)], []


def _windows(sequence: Array, context: int) -> Array:
    """Return the stacked windows (frames, (2 context + 1) * width) of a sequence (frames, width), zero beyond its ends."""
    padded = np.pad(sequence, ((context, context), (0, 0)))
    return np.lib.stride_tricks.sliding_window_view(padded, 2 * context + 1, axis=0).transpose(0, 2, 1).reshape(len(sequence), -1)
