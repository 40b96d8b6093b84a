"""Scores by products of gathered rows against loops over trials; and a file that is given its neighbour's crops."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from auscult.errors import UserError
from auscult.metrics import embedding_scores
from auscult.metrics.detection import equal_error_rate
from auscult.metrics.embedding_scores import (
    cohort_of,
    cohort_statistics,
    cosine_scores,
    crop_distance_scores,
    embeddings_in_order,
    normalised_scores,
)

FILES, CROPS, DIMENSIONS, TRIALS = 23, 10, 16, 301


@pytest.fixture
def trials() -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    first, second = np.random.default_rng(1).integers(0, FILES, size=(2, TRIALS))
    return first, second


def cosine(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    return float(one @ other / np.linalg.norm(one) / np.linalg.norm(other))


def slow_crop_score(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    distances = [np.linalg.norm(a / np.linalg.norm(a) - b / np.linalg.norm(b)) for a in one for b in other]
    return -float(np.mean(distances))


def slow_normalised(embeddings: NDArray[np.float64], first: int, second: int, cohort: NDArray[np.float64], top: int) -> float:
    score = cosine(embeddings[first], embeddings[second])
    terms = []
    for file in (first, second):
        nearest = sorted((cosine(embeddings[file], one) for one in cohort), reverse=True)[:top]
        terms.append((score - np.mean(nearest)) / np.std(nearest))
    return float(sum(terms) / 2)


@pytest.mark.parametrize("chunk", [1, 50, 1 << 18])
def test_equals_the_loop_over_trials(
    chunk: int, trials: tuple[NDArray[np.int64], NDArray[np.int64]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedding_scores, "_CHUNK_VALUES", chunk)
    random = np.random.default_rng(0)
    single, crops = random.normal(size=(FILES, DIMENSIONS)) * 9, random.normal(size=(FILES, CROPS, DIMENSIONS)) * 9
    expected = [cosine(single[one], single[other]) for one, other in zip(*trials, strict=True)]
    assert cosine_scores(single, *trials) == pytest.approx(expected, abs=1e-6)
    expected = [slow_crop_score(crops[one], crops[other]) for one, other in zip(*trials, strict=True)]
    assert crop_distance_scores(crops, *trials) == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("rows", [1, 7, 256])
def test_normalisation_equals_the_loop(
    rows: int, trials: tuple[NDArray[np.int64], NDArray[np.int64]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedding_scores, "_COHORT_ROWS", rows)
    random = np.random.default_rng(0)
    embeddings, cohort = random.normal(size=(FILES, DIMENSIONS)) + 1, random.normal(size=(30, DIMENSIONS)) + 1
    for centre in (False, True):
        mean = cohort.mean(axis=0) if centre else 0.0
        for top, kept in ((5, 5), (30, 30), (None, 30), (300, 30)):
            expected = [slow_normalised(embeddings - mean, one, other, cohort - mean, kept) for one, other in zip(*trials, strict=True)]
            found = normalised_scores(embeddings, *trials, cohort, top=top, centre=centre)
            assert found == pytest.approx(expected, abs=2e-3)


def test_normalisation_serves_speakers_who_sound_like_everybody() -> None:
    """Some speakers are near everyone (they share a direction): their non-target scores rise, and no one threshold serves all."""
    random = np.random.default_rng(0)
    shared, speaker = random.normal(size=64), np.repeat(np.arange(30), 6)
    ordinary = random.uniform(0.0, 2.0, size=30)
    voices = random.normal(size=(30, 64)) + ordinary[:, None] * shared
    embeddings = voices[speaker] + random.normal(size=(180, 64))
    cohort = random.normal(size=(400, 64)) + random.uniform(0.0, 2.0, size=(400, 1)) * shared
    first, second = np.triu_indices(180, 1)
    target = speaker[first] == speaker[second]
    raw = equal_error_rate(cosine_scores(embeddings, first, second), target)
    for top in (100, None):
        normalised = normalised_scores(embeddings, first, second, cohort, top=top, centre=False)
        assert equal_error_rate(normalised, target) < 0.8 * raw


def test_a_file_scores_highest_against_itself() -> None:
    crops = np.random.default_rng(0).normal(size=(4, CROPS, DIMENSIONS))
    same = np.repeat(crops[:, :1], CROPS, axis=1)
    assert crop_distance_scores(same, [2], [2])[0] == pytest.approx(0.0, abs=1e-3)
    assert cosine_scores(crops[:, 0], [2], [2])[0] == pytest.approx(1.0, abs=1e-6)


def identity_model(number: int, files: int) -> NDArray[np.float32]:
    """Ten crops of one file: the embedding says which file it heard."""
    return np.tile(np.eye(files, dtype=np.float32)[number], (CROPS, 1))


def misassigned(outputs: NDArray[np.float32], batch: int) -> NDArray[np.float32]:
    """The planted bug: (batch * crops) outputs regrouped as if crops came first, so file f gets the crop of (f//B)*B + (f%B)//10."""
    files = len(outputs)
    rows = []
    for file in range(files):
        start = file // batch * batch
        size = min(batch, files - start)
        flat = outputs[start : start + size].reshape(size * CROPS, -1)
        rows.append(np.tile(flat[file - start], (CROPS, 1)))
    return np.stack(rows)


def test_every_file_gets_its_own_crops() -> None:
    """With a model that recognises files, target trials of a file's two names are perfect by id, and mostly wrong by position."""
    files = 40
    ids = [f"file-{number:02d}" for number in range(files)]
    heard = {one: identity_model(number, files) for number, one in enumerate(ids)}
    order = np.random.default_rng(0).permutation(files)  # the list names files in another order than they were embedded in
    found = embeddings_in_order({one: heard[one] for one in ids}, [ids[number] for number in order])
    assert [int(row[0].argmax()) for row in found] == order.tolist()
    assert (found == found[:, :1]).all()

    wrong = misassigned(np.stack([heard[one] for one in ids]), batch=16)
    assert sum(int(row[0].argmax()) == number for number, row in enumerate(wrong)) < files / 4
    first, second = np.triu_indices(2 * files, 1)  # each file twice: by id, and as another recording that sounds the same
    target = first % files == second % files
    twice = np.concatenate([found[np.argsort(order)], np.stack([heard[one] for one in ids])])
    assert equal_error_rate(crop_distance_scores(twice, first, second), target) == 0.0
    broken = np.concatenate([wrong, np.stack([heard[one] for one in ids])])
    assert equal_error_rate(crop_distance_scores(broken, first, second), target) > 0.2


def test_the_cohort_is_the_mean_of_each_speaker() -> None:
    embeddings = np.arange(10, dtype=np.float32).reshape(5, 2)
    cohort = cohort_of(embeddings, ["é", "b", "é", "a", "b"])
    assert cohort.tolist() == [embeddings[3].tolist(), embeddings[[1, 4]].mean(axis=0).tolist(), embeddings[[0, 2]].mean(axis=0).tolist()]


def test_bad_embeddings_are_refused() -> None:
    good = np.ones((3, 4)) + np.eye(3, 4)
    for bad, words in ((np.nan, "file 1 is zero or not finite"), (np.inf, "file 1 is zero or not finite")):
        broken = good.copy()
        broken[1, 2] = bad
        with pytest.raises(UserError, match=words):
            cosine_scores(broken, [0], [2])
    with pytest.raises(UserError, match="file 2 is zero"):
        cosine_scores(good * np.array([[1], [1], [0]]), [0], [1])
    with pytest.raises(UserError, match=r"expected \(files, crops, dimensions\)"):
        crop_distance_scores(good, [0], [1])
    for first, second in (([0], [3]), ([-1], [0])):
        with pytest.raises(UserError, match="outside the 3 embeddings"):
            cosine_scores(good, first, second)
    with pytest.raises(UserError, match="integer indices"):
        cosine_scores(good, [0.0], [1.0])
    with pytest.raises(UserError, match=r"1 of 2 files have none, first \"speaker-b\" \(did you mean"):
        embeddings_in_order({"speaker-a": [1.0]}, ["speaker-a", "speaker-b"])
    with pytest.raises(UserError, match='"b" has shape'):
        embeddings_in_order({"a": [1.0], "b": [1.0, 2.0]}, ["a", "b"])
    with pytest.raises(UserError, match="no files"):
        embeddings_in_order({}, [])


def test_bad_cohorts_are_refused() -> None:
    good = np.random.default_rng(0).normal(size=(3, 4))
    with pytest.raises(UserError, match="one voice"):
        cohort_statistics(good, np.ones((5, 4)))
    with pytest.raises(UserError, match="have no spread"):
        cohort_statistics(good, good[:1])
    with pytest.raises(UserError, match="to go with embeddings"):
        normalised_scores(good, [0], [1], np.ones((5, 3)))
    with pytest.raises(UserError, match="a speaker each"):
        cohort_of(good, ["a"])
