"""Speaker embeddings into speakers: agglomerative and spectral clustering, with the number found, bounded or forced.

Problem: a recording has an unknown number of speakers, a user may know it or its bounds, and whatever is chosen must come out the same
every time. Choice: two methods that published pipelines rest on, on unit vectors and their cosine. Agglomerative clustering
(average linkage as in 3D-Speaker, or centroids as in pyannote) is cut by counting merges: as many as stay within the threshold, then
as many as the bounds allow, so that a forced number is met exactly, also among equal points, where scipy's `fcluster` gives fewer.
Spectral clustering (3D-Speaker: the strongest neighbours of each row, Laplacian D - A, largest gap between eigenvalues) finds the
number without a threshold, and needs about 40 embeddings to do so. Labels are numbered by first appearance; chance comes from the
generator that is passed in. Rejected: HDBSCAN on UMAP (two dependencies, results that change with versions).
"""

from __future__ import annotations

from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.cluster.hierarchy import linkage as merge_tree
from scipy.linalg import eigh

from auscult.errors import UserError

Floats: TypeAlias = NDArray[np.float64]
Labels: TypeAlias = NDArray[np.int64]

_RESTARTS, _ROUNDS = 10, 100  # of k-means
_SEARCHED = 10  # speakers that are looked for whatever the maximum


def agglomerative(
    embeddings: ArrayLike,
    threshold: float = 0.5,
    clusters: int | None = None,
    minimum: int = 1,
    maximum: int | None = None,
    linkage: Literal["average", "centroid"] = "average",
) -> Labels:
    """Merge the two nearest clusters until they are farther apart than a threshold.

    Args:
        embeddings: (items, dimensions), of any length but 0; only their directions count.
        threshold: cosine distance (1 - cosine, 0 to 2) up to which clusters merge; for centroids, half the squared Euclidean distance,
            which is the same for unit vectors.
        clusters: force this many, or as many as there are items.
        minimum: at least this many, or as many as there are items.
        maximum: at most this many.
        linkage: distance between clusters: the mean over pairs of items, or that of the centroids.

    Returns:
        (items,) int64 labels, numbered by first appearance.

    Raises:
        UserError: an embedding is zero or not finite, or the numbers contradict each other.

    >>> agglomerative([[1.0, 0.0], [0.0, 1.0], [0.9, 0.1]]).tolist()
    [0, 1, 0]
    """
    units = unit_vectors(embeddings)
    if linkage not in ("average", "centroid"):
        raise UserError(f'clustering: linkage "{linkage}": expected "average" or "centroid"')
    smallest, largest = _bounds(len(units), clusters, minimum, maximum)
    if len(units) < 2:
        return np.zeros(len(units), dtype=np.int64)
    if linkage == "average":
        upper = np.triu_indices(len(units), 1)
        tree = merge_tree(np.maximum(1.0 - (units @ units.T)[upper], 0.0), "average")
        distances = tree[:, 2]
    else:
        tree = merge_tree(units, "centroid")
        distances = tree[:, 2] ** 2 / 2.0
    too_far = np.flatnonzero(distances > threshold)  # of centroids, a later merge may be nearer again: the first one ends it
    merges = int(too_far[0]) if len(too_far) else len(distances)
    return first_appearance(_cut(tree, min(max(len(units) - merges, smallest), largest)))


def spectral(
    embeddings: ArrayLike,
    clusters: int | None = None,
    minimum: int = 1,
    maximum: int = 10,
    *,
    random: np.random.Generator,
    kept_share: float = 0.02,
    neighbours: int = 6,
) -> Labels:
    """Cluster by the eigenvectors of a graph of nearest neighbours; needs about 40 embeddings to count speakers well.

    Args:
        embeddings: (items, dimensions), of any length but 0; only their directions count.
        clusters: force this many, or as many as there are items.
        minimum: look for at least this many.
        maximum: at most this many.
        random: seeds k-means.
        kept_share: share of each row of affinities that is kept.
        neighbours: at least this many of each row are kept; ties with the last one too.

    Returns:
        (items,) int64 labels, numbered by first appearance.

    Raises:
        UserError: an embedding is zero or not finite, or the numbers contradict each other.
    """
    units = unit_vectors(embeddings)
    smallest, largest = _bounds(len(units), clusters, minimum, maximum)
    if len(units) < 2:
        return np.zeros(len(units), dtype=np.int64)
    laplacian = _laplacian(units, max(neighbours, int(np.ceil(kept_share * len(units)))))
    searched = min(max(largest, _SEARCHED), len(units) - 1)
    values, vectors = eigh(laplacian, subset_by_index=(0, searched))
    number = smallest
    if smallest < largest:  # looked for beyond the maximum: inside a bound that is too low all eigenvalues are 0, and a gap is chance
        number = min(smallest + int(np.argmax(np.diff(values)[smallest - 1 :])), largest)
    return first_appearance(_k_means(vectors[:, :number], number, random))


def reassign_small(embeddings: ArrayLike, labels: ArrayLike, smallest: int) -> Labels:
    """Dissolve clusters with fewer than `smallest` items into the nearest of the others, by cosine of centroids.

    Args:
        embeddings: (items, dimensions).
        labels: (items,) of 0 or more.
        smallest: number of items that makes a cluster; where none has as many, everything stays as it is.

    Returns:
        (items,) int64 labels, numbered by first appearance.

    Raises:
        UserError: an embedding is zero or not finite, or there is not one label per embedding.

    >>> reassign_small([[1.0, 0.0], [1.0, 0.1], [0.0, 1.0], [0.0, 1.0], [0.5, 0.4]], [0, 0, 1, 1, 2], smallest=2).tolist()
    [0, 0, 1, 1, 0]
    """
    units, numbers = unit_vectors(embeddings), np.asarray(labels, dtype=np.int64)
    if numbers.shape != (len(units),):
        raise UserError(f"clustering: expected one label for each of {len(units)} embeddings, got shape {numbers.shape}")
    numbers = first_appearance(numbers)
    sizes = np.bincount(numbers)
    large = np.flatnonzero(sizes >= smallest)
    if not len(large) or len(large) == len(sizes):
        return numbers
    centroids = np.stack([units[numbers == number].mean(axis=0) for number in range(len(sizes))])
    centroids /= np.maximum(np.linalg.norm(centroids, axis=1, keepdims=True), 1e-12)
    target = np.arange(len(sizes))
    small = np.flatnonzero(sizes < smallest)
    target[small] = large[np.argmax(centroids[small] @ centroids[large].T, axis=1)]
    return first_appearance(target[numbers])


def unit_vectors(embeddings: ArrayLike) -> Floats:
    """Return embeddings with length 1, (items, dimensions) float64.

    Raises:
        UserError: not a matrix, or a row is zero or not finite.
    """
    values = np.asarray(embeddings, dtype=np.float64)
    if values.size == 0:
        return np.zeros((0, 1))
    if values.ndim != 2:
        raise UserError(f"clustering: expected embeddings as (items, dimensions), got shape {values.shape}")
    lengths = np.linalg.norm(values, axis=1)
    bad = np.flatnonzero(~(np.isfinite(lengths) & (lengths > 0)))
    if len(bad):
        raise UserError(f"clustering: {len(bad)} embeddings are zero or not finite, first at row {bad[0]}; leave them out")
    units: Floats = values / lengths[:, None]
    return units


def first_appearance(labels: ArrayLike) -> Labels:
    """Number labels by first appearance.

    >>> first_appearance([7, 3, 7, 5]).tolist()
    [0, 1, 0, 2]
    """
    _, first, inverse = np.unique(np.asarray(labels), return_index=True, return_inverse=True)
    ranks = np.empty(len(first), dtype=np.int64)
    ranks[np.argsort(first)] = np.arange(len(first))
    numbered: Labels = ranks[inverse]
    return numbered


def _bounds(items: int, clusters: int | None, minimum: int, maximum: int | None) -> tuple[int, int]:
    """Return the smallest and largest number of clusters."""
    if clusters is not None:
        minimum = maximum = clusters
    if minimum < 1 or (maximum is not None and maximum < minimum):
        raise UserError(f"clustering: expected 1 <= minimum <= maximum number of clusters, got {minimum} and {maximum}")
    largest = items if maximum is None else min(maximum, items)
    return min(minimum, items), largest


def _cut(tree: Floats, number: int) -> Labels:
    """Return labels (items,) after all but the last `number` - 1 merges."""
    items = len(tree) + 1
    labels = np.arange(2 * items - 1)
    for merge in range(items - number - 1, -1, -1):  # from the top down, every cluster hands its label to its two parts
        labels[tree[merge, :2].astype(np.int64)] = labels[items + merge]
    return labels[:items]


def _laplacian(units: Floats, kept: int) -> Floats:
    """Return D - A (items, items) of the symmetrised graph of the `kept` strongest positive affinities of each row."""
    affinity = np.maximum(np.round(units @ units.T, 12), 0.0)  # rounded: equal points must tie
    if kept < len(units):
        weakest = -np.partition(-affinity, kept - 1, axis=1)[:, kept - 1 : kept]
        affinity = np.where(affinity >= weakest, affinity, 0.0)
    affinity = (affinity + affinity.T) / 2.0
    np.fill_diagonal(affinity, 0.0)
    laplacian: Floats = np.diag(affinity.sum(axis=1)) - affinity
    return laplacian


def _k_means(points: Floats, number: int, random: np.random.Generator) -> Labels:
    """Return the best labels (items,) of several starts; every one of `number` <= items clusters has a member."""
    best, least = np.zeros(len(points), dtype=np.int64), np.inf
    for _ in range(_RESTARTS if number > 1 else 0):
        centres, labels = _spread(points, number, random), np.full(len(points), -1)
        for _ in range(_ROUNDS):
            distances = ((points[:, None] - centres[None]) ** 2).sum(axis=2)  # (items, number)
            before, labels = labels, _without_empty(distances)
            if (labels == before).all():
                break
            centres = np.stack([points[labels == cluster].mean(axis=0) for cluster in range(number)])
        cost = float(distances[np.arange(len(points)), labels].sum())
        if cost < least:
            best, least = labels, cost
    return best


def _spread(points: Floats, number: int, random: np.random.Generator) -> Floats:
    """Choose starting centres as k-means++ does: the farther from those chosen, the likelier."""
    chosen = [int(random.integers(len(points)))]
    nearest = np.full(len(points), np.inf)
    while len(chosen) < number:
        nearest = np.minimum(nearest, ((points - points[chosen[-1]]) ** 2).sum(axis=1))
        total = nearest.sum()
        chosen.append(int(random.choice(len(points), p=nearest / total if total > 0 else None)))
    return points[chosen]


def _without_empty(distances: Floats) -> Labels:
    """Assign items to the nearest centre, and to a centre without items the one that is worst off in a larger cluster."""
    labels: Labels = np.argmin(distances, axis=1)
    for empty in np.flatnonzero(np.bincount(labels, minlength=distances.shape[1]) == 0).tolist():
        own = distances[np.arange(len(labels)), labels]
        movable = np.bincount(labels, minlength=distances.shape[1])[labels] > 1
        labels[int(np.argmax(np.where(movable, own, -1.0)))] = empty
    return labels
