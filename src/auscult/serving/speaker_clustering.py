"""How many people there are, and which local speakers of which windows are the same one.

Problem: embeddings of a few frames are mostly noise; put into a clustering they make people up, and left out they leave speech
without a speaker. Choice: two steps with different data. Only embeddings with enough clean speech decide how many clusters there
are and where they lie; afterwards every active local speaker is given to one of them (`speaker_assignment`). Where nobody has
enough clean speech, all embeddings decide. Somebody who never speaks alone for long is in no cluster, yet is heard together with those
who are: such a person is added, once, where that is heard for long enough. Rejected: one clustering of everything with a second pass
that removes small clusters, which also removes people who say little.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from auscult.ops.clustering import agglomerative, spectral
from auscult.ops.vbx import vbx
from auscult.serving.diarizer_settings import DiarizerSettings, Speakers
from auscult.serving.speaker_assignment import UNASSIGNED, assign_speakers, centroids_of

_FEWEST_FOR_SPECTRAL = 40
_MOST_CLUSTERED = 2000
"""Embeddings that are clustered at most, evenly spaced: time and memory grow with their square, and neighbours share most of a window."""
_TOGETHER = 0.2
"""Seconds in a window that somebody must speak together with the others to be somebody else."""
_TOGETHER_IN_ALL = 0.5
"""Seconds of the recording for which such a person must be heard to be added."""
_NEIGHBOURS_OF_WINDOWS = 2.0
"""Neighbours kept in the graph, in windows without overlap: with fewer, every stretch is near to nothing but its own copies."""
_TIGHTER = 0.5
"""Share of the distance threshold at which the clusters are cut that VBx starts from."""
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
    together: NDArray[np.floating],
    enough: float,
    wanted: Speakers,
    settings: DiarizerSettings,
) -> Clustered:
    """Find the people of a recording.

    Args:
        embeddings: (windows, speakers, dimensions), not finite where there is none.
        active: (windows, speakers) who speaks in which window.
        clean: (windows, speakers) seconds in which each speaks alone.
        together: (windows, speakers) seconds in which each speaks together with others.
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
    every = slice(None, None, -(-int(usable.sum()) // _MOST_CLUSTERED))
    chosen, weights = embeddings[usable][every], np.maximum(clean[usable][every], 1e-3)
    centroids = centroids_of(chosen, _cluster(np.asarray(chosen, dtype=np.float64), wanted, settings), weights)
    if wanted.allow(len(centroids) + 1):
        labels = assign_speakers(embeddings, active, centroids, together >= _TOGETHER)
        added = together[labels == len(centroids)].sum() * settings.hop  # a moment is seen by 1 / hop windows
        if added >= _TOGETHER_IN_ALL:
            return Clustered(labels, len(centroids) + 1)
    return Clustered(assign_speakers(embeddings, active, centroids), len(centroids))


def _cluster(embeddings: NDArray[np.float64], wanted: Speakers, settings: DiarizerSettings) -> NDArray[np.int64]:
    """Return labels (items,); the eigengap needs about 40 embeddings, fewer are merged by threshold whatever the method.

    VBx gives speakers up and adds none, so it starts from more and tighter clusters; where it ends outside the wanted numbers, the
    agglomerative answer within them stands.
    """
    if settings.clustering == "vbx":
        tight = agglomerative(embeddings, (1.0 - settings.threshold) * _TIGHTER)
        refined = vbx(embeddings, tight, loop_probability=0.0).labels
        if wanted.allow(int(refined.max()) + 1):
            return refined
    if settings.clustering == "spectral" and len(embeddings) >= _FEWEST_FOR_SPECTRAL:
        largest = _MOST_SPEAKERS if wanted.maximum is None else wanted.maximum
        neighbours = max(6, round(_NEIGHBOURS_OF_WINDOWS / settings.hop))
        bounds = {"minimum": wanted.minimum, "maximum": max(largest, wanted.minimum)}
        return spectral(embeddings, **bounds, random=np.random.default_rng(0), neighbours=neighbours)
    return agglomerative(embeddings, 1.0 - settings.threshold, minimum=wanted.minimum, maximum=wanted.maximum)
