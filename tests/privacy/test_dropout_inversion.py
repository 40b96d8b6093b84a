"""The attack on dropout: with the client's masks nothing is left at the truth, and guessed masks fit better than none."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from auscult.data.recognition_batch import RecognitionBatch
from auscult.errors import UserError
from auscult.privacy.attack import Watch
from auscult.privacy.attacks.dropout_inversion import DropoutInversion
from auscult.privacy.attacks.gradient_matching import GradientMatching
from auscult.privacy.capture import LeakSettings, capture, client_features
from auscult.privacy.learned_masks import install
from auscult.privacy.matching import Matching
from auscult.privacy.message import Knowledge, Leak
from auscult.privacy.objectives import GradientDistance
from auscult.privacy.victim import Victim
from auscult.streams import Streams
from auscult.testing.victims import random_batch, small_victim


def taken(victim: Victim) -> tuple[Leak, Knowledge, RecognitionBatch]:
    batch = random_batch(victim, 1, seconds=0.3)
    leak, knowledge, _ = capture(victim, [batch], ["a"], LeakSettings(layers=("fc",), knowledge="transcripts"), Streams(0))
    return leak, knowledge, batch


def masks_of_the_client(victim: Victim, batch: RecognitionBatch) -> list[Tensor]:
    """Return what the client dropped, by computing its loss once more with its stream."""
    frames, lengths = client_features(victim, batch)
    kept: list[Tensor] = []
    handle = victim.model.dropout.register_forward_hook(
        lambda module, inputs, output: kept.append(((output != 0) | (inputs[0] == 0)).float())
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(Streams(0).integer("dropout", 0))
        victim.set_dropout(True)
        victim.loss(frames, lengths, batch.tokens, batch.token_lengths)
        victim.set_dropout(False)
    handle.remove()
    return kept


@pytest.mark.parametrize("name", ["deepspeech1", "deepspeech2"])
def test_nothing_is_left_at_the_truth_with_the_clients_masks(name: str) -> None:
    victim = small_victim(name, dropout=0.3)
    leak, knowledge, batch = taken(victim)
    matching = Matching(victim, leak, leak.tensors, knowledge, GradientDistance("both"))
    truth = client_features(victim, batch)[0]
    assert matching.value(truth) > 1e-3
    masks = install(matching, leak.dropout)
    masks.use(masks_of_the_client(victim, batch))
    assert [mask.shape for mask in masks.masks or []] == masks.shapes
    assert abs(matching.value(truth)) < 1e-6


@pytest.mark.parametrize("name", ["deepspeech1", "deepspeech2"])
def test_guessed_masks_fit_better_than_none(name: str) -> None:
    victim = small_victim(name, dropout=0.3)
    leak, knowledge, batch = taken(victim)
    adaptive, plain = (
        attack.run(victim, leak, knowledge, Watch(np.random.default_rng(0)))
        for attack in (DropoutInversion(iterations=40, rate=0.1), GradientMatching(iterations=40, rate=0.1, restarts=1))
    )
    assert adaptive.objective is not None
    assert plain.objective is not None
    assert adaptive.objective < 0.75 * plain.objective
    assert adaptive.features is not None
    assert adaptive.features[0].shape == client_features(victim, batch)[0][0].shape
    assert "masks are guessed" in adaptive.notes[0]


def test_a_stopped_attack_continues_to_the_same_bits() -> None:
    victim = small_victim("deepspeech1", dropout=0.3)
    leak, knowledge, _ = taken(victim)
    states: list[Mapping[str, Any]] = []
    attack = DropoutInversion(iterations=30)
    whole = attack.run(victim, leak, knowledge, Watch(np.random.default_rng(0), save=states.append))
    again = attack.run(victim, leak, knowledge, Watch(np.random.default_rng(0), resume=states[0]))
    assert whole.features is not None
    assert again.features is not None
    assert torch.equal(whole.features[0], again.features[0])
    assert (whole.objective, whole.gradients) == (again.objective, again.gradients)


def test_messages_without_dropout_are_refused() -> None:
    victim = small_victim("deepspeech1")
    leak, knowledge, _ = taken(victim)
    with pytest.raises(UserError, match="dropped nothing"):
        DropoutInversion().run(victim, leak, knowledge, Watch(np.random.default_rng(0)))
