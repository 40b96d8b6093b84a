"""Words, neighbours and speakers: known answers, and ties that must not look like leaks."""

from __future__ import annotations

import numpy as np
import pytest

from auscult.errors import UserError
from auscult.metrics.disclosure import Found, bag_of_words_scores, character_set_scores, nearest_neighbour_hit, speaker_rank


def pool(count: int = 20) -> list[np.ndarray]:
    random = np.random.default_rng(5)
    return [random.normal(size=(15 + number, 6)) for number in range(count)]


@pytest.mark.parametrize(
    ("truth", "found", "expected"),
    [
        ("abc", "abc", (1.0, 1.0, True)),
        ("abc", "ab", (1.0, 2 / 3, False)),
        ("ab", "abcd", (0.5, 1.0, False)),
        ("ab", "cd", (0.0, 0.0, False)),
        ("ab", "", (0.0, 0.0, False)),
        ("", "", (1.0, 1.0, True)),
        ("", "a", (0.0, 1.0, False)),
    ],
)
def test_character_sets(truth: str, found: str, expected: tuple[float, float, bool]) -> None:
    scores = character_set_scores(set(truth), set(found))
    assert (scores.precision, scores.recall, scores.exact) == pytest.approx(expected)


def test_counts_add_up() -> None:
    total = character_set_scores(set("abcd"), set("ab")) + character_set_scores(set("a"), set("ae"))
    assert total == Found(hits=3, claimed=4, present=5)


def test_bag_of_words_does_not_know_order_and_counts_repeats() -> None:
    assert bag_of_words_scores("a b b", "b a b").exact
    assert bag_of_words_scores("a b", "a a b b") == Found(2, 4, 2)


def test_the_own_utterance_is_found_through_scale_noise_and_a_wrong_length() -> None:
    features = pool()
    random = np.random.default_rng(0)
    for index, truth in enumerate(features):
        blurred = 0.01 * (truth + random.normal(size=truth.shape)) + 7
        found = nearest_neighbour_hit(features, index, blurred[:-3])
        assert found.hit
        assert found.candidates == 20
        assert 0 < found.distance < 1
    assert nearest_neighbour_hit(features, 4, features[4]).distance == pytest.approx(0.0, abs=1e-12)


def test_a_constant_reconstruction_ranks_last_wherever_it_stands() -> None:
    """It is as near to each; an argmin over a list would hit its first entry."""
    features = pool()
    for index in (0, 7, 19):
        found = nearest_neighbour_hit([one[:15] for one in features], index, np.zeros((15, 6)))
        assert (found.hit, found.rank) == (False, 20)
        assert found.distance == pytest.approx(1.0)


def test_chance_is_chance_also_where_the_length_is_known() -> None:
    features, random = pool(40), np.random.default_rng(1)
    ranks = [nearest_neighbour_hit(features, index, random.normal(size=one.shape)).rank for index, one in enumerate(features)]
    assert 12 < np.mean(ranks) < 29
    assert sum(rank == 1 for rank in ranks) <= 4


def test_speakers_are_ranked_among_all_enrolled() -> None:
    random = np.random.default_rng(2)
    centres = np.eye(8)
    speakers = [f"s{row % 8}" for row in range(24)]
    gallery = np.concatenate([centres + 0.1 * random.normal(size=(8, 8)) for _ in range(3)])
    asked = centres[3] + 0.5 * centres[5]
    assert speaker_rank(asked, gallery, speakers, "s3").hit
    second = speaker_rank(10 * asked, gallery, speakers, "s5")
    assert (second.rank, second.candidates, second.within(1), second.within(5)) == (2, 8, False, True)


def test_a_cosine_that_rounds_above_one_still_has_rank_one() -> None:
    """1 - cosine is then less than nothing, and a tolerance that multiplies would leave the right one behind itself."""
    random = np.random.default_rng(9)
    gallery = random.normal(size=(200, 192)).astype(np.float32)
    names = [f"s{row}" for row in range(200)]
    ranks = [speaker_rank(gallery[row], gallery, names, names[row]) for row in range(200)]
    assert min(one.distance for one in ranks) < 0
    assert {one.rank for one in ranks} == {1}


def test_equal_speakers_count_against_the_attack() -> None:
    found = [speaker_rank([1.0, 1.0], np.eye(2), ["a", "b"], one).rank for one in ("a", "b")]
    assert found == [2, 2]


@pytest.mark.parametrize(
    ("query", "speakers", "name", "message"),
    [
        ([1.0, 0.0], ["ann", "bob"], "an", r'"an" is not enrolled \(did you mean "ann"\?\)'),
        ([1.0, 0.0, 0.0], ["ann", "bob"], "ann", r"query has shape \(3,\)"),
        ([0.0, 0.0], ["ann", "bob"], "ann", "zero or not finite"),
        ([1.0, 0.0], ["ann", "ann"], "ann", "is the only one enrolled"),
    ],
)
def test_speaker_errors(query: list[float], speakers: list[str], name: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        speaker_rank(query, np.eye(2), speakers, name)


def test_neighbour_errors() -> None:
    with pytest.raises(UserError, match="at least one other"):
        nearest_neighbour_hit(pool(1), 0, np.zeros((3, 6)))
    with pytest.raises(UserError, match="6 bins, the reconstruction 5"):
        nearest_neighbour_hit(pool(), 0, np.zeros((3, 5)))
