"""Names for the speakers of a stream: centroids that are opened and moved as people are heard, and never renamed.

Problem: a stream is named as it comes, so a wrong name cannot be taken back, and a centroid moved by a few noisy frames drags a name
from one person to another. Choice: the rules of diart. A local speaker counts from an activation of `tau` on; the local speakers of a
step are matched one to one with the known ones; who is farther than `delta` from all that are free opens a new name, if heard for long
enough (mean activation `rho`), and otherwise takes the nearest free one; only speakers heard for that long move a centroid, which is a
running sum of directions. The very first speaker has nobody to be confused with and needs no such length. The state is one matrix,
whatever the length of the stream. Rejected: clustering anew over a growing memory, which renames.
Source: Coria et al. 2021 (arXiv 2109.06483) and its implementation, diart.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from auscult.errors import UserError
from auscult.serving.speaker_assignment import UNASSIGNED, cosine_distances, unit_vectors

_TAKEN = 1e3
"""A distance no pair has."""


@dataclass(frozen=True)
class OnlineRules:
    """When a voice is somebody, and when somebody new.

    Attributes:
        tau: largest activation from which on a local speaker counts.
        rho: mean activation over a full window from which on a speaker may open or move a centroid.
        delta: cosine distance above which a voice is a new one; None takes that of half the diarizer's threshold, because one embedding
            is noisier than the mean of a cluster, and a name that was opened stays.
        most: speakers a stream can have.
    """

    tau: float = 0.6
    rho: float = 0.3
    delta: float | None = None
    most: int = 20

    def __post_init__(self) -> None:
        if not (0 <= self.tau <= 1 and 0 <= self.rho <= 1 and self.most >= 1 and (self.delta is None or 0 <= self.delta <= 2)):
            raise UserError(f"{self}: expected tau and rho from 0 to 1, delta from 0 to 2, and at least one speaker")


class OnlineSpeakers:
    """The speakers heard so far.

    Args:
        rules: thresholds.
        delta: cosine distance above which a voice is a new one.

    Attributes:
        sums: (known speakers, dimensions) running sums of directions.
    """

    def __init__(self, rules: OnlineRules, delta: float) -> None:
        self.rules, self.delta = rules, delta
        self.sums: NDArray[np.float64] = np.zeros((0, 0))

    def assign(self, embeddings: NDArray[np.floating], probabilities: NDArray[np.floating], frames: int) -> NDArray[np.int64]:
        """Name the local speakers of one window.

        Args:
            embeddings: (speakers, dimensions), not finite where there is none.
            probabilities: (frames so far, speakers).
            frames: of a full window, over which activations are averaged; a stream's first windows are shorter.

        Returns:
            (speakers,) int64 number of each, from 0 in the order of appearance, or `UNASSIGNED`.
        """
        known = np.isfinite(embeddings).all(axis=1) & (np.abs(embeddings) > 0).any(axis=1)
        active = probabilities.max(axis=0) >= self.rules.tau
        long = active & known & (probabilities.sum(axis=0) / frames >= self.rules.rho)
        labels = np.full(len(active), UNASSIGNED, dtype=np.int64)
        if not len(self.sums):
            self.sums = np.zeros((0, embeddings.shape[1]))
        self._match(labels, embeddings, active & known)
        self._open_or_settle(labels, embeddings, active & known, long)
        directions = unit_vectors(embeddings)
        for speaker in np.flatnonzero(long & (labels != UNASSIGNED)).tolist():
            self.sums[labels[speaker]] += directions[speaker]
        return labels

    def _match(self, labels: NDArray[np.int64], embeddings: NDArray[np.floating], present: NDArray[np.bool_]) -> None:
        """Give local speakers the known ones they are near to, one to one."""
        rows = np.flatnonzero(present)
        if len(rows) and len(self.sums):
            distances = cosine_distances(embeddings[rows], self.sums)
            for row, column in zip(*linear_sum_assignment(np.where(distances > self.delta, _TAKEN, distances)), strict=True):
                if distances[row, column] <= self.delta:
                    labels[rows[row]] = column

    def _open_or_settle(
        self, labels: NDArray[np.int64], embeddings: NDArray[np.floating], present: NDArray[np.bool_], long: NDArray[np.bool_]
    ) -> None:
        """Open a name for who is far from all and heard for long; give the others the nearest free one, if there is one."""
        for speaker in np.flatnonzero(present & (labels == UNASSIGNED)).tolist():
            if (long[speaker] or not len(self.sums)) and len(self.sums) < self.rules.most:
                labels[speaker] = len(self.sums)
                self.sums = np.concatenate([self.sums, np.zeros((1, self.sums.shape[1]))])
                self.sums[-1] += 1e-9 * unit_vectors(embeddings[speaker])  # a direction from the first moment on
        for speaker in np.flatnonzero(present & (labels == UNASSIGNED)).tolist():
            free = np.setdiff1d(np.arange(len(self.sums)), labels)
            if len(free):
                labels[speaker] = free[cosine_distances(embeddings[speaker], self.sums[free]).argmin()]
