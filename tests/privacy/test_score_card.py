"""What a score card must not be fooled by: order, missing or bad reconstructions, and an attack that claims every character."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from auscult.data.recognition_batch import RecognitionBatch
from auscult.metrics.reconstruction import Array
from auscult.privacy.attack import Reconstruction
from auscult.privacy.capture import LeakSettings, capture, client_features
from auscult.privacy.message import Truth
from auscult.privacy.revocode import Revocoder
from auscult.privacy.score_card import ScoreCard, Scored
from auscult.privacy.utterances import joined
from auscult.privacy.victim import Victim
from auscult.streams import Streams
from auscult.testing.victims import random_batch, small_victim


class Case:
    """A victim, a pool of five utterances, and the message of its first three."""

    def __init__(self, name: str) -> None:
        self.victim: Victim = small_victim(name)
        self.batches: list[RecognitionBatch] = [random_batch(self.victim, 1, seconds=0.4 + 0.05 * seed, seed=seed) for seed in range(5)]
        self.pool: list[Array] = []
        for batch in self.batches:
            frames, lengths = client_features(self.victim, batch)
            self.pool.append(frames[0, : int(lengths[0])].double().numpy())
        labels = self.victim.specification.labels
        self.texts = ["".join(labels[int(token)] for token in batch.tokens[0]) for batch in self.batches]
        settings = LeakSettings(batch=3, layers=("fc",))
        _, _, self.truth = capture(self.victim, [joined(self.batches[:3])], ["a", "b", "c"], settings, Streams(0))
        self.revocoder = Revocoder(self.victim.model.front_end, self.batches)

    def score(self, found: Reconstruction, words: bool = False) -> Scored:
        truth: Truth = self.truth
        return ScoreCard(self.victim, self.pool, self.texts, self.revocoder, words, Streams(0)).score(0, [0, 1, 2], found, truth)

    def tensors(self, *places: int) -> tuple[torch.Tensor, ...]:
        return tuple(torch.from_numpy(self.pool[place]) for place in places)


@pytest.fixture(scope="module", params=["deepspeech1", "deepspeech2"])
def case(request: pytest.FixtureRequest) -> Case:
    return Case(request.param)


def test_utterances_in_another_order_are_assigned(case: Case) -> None:
    scored = case.score(Reconstruction(features=case.tensors(2, 0, 1), symbols=(30, 10, 20)), words=True)
    assert [item["snr"] for item in scored.items] == [100.0, 100.0, 100.0]
    assert [item["symbols"] for item in scored.items] == [10, 20, 30]
    assert [item["hypothesis"] == item["true_hypothesis"] for item in scored.items] == [True] * 3
    assert not scored.notes


def test_what_is_missing_or_not_finite_is_scored_as_zeros(case: Case) -> None:
    bad = torch.full_like(case.tensors(0)[0], float("nan"))
    scored = case.score(Reconstruction(features=(bad, *case.tensors(1))))
    assert [item["found"] for item in scored.items] == [False, True, False]
    assert scored.items[0]["snr"] == pytest.approx(0.0, abs=0.1)  # the network's features have a mean near zero
    assert any("not finite" in note for note in scored.notes)
    assert any("fewer utterances" in note for note in scored.notes)


def test_controls_stand_beside_and_know_nothing(case: Case) -> None:
    scores = case.score(Reconstruction(features=case.tensors(0, 1, 2))).items[0]["scores"]
    assert list(scores) == ["attack", "zero", "corpus_mean", "random_other", "true_input"]
    assert scores["attack"] == scores["true_input"]
    assert scores["zero"]["identified"] == scores["corpus_mean"]["identified"] == scores["random_other"]["identified"] == 0.0
    assert scores["true_input"]["mel_psnr"] == 100.0 > scores["random_other"]["mel_psnr"]


def test_claiming_every_character_has_a_price(case: Case) -> None:
    everything = frozenset(case.victim.specification.labels)
    message = case.score(Reconstruction(characters=everything)).message
    assert message["counts"]["attack"] == message["counts"]["every_character"]
    assert message["counts"]["attack"]["hits"] == message["counts"]["attack"]["present"] < message["counts"]["attack"]["claimed"]
    assert message["counts"]["attack"]["exact"] == 0
    exact = case.score(Reconstruction(characters=frozenset("".join(case.truth.texts)))).message
    assert exact["counts"]["attack"]["exact"] == 1


def test_sound_is_made_without_the_true_mean_and_deviation(case: Case) -> None:
    scale = case.revocoder.scale([0, 1, 2])
    others = Revocoder(case.victim.model.front_end, case.batches[3:]).scale([])
    np.testing.assert_array_equal(scale.mean, others.mean)
    sound = case.revocoder.sound(case.pool[0], scale, torch.Generator().manual_seed(0))
    again = case.revocoder.sound(case.pool[0], scale, torch.Generator().manual_seed(0))
    assert torch.equal(sound, again)
    assert float(sound.abs().max()) > 0
