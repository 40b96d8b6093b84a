"""Clustering: synthetic speakers are found, numbers are obeyed, and nothing depends on chance or order that should not."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.cluster.hierarchy import fcluster, linkage

from auscult.errors import UserError
from auscult.ops.clustering import agglomerative, first_appearance, reassign_small, spectral, unit_vectors

Method = Callable[..., NDArray[np.int64]]


def spectral_seeded(embeddings: object, **options: object) -> NDArray[np.int64]:
    return spectral(embeddings, random=np.random.default_rng(0), **options)  # type: ignore[arg-type]


METHODS = (agglomerative, spectral_seeded)


def speakers(sizes: list[int], noise: float = 0.5, seed: int = 0, dimensions: int = 64) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Embeddings around random directions, shuffled; `noise` is the length of the deviation: cosines of 1 / (1 + noise^2) within."""
    random = np.random.default_rng(seed)
    truth = random.permutation(np.repeat(np.arange(len(sizes)), sizes))
    centres = random.normal(size=(len(sizes), dimensions)) / np.sqrt(dimensions)
    deviations = random.normal(size=(len(truth), dimensions)) * noise / np.sqrt(dimensions)
    lengths = random.uniform(0.1, 10.0, (len(truth), 1))
    return (centres[truth] + deviations) * lengths, first_appearance(truth)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("sizes", [[60], [30, 30], [40, 25, 15, 20], [25] * 8, [100, 30]])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_speakers_are_found_and_counted(method: Method, sizes: list[int], seed: int) -> None:
    embeddings, truth = speakers(sizes, seed=seed)
    assert method(embeddings).tolist() == truth.tolist()


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_centroids_find_them_at_their_own_threshold(seed: int) -> None:
    embeddings, truth = speakers([40, 25, 15], seed=seed)
    assert agglomerative(embeddings, threshold=0.3, linkage="centroid").tolist() == truth.tolist()


@pytest.mark.parametrize("method", METHODS)
def test_numbers_that_are_given_are_obeyed(method: Method) -> None:
    embeddings, truth = speakers([20, 20, 20])
    for number in (1, 2, 3, 5, 60, 70):
        assert len(np.unique(method(embeddings, clusters=number))) == min(number, 60)
    assert len(np.unique(method(embeddings, minimum=5, maximum=8))) >= 5
    assert len(np.unique(method(embeddings, maximum=2))) == 2
    assert method(embeddings, minimum=2, maximum=4).tolist() == truth.tolist()
    assert method(embeddings, clusters=3).tolist() == truth.tolist()


@pytest.mark.parametrize("method", METHODS)
def test_few_points(method: Method) -> None:
    assert method([]).tolist() == []
    assert method(np.zeros((0, 8))).tolist() == []
    assert method([[1.0, 2.0]]).tolist() == [0]
    assert method([[1.0, 2.0]], clusters=3).tolist() == [0]
    assert method([[1.0, 0.0], [1.0, 0.1]]).tolist() == [0, 0]
    assert method([[1.0, 0.0], [0.0, 1.0]], clusters=2).tolist() == [0, 1]


def test_two_opposite_points() -> None:
    assert agglomerative([[1.0, 0.0], [-1.0, 0.0]]).tolist() == [0, 1]
    assert agglomerative([[1.0, 0.0], [-1.0, 0.0]], threshold=2.0).tolist() == [0, 0]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("items", [2, 5, 8, 12, 40, 60])
@pytest.mark.parametrize("seed", range(8))
def test_equal_points_are_one_speaker_unless_a_number_is_forced(method: Method, items: int, seed: int) -> None:
    """Their cosines differ in the last bit, and a graph of nearest neighbours must not be made of that."""
    random = np.random.default_rng(seed)
    same = random.normal(size=64) * random.uniform(0.1, 10.0, (items, 1))
    assert method(same).tolist() == [0] * items
    assert len(np.unique(method(same, clusters=2))) == 2  # `fcluster` would give one


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("seed", range(5))
def test_the_order_of_items_decides_nothing_but_the_numbering(method: Method, seed: int) -> None:
    embeddings, truth = speakers([20, 15, 30], noise=0.7, seed=seed)
    order = np.random.default_rng(seed).permutation(len(truth))
    assert first_appearance(method(embeddings)[order]).tolist() == method(embeddings[order]).tolist()
    assert method(embeddings).tolist() == method(embeddings * 3.0).tolist()


@given(st.integers(0, 10_000), st.sampled_from(["average", "centroid"]), st.integers(1, 12))
def test_agrees_with_scipy_on_forced_numbers(seed: int, method: str, number: int) -> None:
    embeddings = np.random.default_rng(seed).normal(size=(12, 5))
    units = unit_vectors(embeddings)
    if method == "average":
        tree = linkage(units, "average", metric="cosine")
        expected = first_appearance(fcluster(tree, number, "maxclust"))
        assert agglomerative(embeddings, clusters=number).tolist() == expected.tolist()
    else:
        tree = linkage(units, "centroid")
        merges = (np.diff(tree[:, 2]) < 0).any()  # inversions: scipy then gives fewer clusters than asked for
        got = agglomerative(embeddings, clusters=number, linkage="centroid")
        assert len(np.unique(got)) == number
        if not merges:
            assert got.tolist() == first_appearance(fcluster(tree, number, "maxclust")).tolist()


@given(st.integers(0, 1000))
def test_a_higher_threshold_only_merges(seed: int) -> None:
    embeddings = np.random.default_rng(seed).normal(size=(15, 4))
    nested = [agglomerative(embeddings, threshold) for threshold in (0.0, 0.2, 0.5, 1.0, 2.0)]
    for fine, coarse in pairwise(nested):
        assert len(np.unique(np.stack([fine, coarse]), axis=1).T) == len(np.unique(fine))
    assert len(np.unique(nested[-1])) == 1


def test_the_threshold_of_centroids_is_a_cosine_distance() -> None:
    pair = [[1.0, 0.0], [np.cos(1.0), np.sin(1.0)]]
    distance = 1 - np.cos(1.0)
    for linkage_name in ("average", "centroid"):
        assert agglomerative(pair, distance + 1e-9, linkage=linkage_name).tolist() == [0, 0]  # type: ignore[arg-type]
        assert agglomerative(pair, distance - 1e-9, linkage=linkage_name).tolist() == [0, 1]  # type: ignore[arg-type]


def test_labels_are_numbered_by_first_appearance() -> None:
    labels = agglomerative(speakers([10, 10, 10], seed=3)[0])
    firsts = [labels.tolist().index(number) for number in range(3)]
    assert firsts == sorted(firsts)


def test_spectral_depends_on_nothing_but_its_generator() -> None:
    embeddings = np.random.default_rng(1).normal(size=(50, 8))
    first, second = (spectral(embeddings, clusters=4, random=np.random.default_rng(7)) for _ in range(2))
    assert first.tolist() == second.tolist()


def test_small_clusters_join_the_nearest_large_one() -> None:
    embeddings, truth = speakers([20, 20, 20], seed=1)
    split = truth.copy()
    split[np.flatnonzero(truth == 1)[:3]] = 9
    assert len(np.unique(split)) == 4
    assert reassign_small(embeddings, split, smallest=4).tolist() == truth.tolist()
    assert reassign_small(embeddings, split, smallest=3).tolist() == first_appearance(split).tolist()
    assert reassign_small(embeddings, split, smallest=100).tolist() == first_appearance(split).tolist()  # nothing large to join


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    ("embeddings", "options", "message"),
    [
        ([[1.0, 0.0], [0.0, 0.0]], {}, "1 embeddings are zero or not finite, first at row 1"),
        ([[1.0, float("nan")]], {}, "first at row 0"),
        ([[1.0, float("inf")]], {}, "first at row 0"),
        ([1.0, 2.0], {}, r"expected embeddings as \(items, dimensions\)"),
        ([[1.0, 0.0]], {"clusters": 0}, "1 <= minimum <= maximum"),
        ([[1.0, 0.0]], {"minimum": 3, "maximum": 2}, "got 3 and 2"),
        ([[1.0, 0.0]], {"minimum": 0}, "1 <= minimum"),
    ],
)
def test_refusals(method: Method, embeddings: object, options: dict[str, int], message: str) -> None:
    with pytest.raises(UserError, match=message):
        method(embeddings, **options)


def test_unknown_linkage_and_missing_labels() -> None:
    with pytest.raises(UserError, match='expected "average" or "centroid"'):
        agglomerative([[1.0, 0.0]], linkage="ward")  # type: ignore[arg-type]
    with pytest.raises(UserError, match="one label for each of 1 embeddings"):
        reassign_small([[1.0, 0.0]], [0, 1], 2)
