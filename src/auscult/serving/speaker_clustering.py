"""How many people there are, and which local speakers of which windows are the same one.

Problem: embeddings of a few frames are mostly noise; put into a clustering they make people up, and left out they leave speech
without a speaker. Choice: two steps with different data. Only embeddings with enough clean speech decide how many clusters there
are and where they lie; afterwards every active local speaker is given to one of them (`speaker_assignment`). Where nobody has
enough clean speech, all embeddings decide. Rejected: one clustering of everything with a second pass that removes small clusters,
which also removes people who say little.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from auscult.ops.clustering import agglomerative, spectral
from auscult.serving.diarizer_settings import DiarizerSettings, Speakers
from auscult.serving.speaker_assignment import UNASSIGNED, assign_speakers, centroids_of

_FEWEST_FOR_SPECTRAL = 40
_MOST_SPEAKERS = 10
"""Most speakers the eigengap looks for where no limit is given."""


@dataclass(frozen=True)
class Clustered:
    """The cluster of every local speaker.

    Attributes:
        labels: (windows, speakers) int64, `UNASSIGNED` for who is not active.
        count: number of clusters.
    """

    labels: NDArray[np.int64]
    count: int


def cluster_speakers(
    embeddings: NDArray[np.floating],
    active: NDArray[np.bool_],
    clean: NDArray[np.floating],
    enough: float,
    wanted: Speakers,
    settings: DiarizerSettings,
) -> Clustered:
    """Find the people of a recording.

    Args:
        embeddings: (windows, speakers, dimensions), not finite where there is none.
        active: (windows, speakers) who speaks in which window.
        clean: (windows, speakers) seconds in which each speaks alone.
        enough: seconds alone above which an embedding helps to find the clusters.
        wanted: how many people there may be.
        settings: method and threshold.
    """
    known = active & np.isfinite(embeddings).all(axis=2) & (np.abs(embeddings) > 0).any(axis=2)
    usable = known & (clean >= enough)
    if usable.sum() < wanted.minimum:
        usable = known
    if not usable.any():  # nobody speaks long enough for an embedding: the numbers of the windows are all there is
        columns = np.arange(active.shape[1])
        kept = active if wanted.maximum is None else active & (columns < wanted.maximum)
        return Clustered(np.where(kept, columns, UNASSIGNED), active.shape[1])
    chosen = embeddings[usable]
    labels = _cluster(np.asarray(chosen, dtype=np.float64), wanted, settings)
    centroids = centroids_of(chosen, labels, np.maximum(clean[usable], 1e-3))
    return Clustered(assign_speakers(embeddings, active, centroids), len(centroids))


def _cluster(embeddings: NDArray[np.float64], wanted: Speakers, settings: DiarizerSettings) -> NDArray[np.int64]:
    """Return labels (items,); the eigengap needs about 40 embeddings, fewer are merged by threshold whatever the method."""
    if settings.clustering == "spectral" and len(embeddings) >= _FEWEST_FOR_SPECTRAL:
        largest = _MOST_SPEAKERS if wanted.maximum is None else wanted.maximum
        return spectral(embeddings, minimum=wanted.minimum, maximum=max(largest, wanted.minimum), random=np.random.default_rng(0))
    return agglomerative(embeddings, 1.0 - settings.threshold, minimum=wanted.minimum, maximum=wanted.maximum)
