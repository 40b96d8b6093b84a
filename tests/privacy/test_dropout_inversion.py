"""The attack on dropout: with the client's masks nothing is left at the truth, and masks are a way down from the plain attack."""

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
from auscult.privacy.capture import LeakSettings, capture, client_features
from auscult.privacy.learned_masks import LearnedMasks, install
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


def both(name: str) -> tuple[DropoutInversion, Matching, Matching, LearnedMasks, Tensor, Tensor]:
    """Return the adaptive attack, the plain and the adaptive matching of one message, masks, the true frames, and the client's masks."""
    victim = small_victim(name, dropout=0.3)
    leak, knowledge, batch = taken(victim)
    plain, adaptive = (Matching(victim, leak, leak.tensors, knowledge, GradientDistance("cosine"), "float64") for _ in range(2))
    masks = install(adaptive, leak.dropout)
    kept = torch.cat([mask.reshape(-1) for mask in masks_of_the_client(victim, batch)])
    return DropoutInversion(kept_share=0.0), plain, adaptive, masks, client_features(victim, batch)[0].double(), kept.double()


@pytest.mark.parametrize("name", ["deepspeech1", "deepspeech2"])
def test_the_adaptive_objective_is_zero_at_the_truth_and_the_plain_one_is_not(name: str) -> None:
    attack, plain, adaptive, masks, truth, kept = both(name)
    unknowns = torch.cat([truth.reshape(-1), 60 * kept - 30])  # the logistic function of 30 is 1 in float32
    assert abs(attack._evaluate(adaptive, masks, unknowns)[1]) < 1e-6
    assert plain.value(truth) > 1e-4
    other = torch.cat([truth.reshape(-1), 30 - 60 * kept])  # what the client kept is dropped, and the reverse
    assert attack._evaluate(adaptive, masks, other)[1] > 1e-4


@pytest.mark.parametrize("name", ["deepspeech1", "deepspeech2"])
def test_masks_that_nothing_is_known_of_are_no_masks_and_can_be_improved(name: str) -> None:
    """The plain attack is the adaptive one with every mask at the share of kept values; from there masks are a way down."""
    attack, plain, adaptive, masks, _, _ = both(name)
    frames = torch.randn(plain.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    unknowns = torch.cat([frames.reshape(-1), torch.full((masks.count,), masks.start, dtype=torch.float64)])
    value, _, gradient = attack._evaluate(adaptive, masks, unknowns)
    assert value == pytest.approx(plain.value(frames), rel=1e-6)
    by_masks = torch.cat([torch.zeros(frames.numel(), dtype=torch.float64), gradient[-masks.count :]])
    slope = float(by_masks.square().sum())
    step = 1e-3 * value / slope
    assert value - attack._evaluate(adaptive, masks, unknowns - step * by_masks)[0] == pytest.approx(step * slope, rel=0.05)


@pytest.mark.parametrize("name", ["deepspeech1", "deepspeech2"])
def test_guessing_masks_by_descent_beats_guessing_by_chance(name: str) -> None:
    attack, plain, adaptive, masks, _, _ = both(name)
    found = DropoutInversion(iterations=40, rate=0.1, kept_share=0.0).run(
        small_victim(name, dropout=0.3), plain.leak, _knowledge(plain), Watch(np.random.default_rng(0))
    )
    generator = torch.Generator().manual_seed(0)
    chances = []
    for _ in range(40):
        frames = torch.randn(plain.shape, generator=generator, dtype=torch.float64)
        kept = (torch.rand(masks.count, generator=generator) > masks.probability).double()
        chances.append(attack._evaluate(adaptive, masks, torch.cat([frames.reshape(-1), 60 * kept - 30]))[0])
    assert found.objective is not None
    assert found.objective < min(chances)
    assert found.features is not None
    assert found.features[0].shape == plain.shape[1:]
    assert "masks are guessed" in found.notes[0]


def _knowledge(matching: Matching) -> Knowledge:
    rows = [tuple(row[: int(length)].tolist()) for row, length in zip(matching.tokens, matching.token_lengths, strict=True)]
    return Knowledge(tuple(matching.lengths.tolist()), tuple(rows))


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
