"""Whether a reconstruction gives away who spoke, what was said, or which recording it was.

Problem: features can be far from the truth and still name the speaker, and near to it and say nothing; and a search that keeps the best
of several equal candidates finds the right one by the order of a list. Choice: scores of disclosure beside those of distance, counts
that can be added up, and **ties that count against the attack**: a constant reconstruction is as near to one recording as to every other
and ranks last, not first. Nearest neighbours are found after each side is brought to mean 0 and deviation 1, so that a reconstruction of
the wrong size is recognised by its shape, and over the frames that both have, so that the length, which many attacks are
told, cannot do the finding. The share of hits is the analogue of the identifiability precision of images (Yin et al. 2021).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence, Set
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from auscult.errors import UserError, did_you_mean
from auscult.metrics.embedding_scores import cohort_of, cosine_scores
from auscult.metrics.reconstruction import Array, checked_features


@dataclass(frozen=True)
class Found:
    """How much of what was there an attack has found.

    Attributes:
        hits: claimed and there.
        claimed: what the attack says is there.
        present: what is there.
    """

    hits: int
    claimed: int
    present: int

    @property
    def precision(self) -> float:
        """Hits over claims; of no claims 1 if nothing was there, otherwise 0."""
        return self.hits / self.claimed if self.claimed else float(self.present == 0)

    @property
    def recall(self) -> float:
        """Hits over what was there; 1 if nothing was."""
        return self.hits / self.present if self.present else 1.0

    @property
    def exact(self) -> bool:
        """Whether nothing was missed and nothing invented."""
        return self.hits == self.claimed == self.present

    def __add__(self, other: Found) -> Found:
        return Found(self.hits + other.hits, self.claimed + other.claimed, self.present + other.present)


@dataclass(frozen=True)
class Rank:
    """Where the right one of several candidates stands.

    Attributes:
        rank: 1 is the nearest; candidates that are as near as the right one stand before it.
        candidates: how many there are; 1 / candidates of hits are due to chance.
        distance: of the right one.
    """

    rank: int
    candidates: int
    distance: float

    @property
    def hit(self) -> bool:
        """Whether the right one is the nearest, without a tie."""
        return self.rank == 1

    def within(self, count: int) -> bool:
        """Return whether the right one is among so many nearest."""
        return self.rank <= count


def character_set_scores(truth: Set[Hashable], found: Set[Hashable]) -> Found:
    """Return how well the set of characters of a transcript was found; whether blanks and spaces count is the caller's choice.

    >>> scores = character_set_scores(set("cat"), set("caught"))
    >>> scores.precision, scores.recall, scores.exact
    (0.5, 1.0, False)
    """
    return Found(len(truth & found), len(found), len(truth))


def bag_of_words_scores(truth: str, found: str) -> Found:
    """Return how many words were found whatever their order; a word counts as often as it is in both.

    >>> bag_of_words_scores("the cat the dog", "dog the mouse")
    Found(hits=2, claimed=3, present=4)
    """
    there, claimed = Counter(truth.split()), Counter(found.split())
    return Found((there & claimed).total(), claimed.total(), there.total())


def nearest_neighbour_hit(pool: Sequence[ArrayLike], index: int, reconstruction: ArrayLike) -> Rank:
    """Return the rank of the own utterance among the true features of a pool.

    The distance is the mean squared difference of the features, each side normalised by its own mean and deviation over all its frames,
    over the frames that both have: 2 (1 - correlation) for equal lengths, 0 at best, 1 from a constant reconstruction.

    Args:
        pool: true features (frames, bins) of several utterances, the own one among them.
        index: of the own one.
        reconstruction: (frames, bins).

    Raises:
        UserError: fewer than two utterances, an index outside the pool, or features that do not fit.

    >>> nearest_neighbour_hit([[[0.0, 1.0]], [[1.0, 0.0]]], 0, [[0.2, 0.3]])
    Rank(rank=1, candidates=2, distance=0.0)
    """
    if len(pool) < 2 or not 0 <= index < len(pool):
        raise UserError(f"neighbours: utterance {index} of a pool of {len(pool)}; at least one other utterance is needed")
    found = _standardised(checked_features(reconstruction, "the reconstruction"))
    distances = []
    for number, one in enumerate(pool):
        true = _standardised(checked_features(one, f"utterance {number} of the pool"))
        if true.shape[1] != found.shape[1]:
            raise UserError(f"neighbours: utterance {number} has {true.shape[1]} bins, the reconstruction {found.shape[1]}")
        frames = min(len(true), len(found))
        distances.append(float(np.square(true[:frames] - found[:frames]).mean()))
    return _rank(np.array(distances), index)


def speaker_rank(query: ArrayLike, gallery: ArrayLike, speakers: Sequence[str], true_speaker: str) -> Rank:
    """Return the rank of the true speaker among enrolled ones; `within(1)` and `within(5)` are top-1 and top-5.

    The distance is 1 - cosine to the mean embedding of each speaker.

    Args:
        query: (dimensions,) embedding of the reconstructed utterance.
        gallery: (recordings, dimensions) enrolment, which must not hold the attacked utterance itself.
        speakers: (recordings,) who speaks in each.
        true_speaker: one of them.

    Raises:
        UserError: shapes that do not fit, an embedding without direction, a speaker who is not enrolled, or only one who is.

    >>> speaker_rank([1.0, 0.1], [[1.0, 0.0], [0.0, 1.0]], ["ann", "bob"], "ann").rank
    1
    """
    names = sorted(set(speakers))
    if true_speaker not in names:
        raise UserError(f'speakers: "{true_speaker}" is not enrolled{did_you_mean(true_speaker, names)}; enrol every attacked speaker')
    if len(names) < 2:
        raise UserError(f'speakers: "{true_speaker}" is the only one enrolled, and is found by any embedding; enrol others')
    centres = cohort_of(gallery, speakers)
    asked = np.asarray(query, dtype=np.float32)
    if asked.shape != centres.shape[1:]:
        raise UserError(f"speakers: the query has shape {asked.shape}, the enrolled embeddings {centres.shape[1:]}; use one model for both")
    embeddings = np.concatenate([asked[None], centres])
    cosines = cosine_scores(embeddings, np.zeros(len(names), dtype=np.int64), np.arange(1, len(names) + 1))
    return _rank(1.0 - cosines.astype(np.float64), names.index(true_speaker))


def _standardised(features: Array) -> Array:
    """Return features of mean 0 and deviation 1, or zeros if they are constant."""
    centred = features - features.mean()
    deviation = float(centred.std())
    return centred / deviation if deviation > 1e-12 * max(1.0, float(np.abs(features).max())) else np.zeros_like(features)


def _rank(distances: Array, index: int) -> Rank:
    own = float(distances[index])
    return Rank(int(np.sum(distances <= own + 1e-12 * abs(own))), len(distances), own)
