"""VBx: the hidden Markov model against every path, the bound, speakers given up, and neighbours in time."""

from __future__ import annotations

from itertools import pairwise, product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from auscult.errors import UserError
from auscult.ops.clustering import agglomerative, first_appearance
from auscult.ops.vbx import forward_backward, vbx


def conversation(
    speakers: int, noise: float, seed: int, items: int = 240, dimensions: int = 64
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Embeddings of speakers who keep the floor for ten items on average."""
    random = np.random.default_rng(seed)
    truth = [0]
    while len(truth) < items:
        truth.append(truth[-1] if random.random() < 0.9 else int(random.integers(speakers)))
    centres = random.normal(size=(speakers, dimensions))
    return centres[truth] + noise * random.normal(size=(items, dimensions)), first_appearance(truth)


@given(st.integers(0, 1000), st.sampled_from([0.0, 0.5, 0.9]))
def test_the_posterior_agrees_with_the_sum_over_all_paths(seed: int, loop: float) -> None:
    random = np.random.default_rng(seed)
    log_p, priors = random.normal(scale=3, size=(5, 3)) - 500.0, random.dirichlet(np.ones(3))
    moves = loop * np.eye(3) + (1 - loop) * priors
    total, gamma = 0.0, np.zeros((5, 3))
    for path in product(range(3), repeat=5):
        weight = priors[path[0]] * np.exp(sum(log_p[item, state] + 500.0 for item, state in enumerate(path)))
        weight *= np.prod([moves[one, other] for one, other in pairwise(path)])
        total += weight
        gamma[np.arange(5), path] += weight
    posterior = forward_backward(log_p, priors, loop)
    np.testing.assert_allclose(posterior.gamma, gamma / total, rtol=1e-9)
    assert posterior.log_likelihood == pytest.approx(np.log(total) - 5 * 500.0)
    assert posterior.priors.sum() == pytest.approx(1)


@pytest.mark.parametrize("speakers", [1, 2, 4])
@pytest.mark.parametrize("noise", [0.5, 1.0, 1.5])
@pytest.mark.parametrize("seed", [0, 1])
def test_from_too_many_clusters_to_the_speakers(speakers: int, noise: float, seed: int) -> None:
    embeddings, truth = conversation(speakers, noise, seed)
    start = agglomerative(embeddings, clusters=10)
    refined = vbx(embeddings, start)
    assert len(np.unique(start)) == 10
    assert refined.responsibilities.shape == (len(truth), speakers)
    assert (refined.labels == truth).mean() > 0.98
    assert np.argmax(refined.responsibilities, axis=1).tolist() == refined.labels.tolist()
    assert refined.responsibilities.sum(axis=1) == pytest.approx(1)


@given(st.integers(0, 50), st.sampled_from([0.0, 0.9]), st.sampled_from([0.07, 0.3, 1.0]))
def test_the_bound_does_not_fall(seed: int, loop: float, scale: float) -> None:
    embeddings, _ = conversation(3, 2.0, seed, items=60, dimensions=16)
    bounds = vbx(embeddings, agglomerative(embeddings, clusters=6), loop_probability=loop, acoustic_scale=scale, tolerance=0.0).bounds
    assert len(bounds) > 1
    assert (np.diff(bounds) > -1e-7 * np.abs(bounds[-1])).all()


def test_neighbours_in_time_help_where_a_voice_is_unclear() -> None:
    embeddings, truth = conversation(2, 2.0, seed=0, dimensions=16)
    start = np.where(np.arange(len(truth)) % 7 == 3, 1 - truth, truth)
    wrong = {}
    for loop in (0.0, 0.9):
        differ = (vbx(embeddings, start, loop_probability=loop, acoustic_scale=1.0).labels != truth).mean()
        wrong[loop] = min(differ, 1 - differ)  # two speakers, numbered by the first item, which may be the wrong one
    assert wrong[0.9] < 0.5 * wrong[0.0]


def test_without_a_sequence_the_order_of_items_decides_nothing() -> None:
    embeddings, _ = conversation(3, 1.0, seed=2)
    start, order = agglomerative(embeddings, clusters=8), np.random.default_rng(0).permutation(240)
    straight = vbx(embeddings, start, loop_probability=0.0).labels[order]
    assert first_appearance(straight).tolist() == vbx(embeddings[order], start[order], loop_probability=0.0).labels.tolist()


def test_few_items() -> None:
    assert vbx([], []).labels.tolist() == []
    assert vbx([[1.0, 0.0]], [5]).labels.tolist() == [0]
    assert vbx([[1.0, 0.0], [0.0, 1.0]], [0, 1]).labels.tolist() == [0, 1]
    assert vbx(np.ones((6, 4)), [0, 1, 0, 1, 0, 1]).labels.tolist() == [0] * 6  # equal voices are one
    assert vbx([[1.0, 0.0]] * 3 + [[0.0, 1.0]] * 3, [0, 0, 0, 1, 1, 1]).labels.tolist() == [0, 0, 0, 1, 1, 1]


def test_variances_can_be_given() -> None:
    embeddings, truth = conversation(3, 0.5, seed=1)
    refined = vbx(embeddings, agglomerative(embeddings, clusters=9), within=0.2 / 64, between=0.8 / 64)
    assert refined.labels.tolist() == truth.tolist()


@pytest.mark.parametrize(
    ("labels", "options", "message"),
    [
        ([0], {}, "one label for each of 3 embeddings"),
        ([0, 1, 1], {"loop_probability": 1.0}, "0 <= loop_probability < 1"),
        ([0, 1, 1], {"acoustic_scale": 0.0}, "scales above 0"),
        ([0, 1, 1], {"rounds": 0}, "at least 1 round"),
        ([0, 1, 1], {"within": -1.0}, "variances of 0 or more"),
        ([0, 1, 1], {"between": float("nan")}, "variances of 0 or more"),
    ],
)
def test_refusals(labels: list[int], options: dict[str, float], message: str) -> None:
    with pytest.raises(UserError, match=message):
        vbx([[1.0, 0.0], [0.0, 1.0], [0.1, 1.0]], labels, **options)  # type: ignore[arg-type]
