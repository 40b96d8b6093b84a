"""Characters from the output layer's gradient: proofs on DeepSpeech 1, guesses elsewhere."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch

from auscult.errors import UserError
from auscult.metrics.disclosure import character_set_scores
from auscult.privacy.attack import Reconstruction, Watch
from auscult.privacy.attacks.character_set import CharacterSet
from auscult.privacy.capture import LeakSettings, capture
from auscult.privacy.defence import Defence
from auscult.privacy.defences.gaussian_noise import GaussianNoise
from auscult.privacy.message import Knowledge, Leak, Truth
from auscult.privacy.victim import Victim
from auscult.streams import Streams
from auscult.testing.victims import random_batch, small_victim


def taken(victim: Victim, utterances: int = 1, seed: int = 0, defences: Sequence[Defence] = (), **settings: object) -> tuple[Leak, Truth]:
    chosen = LeakSettings(**{"layers": ("fc",), "batch": utterances, **settings})  # type: ignore[arg-type]
    batch = random_batch(victim, utterances, symbols=8, seed=seed)
    leak, _, truth = capture(victim, [batch], ["a"] * utterances, chosen, Streams(seed), defences)
    return leak, truth


def attack(victim: Victim, leak: Leak, **arguments: float) -> Reconstruction:
    return CharacterSet(**arguments).run(victim, leak, Knowledge(), Watch(np.random.default_rng(0)))


def spoken(truth: Truth) -> set[str]:
    return {character for text in truth.texts for character in text}


@pytest.mark.parametrize("seed", range(5))
def test_set_of_one_utterance_is_exact_on_deepspeech1(seed: int) -> None:
    victim = small_victim("deepspeech1", hidden=256)
    leak, truth = taken(victim, seed=seed)
    assert attack(victim, leak).characters == spoken(truth)


def test_a_message_of_one_step_of_a_delta_is_as_good() -> None:
    victim = small_victim("deepspeech1", hidden=256)
    leak, truth = taken(victim, kind="delta", rate=0.1)
    assert attack(victim, leak).characters == spoken(truth)
    with pytest.raises(UserError, match="3 local steps"):
        attack(victim, taken(victim, kind="delta", steps=3)[0])


def test_training_makes_no_false_alarms() -> None:
    victim = small_victim("deepspeech1", hidden=64)
    batch = random_batch(victim, 4, seed=9)
    optimizer = torch.optim.Adam(victim.model.parameters(), lr=3e-3)
    for _ in range(30):
        features = victim.model.front_end(batch.samples, batch.sample_lengths)
        loss = victim.loss(victim.features.single(features), features.lengths, batch.tokens, batch.token_lengths)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    for seed in range(5):
        leak, truth = taken(victim, utterances=2, seed=seed)
        found = attack(victim, leak).characters
        assert found is not None
        scores = character_set_scores(spoken(truth), set(found))
        assert scores.precision == 1.0
        assert scores.recall > 0.5


@pytest.mark.parametrize("share", [1e-3, 1e-1])
def test_noise_makes_no_characters_up_and_ends_proof(share: float) -> None:
    victim = small_victim("deepspeech1", hidden=256)
    plain, _ = taken(victim)
    leak, truth = taken(victim, defences=[GaussianNoise(share * float(plain.tensors["fc.weight"].std()))])
    found = attack(victim, leak)
    assert found.characters is not None
    scores = character_set_scores(spoken(truth), set(found.characters))
    assert scores.precision == 1.0
    assert scores.recall > 0.7
    assert any("not proved" in note for note in found.notes)


def test_normalised_activations_give_a_guess_and_say_so() -> None:
    victim = small_victim("deepspeech2")
    leak, truth = taken(victim)
    found = attack(victim, leak)
    assert any("a guess" in note for note in found.notes)
    assert found.characters is not None
    assert character_set_scores(spoken(truth), set(found.characters)).precision > 0.5


def test_wrong_messages_are_refused() -> None:
    victim = small_victim("deepspeech1")
    with pytest.raises(UserError, match="which was not sent"):
        attack(victim, taken(victim, layers=("input",))[0])
    with pytest.raises(UserError, match="its victim is"):
        attack(small_victim("deepspeech1", seed=3), taken(victim)[0])
    with pytest.raises(UserError, match="floor"):
        CharacterSet(floor=1.0)
