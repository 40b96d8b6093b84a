"""Whose voice is each local speaker of each window: nearest centroids, under the rule that two at once are two people.

Problem: a segmentation model numbers the speakers of every window anew, and embeddings of short or overlapped speech are poor: taken one
by one, both speakers of a window fall into the cluster of the louder one, and the other vanishes. Choice: the assignment of a whole
window is one decision (Hungarian on cosine distances), so its local speakers get different clusters as long as there are enough. Who is
left over and speaks together with the others is somebody else, whom no clustering has found for want of clean speech; who is left over
and never does so is one of them, split in two by the segmentation, and joins the nearest. Rejected: dropping the left-over ones, which
turns speech that was found into missed speech. Source: the constrained clustering of pyannote.audio (Bredin 2023).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

UNASSIGNED = -1
"""Label of a local speaker who is not active, or whose voice could not be told."""

_FARTHEST = 2.0
"""Largest cosine distance."""


def unit_vectors(vectors: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return vectors (..., dimensions) scaled to length one; not-a-number stays, zero stays zero."""
    values = np.asarray(vectors, dtype=np.float64)
    scaled: NDArray[np.float64] = values / np.maximum(np.linalg.norm(values, axis=-1, keepdims=True), 1e-12)
    return scaled


def cosine_distances(embeddings: NDArray[np.floating], centroids: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return 1 - cosine, (..., dimensions) and (clusters, dimensions) -> (..., clusters), from 0 to 2."""
    return 1.0 - unit_vectors(embeddings) @ unit_vectors(centroids).T


def centroids_of(embeddings: NDArray[np.floating], labels: NDArray[np.int64], weights: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return the mean direction of each cluster.

    Args:
        embeddings: (items, dimensions).
        labels: (items,) from 0.
        weights: (items,) how much each counts, such as seconds of clean speech.

    Returns:
        (clusters, dimensions) of length one.
    """
    directions = unit_vectors(embeddings)
    return unit_vectors(np.stack([weights[labels == k] @ directions[labels == k] for k in range(int(labels.max()) + 1)]))


def assign_speakers(
    embeddings: NDArray[np.floating],
    active: NDArray[np.bool_],
    centroids: NDArray[np.floating],
    others: NDArray[np.bool_] | None = None,
) -> NDArray[np.int64]:
    """Give every active local speaker of every window a cluster.

    Args:
        embeddings: (windows, speakers, dimensions); rows that are not finite say that a voice could not be told.
        active: (windows, speakers).
        centroids: (clusters, dimensions).
        others: (windows, speakers) who is somebody else if no cluster is left; None for nobody.

    Returns:
        (windows, speakers) int64, the number of clusters for somebody else (at most one in a window), `UNASSIGNED` for who is not
        active, and for who has no embedding and found all clusters taken.

    >>> voices = np.array([[[1.0, 0.1], [1.0, 0.2]]])
    >>> assign_speakers(voices, np.ones((1, 2), dtype=bool), np.eye(2)).tolist()
    [[0, 1]]
    """
    labels = np.full(active.shape, UNASSIGNED, dtype=np.int64)
    known = np.isfinite(embeddings).all(axis=2)  # (windows, speakers)
    distances = np.where(known[..., None], cosine_distances(np.where(known[..., None], embeddings, 0.0), centroids), _FARTHEST)
    for window in range(len(active)):
        present = np.flatnonzero(active[window])
        rows, columns = linear_sum_assignment(distances[window, present])
        labels[window, present[rows]] = columns
        left = np.setdiff1d(present, present[rows])
        if others is not None and others[window, left].any():
            farthest = left[np.where(others[window, left], distances[window, left].min(axis=1), -1.0).argmax()]
            labels[window, farthest] = len(centroids)
            left = left[left != farthest]
        left = left[known[window, left]]
        labels[window, left] = distances[window, left].argmin(axis=1)
    return labels


def cluster_values(values: NDArray[np.floating], labels: NDArray[np.int64], clusters: int) -> NDArray[np.float64]:
    """Rearrange what windows say about local speakers into what they say about clusters.

    Args:
        values: (windows, frames, speakers).
        labels: (windows, speakers) cluster of each, or `UNASSIGNED`.
        clusters: number of clusters.

    Returns:
        (windows, frames, clusters), the largest value where several local speakers are one person, zero where a person is absent.
    """
    found = np.zeros((*values.shape[:2], clusters))
    for window, speaker in zip(*np.nonzero(labels != UNASSIGNED), strict=True):
        column = found[window, :, labels[window, speaker]]
        np.maximum(column, values[window, :, speaker], out=column)
    return found


def keep_most_likely(scores: NDArray[np.float64], counts: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return who speaks: in every frame the `counts` clusters of the highest score, none of score zero; ties go to the first.

    >>> keep_most_likely(np.array([[0.2, 0.9, 0.0], [0.5, 0.5, 0.1]]), np.array([2, 1])).tolist()
    [[True, True, False], [True, False, False]]
    """
    order = np.argsort(-scores, axis=1, kind="stable")
    ranks = np.empty_like(order)
    np.put_along_axis(ranks, order, np.arange(scores.shape[1])[None, :], axis=1)
    return (ranks < counts[:, None]) & (scores > 0)
