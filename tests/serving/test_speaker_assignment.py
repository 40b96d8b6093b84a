"""Local speakers to clusters: two at once are two people, nobody who was found is lost, and order decides nothing."""

from __future__ import annotations

from itertools import permutations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from auscult.serving.speaker_assignment import (
    UNASSIGNED,
    assign_speakers,
    centroids_of,
    cluster_values,
    cosine_distances,
    keep_most_likely,
)

SEEDS = st.integers(0, 10_000)


@given(SEEDS, st.integers(1, 3), st.integers(1, 5))
def test_a_window_gives_different_clusters_as_long_as_there_are_enough(seed: int, speakers: int, clusters: int) -> None:
    random = np.random.default_rng(seed)
    embeddings, centroids = random.standard_normal((6, speakers, 4)), random.standard_normal((clusters, 4))
    active = random.random((6, speakers)) < 0.7
    labels = assign_speakers(embeddings, active, centroids)
    assert ((labels == UNASSIGNED) == ~active).all()
    for row in range(6):
        given_out = labels[row][active[row]]
        assert len(set(given_out.tolist())) == min(active[row].sum(), clusters)


@given(SEEDS)
def test_the_assignment_of_a_window_is_the_cheapest_of_all(seed: int) -> None:
    random = np.random.default_rng(seed)
    embeddings, centroids = random.standard_normal((1, 3, 4)), random.standard_normal((4, 4))
    distances = cosine_distances(embeddings[0], centroids)
    labels = assign_speakers(embeddings, np.ones((1, 3), dtype=bool), centroids)[0]
    cheapest = min(sum(distances[one, order[one]] for one in range(3)) for order in permutations(range(4), 3))
    assert np.isclose(sum(distances[one, labels[one]] for one in range(3)), cheapest)


def test_both_speakers_of_a_window_are_kept_apart_although_one_centroid_is_nearer_to_both() -> None:
    """Planted: the nearest centroid of each alone puts both into the louder voice's cluster."""
    voices = np.array([[[1.0, 0.1], [1.0, 0.4]]])
    assert cosine_distances(voices, np.eye(2)).argmin(axis=2).tolist() == [[0, 0]]
    assert assign_speakers(voices, np.ones((1, 2), dtype=bool), np.eye(2)).tolist() == [[0, 1]]


def test_who_is_left_over_joins_the_nearest_cluster_and_who_has_no_voice_takes_a_free_one() -> None:
    voices = np.array([[[1.0, 0.0], [1.0, 0.2], [0.0, 1.0]], [[1.0, 0.0], [np.nan, np.nan], [0.0, 0.0]]])
    active = np.array([[True, True, True], [True, True, False]])
    assert assign_speakers(voices, active, np.eye(2)).tolist() == [[0, 0, 1], [0, 1, UNASSIGNED]]
    silent = assign_speakers(voices[1:], np.array([[True, True, False]]), np.eye(2)[:1])
    assert silent.tolist() == [[0, UNASSIGNED, UNASSIGNED]]


def test_who_is_left_over_and_speaks_with_the_others_is_somebody_else() -> None:
    voices = np.array([[[1.0, 0.0], [1.0, 0.9], [1.0, 0.2]]])
    active = np.ones((1, 3), dtype=bool)
    one = np.eye(2)[:1]
    assert assign_speakers(voices, active, one).tolist() == [[0, 0, 0]]
    assert assign_speakers(voices, active, one, np.array([[True, True, False]])).tolist() == [[0, 1, 0]]
    assert assign_speakers(voices, active, one, np.array([[True, False, True]])).tolist() == [[0, 0, 1]]
    assert assign_speakers(voices, active, one, active).tolist() == [[0, 1, 0]]  # one more person at most, the farthest


def test_centroids_are_weighted_by_clean_speech() -> None:
    centroids = centroids_of(np.array([[2.0, 0.0], [0.0, 5.0], [0.0, 1.0]]), np.array([0, 0, 1]), np.array([3.0, 1.0, 1.0]))
    assert np.allclose(centroids, [np.array([3.0, 1.0]) / np.sqrt(10.0), [0.0, 1.0]])


def test_cluster_values_move_columns_and_keep_the_larger_where_two_are_one() -> None:
    values = np.array([[[0.1, 0.9], [0.3, 0.2]], [[0.5, 0.6], [0.7, 0.8]]])
    found = cluster_values(values, np.array([[2, 0], [1, 1]]), 3)
    assert found[0].tolist() == [[0.9, 0.0, 0.1], [0.2, 0.0, 0.3]]
    assert found[1].tolist() == [[0.0, 0.6, 0.0], [0.0, 0.8, 0.0]]
    assert not cluster_values(values, np.full((2, 2), UNASSIGNED), 3).any()


@given(SEEDS, st.integers(1, 5))
def test_as_many_as_counted_are_kept_and_never_a_less_likely_one(seed: int, clusters: int) -> None:
    random = np.random.default_rng(seed)
    scores = np.round(random.random((20, clusters)), 1)
    counts = random.integers(0, clusters + 2, 20)
    kept = keep_most_likely(scores, counts)
    assert (kept.sum(axis=1) == np.minimum(counts, (scores > 0).sum(axis=1))).all()
    for frame in range(20):
        if kept[frame].any() and not kept[frame].all():
            assert scores[frame][kept[frame]].min() >= scores[frame][~kept[frame]].max()
