"""The first-layer attack against defences: what the plain attack loses comes back, and where it cannot, it says so."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from auscult.data.recognition_batch import RecognitionBatch
from auscult.metrics.reconstruction import feature_snr
from auscult.privacy.adapted_span import WEIGHT, expected, observed, spoilt
from auscult.privacy.attack import Reconstruction, Watch
from auscult.privacy.attacks.first_layer_span import FirstLayerSpan
from auscult.privacy.capture import LeakSettings, capture
from auscult.privacy.declared import Noised, Unknown
from auscult.privacy.defence import Defence
from auscult.privacy.defences.clipping import Clipping
from auscult.privacy.defences.gaussian_noise import GaussianNoise
from auscult.privacy.defences.int8 import Int8
from auscult.privacy.defences.random_pruning import RandomPruning
from auscult.privacy.defences.sign import Sign
from auscult.privacy.defences.top_k import TopK
from auscult.privacy.evidence import weigh
from auscult.privacy.message import Knowledge, Leak, Truth
from auscult.privacy.victim import Victim
from auscult.streams import Streams
from auscult.testing.victims import random_batch, small_victim

SECONDS = 0.4


def victim_of(hidden: int = 256) -> Victim:
    return small_victim("deepspeech1", hidden=hidden, front_end={"name": "mfcc_context", "context": 5, "coefficients": 13})


def batch_of(victim: Victim, *seconds: float) -> RecognitionBatch:
    parts = [random_batch(victim, 1, seconds=one, seed=number) for number, one in enumerate(seconds)]
    return RecognitionBatch.pad(
        [part.samples[0].numpy() for part in parts], [part.tokens[0].tolist() for part in parts], [f"u{n}" for n in range(len(parts))]
    )


def taken(victim: Victim, *defences: Defence, seconds: tuple[float, ...] = (SECONDS,), **settings: Any) -> tuple[Leak, Knowledge, Truth]:
    chosen = LeakSettings(**{"layers": ("input.0",), "batch": len(seconds), **settings})
    batches = [batch_of(victim, *seconds)] * chosen.clients
    return capture(victim, batches, ["a"] * (len(seconds) * chosen.clients), chosen, Streams(0), defences)


def attack(victim: Victim, leak: Leak, knowledge: Knowledge, adapt: bool) -> Reconstruction:
    return FirstLayerSpan(adapt).run(victim, leak, knowledge, Watch(np.random.default_rng(0)))


def worst(truth: Truth, found: Reconstruction) -> float:
    assert found.features is not None
    return min(feature_snr(true.numpy(), one.numpy()) for true, one in zip(truth.features, found.features, strict=True))


def noise(victim: Victim, share: float) -> GaussianNoise:
    return GaussianNoise(share * float(taken(victim)[0].tensors[WEIGHT].std()))


DEFENCES: Mapping[str, Any] = {
    "noise": lambda victim: noise(victim, 0.3),
    "clipped and noise": lambda victim: GaussianNoise(1 / 3 / 60, norm=1e-3),
    "top_k": lambda victim: TopK(0.3),
    "random_pruning": lambda victim: RandomPruning(0.5),
    "sign": lambda victim: Sign(),
}


@pytest.mark.parametrize("name", DEFENCES)
def test_the_adaptive_attack_finds_what_the_plain_one_does_not(name: str) -> None:
    victim = victim_of()
    leak, knowledge, truth = taken(victim, DEFENCES[name](victim))
    plain, clever = (attack(victim, leak, knowledge, adapt) for adapt in (False, True))
    assert worst(truth, clever) > worst(truth, plain) + 5
    assert worst(truth, clever) > 10
    assert clever.gave_up is None
    assert any("no certificate" in note for note in clever.notes)


@pytest.mark.parametrize("defences", [(), (Clipping(1e-4),)], ids=["nothing", "clipping"])
def test_what_hides_a_length_alone_needs_no_adapting(defences: tuple[Defence, ...]) -> None:
    victim = victim_of()
    leak, knowledge, truth = taken(victim, *defences)
    assert not spoilt(leak)
    plain, clever = (attack(victim, leak, knowledge, adapt) for adapt in (False, True))
    assert plain.features is not None
    assert clever.features is not None
    assert torch.equal(plain.features[0], clever.features[0])
    assert worst(truth, plain) > 60


def test_hardly_any_noise_leaves_the_exact_attack_its_exactness() -> None:
    victim = victim_of()
    leak, knowledge, truth = taken(victim, noise(victim, 1e-4))
    plain, clever = (attack(victim, leak, knowledge, adapt) for adapt in (False, True))
    assert worst(truth, clever) >= worst(truth, plain) - 0.1


@pytest.mark.parametrize("stochastic", [False, True])
def test_eight_bits_hide_next_to_nothing(stochastic: bool) -> None:
    victim = victim_of()
    leak, knowledge, truth = taken(victim, Int8(stochastic))
    plain, clever = (attack(victim, leak, knowledge, adapt) for adapt in (False, True))
    assert worst(truth, clever) >= worst(truth, plain) - 1
    assert worst(truth, clever) > 40
    assert clever.gave_up is None


@pytest.mark.parametrize("steps", [2, 8])
def test_local_steps_are_no_defence(steps: int) -> None:
    """All steps are on the same windows, so that their sum spans what one of them spans."""
    victim = victim_of()
    leak, knowledge, truth = taken(victim, layers=("input.0", "fc"), kind="delta", steps=steps, rate=0.1)
    found = attack(victim, leak, knowledge, adapt=True)
    assert worst(truth, found) > 40
    assert found.gave_up is None
    assert found.characters is None  # the output layer's steps are at weights that nobody sent


def test_a_secure_sum_is_one_large_batch() -> None:
    victim = victim_of()
    settings = LeakSettings(layers=("input.0",), clients=3)
    batches = [batch_of(victim, 0.3 + 0.04 * number) for number in range(3)]
    leak, knowledge, truth = capture(victim, batches, ["a"] * 3, settings, Streams(0))
    assert worst(truth, attack(victim, leak, knowledge, adapt=True)) > 40
    noisy, knowledge, _ = capture(victim, batches, ["a"] * 3, settings, Streams(0), [noise(victim, 0.1)])
    plain, clever = (attack(victim, noisy, knowledge, adapt) for adapt in (False, True))
    assert worst(truth, clever) > worst(truth, plain) + 3


def test_a_length_read_off_a_changed_message_is_called_a_guess() -> None:
    victim = victim_of()
    leak, _, _ = taken(victim, noise(victim, 1e-3))
    assert any("a guess" in note for note in attack(victim, leak, Knowledge(), adapt=False).notes)
    assert not any("a guess" in note for note in attack(victim, taken(victim)[0], Knowledge(), adapt=False).notes)


def test_the_sign_is_found_without_the_bias() -> None:
    victim = victim_of()
    leak, knowledge, truth = taken(victim, noise(victim, 0.1), layers=(WEIGHT,))
    assert worst(truth, attack(victim, leak, knowledge, adapt=True)) > 15
    assert not any("sign unknown" in note for note in attack(victim, leak, knowledge, adapt=True).notes)


def test_an_attacker_who_believes_in_another_defence_is_told_so() -> None:
    """Values that were pruned are read as noise of a thousandth: neither the features nor that noise explain them."""
    victim = victim_of()
    leak, knowledge, _ = taken(victim, RandomPruning(0.5))
    small = 1e-3 * float(leak.tensors[WEIGHT].std())
    found = attack(victim, replace(leak, changes=(Noised(small),)), knowledge, adapt=True)
    assert found.gave_up is not None
    assert "probably wrong" in found.gave_up


def test_too_few_values_are_said_to_be_too_few() -> None:
    victim = victim_of()
    leak, knowledge, truth = taken(victim, RandomPruning(0.01))
    found = attack(victim, leak, knowledge, adapt=True)
    assert found.gave_up is not None
    assert "fewer than the" in found.gave_up
    assert worst(truth, found) == pytest.approx(0, abs=0.1)


@pytest.mark.parametrize("changes", [(Unknown(),)])
def test_what_cannot_be_read_is_attacked_plainly_and_said(changes: tuple[Any, ...]) -> None:
    victim = victim_of()
    leak, knowledge, _ = taken(victim, TopK(0.5), noise(victim, 0.01))
    for unread in (leak, replace(leak, changes=changes)):
        found = attack(victim, unread, knowledge, adapt=True)
        assert any("not adapted to the defences" in note for note in found.notes)


@pytest.mark.parametrize("defence", [Int8(), Int8(stochastic=True), GaussianNoise(1e-4)], ids=lambda one: one.describe())
def test_what_the_truth_leaves_is_what_is_expected(defence: Defence) -> None:
    victim = victim_of()
    clean, (changed, _, _) = taken(victim)[0].tensors[WEIGHT], taken(victim, defence)
    evidence = weigh(changed, [WEIGHT])
    left = (changed.tensors[WEIGHT] - clean).double().square().mean().sqrt() / changed.tensors[WEIGHT].double().square().mean().sqrt()
    assert expected(changed, evidence) == pytest.approx(float(left), rel=0.2)


def test_weights_and_bias_are_one_matrix_and_zeros_are_not_told() -> None:
    victim = victim_of()
    leak, _, _ = taken(victim, RandomPruning(0.3))
    message = observed(leak, weigh(leak, [WEIGHT, "input.0.bias"]))
    both: Tensor = torch.cat([leak.tensors[WEIGHT], leak.tensors["input.0.bias"][:, None]], dim=1)
    assert torch.equal(message.values.float(), both)
    assert message.told is not None
    assert torch.equal(message.told.bool(), both != 0)
    whole = taken(victim, Sign())[0]
    assert observed(whole, weigh(whole, [WEIGHT])).told is None
