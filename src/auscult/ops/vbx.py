"""Variational refinement of speaker clusters (VBx), without a trained PLDA.

Problem: a threshold splits a speaker in two as soon as the recording differs from those it was tuned on, and clustering forgets that
neighbours in time are mostly the same speaker. Choice: start from too many clusters and let a Bayesian hidden Markov model give up
those it can do without (Landini et al., "Bayesian HMM clustering of x-vector sequences (VBx) in speaker diarization", 2022). In the
paper a PLDA says how much speakers and recordings vary; here both are isotropic, x = m + y + e with y ~ N(0, between I) and e ~ N(0,
within I), estimated from the clusters it starts from unless given: no second model to train, to ship and to mismatch. Rejected: a full
covariance of the recording's own (a few hundred embeddings of 192 dimensions cannot estimate it).

Names follow the paper: gamma (items, speakers) responsibilities, alpha and L the mean and precision of a speaker, pi priors, Fa and Fb
the scales of acoustic and speaker terms, which make up for embeddings that are not independent.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from auscult.errors import UserError
from auscult.ops.clustering import Floats, Labels, first_appearance, unit_vectors

_START = 5.0  # logit of the cluster an item starts in: soft enough to leave it
_LEAST = 1e-7  # prior below which a speaker is given up


class Refined(NamedTuple):
    """What `vbx` found.

    Attributes:
        labels: (items,) int64, numbered by first appearance.
        responsibilities: (items, speakers) float64, columns in the order of `labels`; how sure each label is.
        bounds: the lower bound of the evidence after each round, not falling.
    """

    labels: Labels
    responsibilities: Floats
    bounds: list[float]


class _Posterior(NamedTuple):
    """Responsibilities (items, speakers), new priors (speakers,), and the logarithm of the likelihood."""

    gamma: Floats
    priors: Floats
    log_likelihood: float


def vbx(
    embeddings: ArrayLike,
    labels: ArrayLike,
    within: float | None = None,
    between: float | None = None,
    loop_probability: float = 0.9,
    acoustic_scale: float = 0.3,
    speaker_scale: float = 1.0,
    rounds: int = 20,
    tolerance: float = 1e-4,
) -> Refined:
    """Refine clusters; speakers can be given up, never added.

    Args:
        embeddings: (items, dimensions) in order of time; only their directions count.
        labels: (items,) clusters to start from, rather too many than too few.
        within: variance per dimension of unit vectors of one speaker; None estimates it from the clusters.
        between: variance per dimension between speakers; None estimates it from the clusters.
        loop_probability: of staying with the speaker from one item to the next; 0 for items that are not one sequence.
        acoustic_scale: Fa, above 0; lower gives up more speakers.
        speaker_scale: Fb, above 0; higher gives up more speakers.
        rounds: at most this many.
        tolerance: stop when the bound rises by less.

    Raises:
        UserError: an embedding is zero or not finite, there is not one label per item, or a number is out of range.
    """
    units, numbers = unit_vectors(embeddings), first_appearance(labels)
    if numbers.shape != (len(units),):
        raise UserError(f"vbx: expected one label for each of {len(units)} embeddings, got shape {numbers.shape}")
    if not (0 <= loop_probability < 1 and acoustic_scale > 0 and speaker_scale > 0 and rounds >= 1):
        raise UserError("vbx: expected 0 <= loop_probability < 1, scales above 0 and at least 1 round")
    speakers = int(numbers.max(initial=-1)) + 1
    if speakers < 2 or (len(units) == speakers and within is None):  # nothing to give up, or nothing to estimate from
        return Refined(numbers, np.eye(speakers)[numbers], [])
    scaled, ratio = _standardised(units, numbers, within, between)
    gamma = np.exp(_START * np.eye(speakers)[numbers])
    gamma /= gamma.sum(axis=1, keepdims=True)
    priors = np.full(speakers, 1.0 / speakers)
    bounds: list[float] = []
    for _ in range(rounds):
        log_p, penalty = _speaker_terms(scaled, gamma, ratio, acoustic_scale, speaker_scale)
        gamma, priors, log_likelihood = forward_backward(log_p, priors, loop_probability)
        bounds.append(log_likelihood + penalty)
        if len(bounds) > 1 and bounds[-1] - bounds[-2] < tolerance:
            break
    return _ordered(gamma, priors, bounds)


def forward_backward(log_p: Floats, priors: Floats, loop_probability: float) -> _Posterior:
    """Return the posterior of a hidden Markov model that stays with loop_probability, and else moves by the priors.

    Args:
        log_p: (items, speakers) log likelihood of each item given each speaker.
        priors: (speakers,) adding up to 1.
        loop_probability: from 0 to below 1.
    """
    tiny = np.finfo(np.float64).tiny
    peaks = log_p.max(axis=1)
    p = np.exp(log_p - peaks[:, None])
    forward, predicted, backward = np.empty_like(p), np.empty_like(p), np.ones_like(p)
    predicted[0] = priors
    log_likelihood = float(peaks.sum())
    for item in range(len(p)):
        if item:
            predicted[item] = loop_probability * forward[item - 1] + (1 - loop_probability) * priors
        joint = p[item] * predicted[item]
        scale = max(float(joint.sum()), tiny)
        forward[item] = joint / scale
        log_likelihood += float(np.log(scale))
    for item in range(len(p) - 1, 0, -1):
        later = p[item] * backward[item]
        before = loop_probability * later + (1 - loop_probability) * (priors @ later)
        backward[item - 1] = before / max(float(before.sum()), tiny)
    gamma = forward * backward
    gamma /= np.maximum(gamma.sum(axis=1, keepdims=True), tiny)
    moved = gamma[1:] * (1 - loop_probability) * priors / np.maximum(predicted[1:], tiny)  # expected arrivals that were no stay
    arrivals = gamma[0] + moved.sum(axis=0)
    return _Posterior(gamma, arrivals / arrivals.sum(), log_likelihood)


def _standardised(units: Floats, numbers: Labels, within: float | None, between: float | None) -> tuple[Floats, float]:
    """Return embeddings (items, dimensions) with variance 1 within speakers, and the ratio of between to within."""
    speakers, dimensions = int(numbers.max()) + 1, units.shape[1]
    centroids = np.stack([units[numbers == number].mean(axis=0) for number in range(speakers)])
    if within is None:
        within = float(((units - centroids[numbers]) ** 2).sum() / ((len(units) - speakers) * dimensions))
    if between is None:
        between = float(((centroids - centroids.mean(axis=0)) ** 2).sum() / ((speakers - 1) * dimensions))
    if not (np.isfinite(within) and np.isfinite(between) and within >= 0 and between >= 0):
        raise UserError(f"vbx: expected variances of 0 or more, got within {within} and between {between}")
    within = max(within, 1e-9)  # equal embeddings: any distance is far
    return (units - centroids.mean(axis=0)) / np.sqrt(within), max(between / within, 1e-9)


def _speaker_terms(scaled: Floats, gamma: Floats, ratio: float, acoustic_scale: float, speaker_scale: float) -> tuple[Floats, float]:
    """Return log p (items, speakers), equations 16 to 23 of the paper with Phi = ratio in every dimension, and the bound's speaker term."""
    dimensions = scaled.shape[1]
    rho = scaled * np.sqrt(ratio)  # (items, dimensions)
    inverse = 1.0 / (1.0 + acoustic_scale / speaker_scale * ratio * gamma.sum(axis=0))  # 1 / L, (speakers,)
    alpha = acoustic_scale / speaker_scale * inverse[:, None] * (gamma.T @ rho)  # (speakers, dimensions)
    squares = (alpha**2).sum(axis=1)
    constant = -0.5 * ((scaled**2).sum(axis=1) + dimensions * np.log(2 * np.pi))  # (items,)
    log_p = acoustic_scale * (rho @ alpha.T - 0.5 * ratio * (dimensions * inverse + squares) + constant[:, None])
    penalty = 0.5 * speaker_scale * float((dimensions * (np.log(inverse) - inverse + 1.0) - squares).sum())
    return log_p, penalty


def _ordered(gamma: Floats, priors: Floats, bounds: list[float]) -> Refined:
    """Drop speakers that were given up, and number the others by first appearance."""
    kept = gamma[:, priors > _LEAST]
    chosen = np.argmax(kept, axis=1)
    labels = first_appearance(chosen)
    columns = [int(chosen[np.argmax(labels == number)]) for number in range(int(labels.max()) + 1)]
    shares = kept[:, columns]
    return Refined(labels, shares / np.maximum(shares.sum(axis=1, keepdims=True), 1e-300), bounds)
