"""From a message and exact features to evidence about each transcript, and from transcripts back to the message.

Problem: the posteriors that a message gives are known well in some directions of frames and not at all in others, and a search that
takes them for equally known fits its answer to noise. Choice: the errors of the message are measured where it must be zero (outside what
the attacker's hidden vectors span), carried through the solution, and become the weights of the search. Answers go back the other way: **a
transcript is proved when the gradient that it predicts is the message**, within the error of float32, and the nearest other
transcripts predict another. One without the other is a guess: a search may end anywhere, and a message in which all frames look
alike agrees with every anagram.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from auscult.losses.ctc import occupancy as exact_occupancy
from auscult.privacy.alignments import Array, Tokens
from auscult.privacy.message import Leak
from auscult.privacy.occupancy import AGREEING, BIAS, WEIGHT, read_errors, seen_by_output
from auscult.privacy.transcript_search import Evidence, rivals
from auscult.privacy.victim import Victim

FLOAT = 1e-7
"""Error of a float32 gradient as a share of its size; measured 6e-8 to 2e-7 on true transcripts."""
AGREES = 1e-6
"""Share of the message by which a proved transcript's gradient may differ from it."""
APART = 5.0
"""How many times farther than a proved transcript the nearest other one must be."""
TELLING = 100.0
"""How much larger than the error of agreement the part of the message must be that is of one utterance alone."""
RESOLUTION = 1e-3
"""Posteriors known better than this count alike: the linear picture of the search is no better."""
NEAR = 0.05
"""How near to a whole number a count of symbols must be."""
SPARE = 8
"""Dimensions that errors are measured in, at least."""


@dataclass(frozen=True, eq=False)
class Observed:
    """What an attacker with features has of one utterance of a message.

    Attributes:
        evidence: for a search; None where the length of the transcript or its characters are unknown.
        units: (T, hidden + 1), what the output layer sees and a constant one, without what other utterances of the batch span.
        gradient: (C, hidden + 1) of the message, likewise.
        scale: of the utterance's loss in the message.
        size: of the whole message.
    """

    evidence: Evidence | None
    units: Array
    gradient: Array
    scale: float
    size: float

    def residual(self, transcript: Tokens) -> float:
        """Return how far the gradient that a transcript (L,) predicts is from the message, as a share of the message."""
        return float(np.linalg.norm(self._predicted(transcript) - self.gradient)) / self.size

    def agrees(self, transcript: Tokens) -> bool:
        """Return whether a transcript's gradient is the message, within numerical error; not where all are, so that a search goes on."""
        return float(np.linalg.norm(self.gradient)) > TELLING * AGREES * self.size and self.residual(transcript) <= AGREES

    def nearest_rival(self, transcript: Tokens) -> float:
        """Return how far the gradients of the most similar other transcripts are from that of a transcript, at least."""
        assert self.evidence is not None
        mine = self._predicted(transcript)
        others = [float(np.linalg.norm(self._predicted(one) - mine)) / self.size for one in rivals(self.evidence, transcript)]
        return min(others, default=np.inf)

    def _predicted(self, transcript: Tokens) -> Array:
        """Return the gradient (C, hidden + 1), with the posteriors of the kernel that clients' losses are tested against."""
        assert self.evidence is not None
        probabilities = self.evidence.probabilities
        logits = torch.from_numpy(np.log(np.maximum(probabilities, 1e-300)))[None]
        lengths = torch.tensor([len(probabilities)]), torch.from_numpy(transcript)[None], torch.tensor([len(transcript)])
        posteriors = exact_occupancy(logits, *lengths, blank=self.evidence.blank)[0].numpy()
        predicted: Array = self.scale * (probabilities - posteriors).T @ self.units
        return predicted


def observe(victim: Victim, leak: Leak, features: Sequence[Tensor], symbols: Sequence[int] | None) -> list[Observed]:
    """Return what a message of one step says of each utterance.

    Args:
        victim: of a kind whose output layer `fc` takes one vector per frame.
        leak: with the gradients of `fc.weight` and `fc.bias`.
        features: (T, width) of each utterance of the message, exact.
        symbols: lengths of the transcripts, where they are told; measured where the loss allows it.
    """
    step = -leak.rate if leak.kind == "delta" and leak.rate is not None else 1.0
    gradient = (
        np.concatenate([leak.tensors[WEIGHT].double().cpu().numpy(), leak.tensors[BIAS].double().cpu().numpy()[:, None]], axis=1) / step
    )
    seen = [seen_by_output(victim, one) for one in features]
    units = [np.concatenate([hidden, np.ones((len(hidden), 1))], axis=1) for hidden, _ in seen]
    probabilities = [one for _, one in seen]
    errors, variances, left = _solved(np.concatenate(units), np.concatenate(probabilities), gradient)
    ends = np.cumsum([len(one) for one in units])[:-1]
    size, found = float(np.linalg.norm(gradient)), list[Observed]()
    for place, (error, rows) in enumerate(zip(np.split(errors, ends), np.split(left, ends), strict=True)):
        read = read_errors(victim, error, probabilities[place])
        told = symbols[place] if symbols is not None else None
        length = _counted(read.scale * leak.batch, told) if leak.reduction == "target_mean" else told
        scale = _scale(leak, length or 1, len(error))
        posteriors = probabilities[place] - error / scale
        covariance = np.eye(len(rows)) + (rows * (np.minimum(variances / scale**2, 1.0) - 1.0)) @ rows.T
        classes = tuple(sorted(victim.specification.labels.index(one) for one in read.characters))
        usable = length is not None and classes and length <= len(error)
        evidence = Evidence(probabilities[place], posteriors, _weights(covariance), length or 0, classes, victim.blank) if usable else None
        others = _basis([one for other, one in enumerate(units) if other != place])
        found.append(Observed(evidence, _without(units[place], others), _without(gradient, others), scale, size))
    return found


def _solved(units: Array, probabilities: Array, gradient: Array) -> tuple[Array, Array, Array]:
    """Return scaled errors (frames, C) that make the gradient, their variances (directions,), and the directions (frames, directions)."""
    left, sizes, right = np.linalg.svd(units, full_matrices=False)
    projected = gradient @ right.T
    live = np.flatnonzero(np.abs(gradient).max(0) > 0)
    spare = len(live) - int(np.sum(sizes > sizes[0] * 1e-12))
    outside = float(np.square(gradient - projected @ right).sum())
    error = FLOAT * float(np.sqrt(np.square(gradient).sum() / max(gradient.shape[0] * len(live), 1)))
    error = max(error, np.sqrt(outside / (gradient.shape[0] * spare))) if spare >= SPARE else error
    variances = np.square(error / np.maximum(sizes, 1e-300))
    scale = float(np.median(np.sort(gradient[:, -1] / probabilities.sum(0))[-AGREEING:]))  # of the utterances, about
    known = variances < max(scale, 1e-300) ** 2
    inverse = np.where(known, 1 / np.maximum(sizes, 1e-300), 0.0)
    return (projected * inverse @ left.T).T, variances, left


def _weights(covariance: Array) -> Array:
    """Return the matrix that measures posteriors in units of their errors, errors below the resolution counted as that."""
    values, vectors = np.linalg.eigh(covariance)
    weights: Array = (vectors * (RESOLUTION / np.sqrt(np.maximum(values, 0.0) + RESOLUTION**2))) @ vectors.T
    return weights


def _counted(scale: float, told: int | None) -> int | None:
    """Return the symbols that a scale under a loss averaged over targets counts; what was told where it counts none."""
    if scale > 0 and abs(1 / scale - round(1 / scale)) < NEAR and round(1 / scale) > 0:
        return round(1 / scale)
    return told


def _scale(leak: Leak, symbols: int, frames: int) -> float:
    """Return the factor of an utterance's loss in the message."""
    return {"target_mean": 1 / symbols, "frame_mean": 1 / frames, "sum": leak.batch}.get(leak.reduction, 1.0) / leak.batch


def _basis(units: Sequence[Array]) -> Array:
    """Return orthonormal rows that span the rows of several matrices, (rank, columns)."""
    if not units:
        return np.zeros((0, 1))
    _, sizes, rows = np.linalg.svd(np.concatenate(units), full_matrices=False)
    kept: Array = rows[sizes > sizes[0] * 1e-9]
    return kept


def _without(rows: Array, basis: Array) -> Array:
    return rows - (rows @ basis.T) @ basis if len(basis) else rows
