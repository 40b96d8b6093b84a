"""The analytic attack on DeepSpeech 1: exact where it says so, and it says where it is not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from auscult.data.recognition_batch import RecognitionBatch
from auscult.errors import UserError
from auscult.metrics.reconstruction import feature_snr
from auscult.privacy.attack import Reconstruction, Watch
from auscult.privacy.attacks.first_layer_span import FirstLayerSpan, _windows, null_sequences
from auscult.privacy.capture import LeakSettings, capture
from auscult.privacy.defences.clipping import Clipping
from auscult.privacy.message import Knowledge, Leak, Truth
from auscult.privacy.victim import Victim
from auscult.streams import Streams
from auscult.testing.victims import random_batch, small_victim

FIRST = ("input.0",)
CONTEXT = {"front_end": {"name": "mfcc_context", "context": 6}}


def victim_with_context() -> Victim:
    return small_victim("deepspeech1", **CONTEXT)


def batch_of(victim: Victim, *seconds: float) -> RecognitionBatch:
    parts = [random_batch(victim, 1, seconds=one, seed=number) for number, one in enumerate(seconds)]
    return RecognitionBatch.pad(
        [part.samples[0].numpy() for part in parts], [part.tokens[0].tolist() for part in parts], [f"u{n}" for n in range(len(parts))]
    )


def taken(victim: Victim, *seconds: float, **settings: object) -> tuple[Leak, Knowledge, Truth]:
    chosen = LeakSettings(**{"layers": FIRST, "batch": len(seconds), **settings})  # type: ignore[arg-type]
    return capture(victim, [batch_of(victim, *seconds)], ["a"] * len(seconds), chosen, Streams(0))


def attack(victim: Victim, leak: Leak, knowledge: Knowledge) -> Reconstruction:
    return FirstLayerSpan().run(victim, leak, knowledge, Watch(np.random.default_rng(0)))


def noisy(leak: Leak, share: float) -> Leak:
    """Add noise of a share of the first layer's deviation."""
    generator, size = torch.Generator().manual_seed(0), share * float(leak.tensors["input.0.weight"].std())
    return replace(
        leak, tensors={name: value + size * torch.randn(value.shape, generator=generator) for name, value in leak.tensors.items()}
    )


def ratios(truth: Truth, found: Reconstruction) -> list[float]:
    assert found.features is not None
    return [feature_snr(true.numpy(), guess.numpy()) for true, guess in zip(truth.features, found.features, strict=True)]


def test_features_come_out_with_scale_and_sign_and_without_transcript() -> None:
    victim = victim_with_context()
    leak, knowledge, truth = taken(victim, 0.6)
    assert knowledge.tokens is None
    found = attack(victim, leak, knowledge)
    assert ratios(truth, found)[0] > 40
    assert found.objective is not None
    assert found.objective < 1e-5
    assert not found.notes


def test_length_is_the_rank_of_the_gradient() -> None:
    victim = victim_with_context()
    leak, _, truth = taken(victim, 0.6, knowledge="nothing")
    assert ratios(truth, attack(victim, leak, Knowledge()))[0] > 40


def test_a_delta_is_as_good_as_a_gradient() -> None:
    victim = victim_with_context()
    leak, knowledge, truth = taken(victim, 0.5, kind="delta", rate=0.5)
    assert ratios(truth, attack(victim, leak, knowledge))[0] > 30


def test_utterances_of_different_length_are_told_apart() -> None:
    victim = victim_with_context()
    leak, knowledge, truth = taken(victim, 0.4, 0.6)
    assert min(ratios(truth, attack(victim, leak, knowledge))) > 30


@pytest.mark.parametrize("count", [2, 3])
def test_utterances_of_one_length_are_told_apart_by_units_that_were_off(count: int) -> None:
    victim = small_victim("deepspeech1", hidden=192, **CONTEXT)
    leak, knowledge, truth = taken(victim, *[0.3] * count, layers=("input.0", "fc"))
    found = attack(victim, leak, knowledge)
    assert any("order of their own" in note for note in found.notes)
    assert found.features is not None
    assert found.by_utterance is not None
    table = np.array([[feature_snr(true.numpy(), guess.numpy()) for guess in found.features] for true in truth.features])
    places = table.argmax(1)
    assert sorted(places.tolist()) == list(range(count))
    assert table.max(1).min() > 30
    assert [found.by_utterance[place] for place in places] == [frozenset(text) for text in truth.texts]


def test_units_that_are_never_off_tell_nothing_apart() -> None:
    victim = victim_with_context()
    with torch.no_grad():
        victim.model.get_submodule("input.0").bias.fill_(9.0)  # inside (0, 20) whatever comes: no unit is ever off
    leak, knowledge, _ = taken(victim, 0.4, 0.4, layers=("input.0", "fc"))
    found = attack(victim, leak, knowledge)
    assert any("mixtures of one another" in note for note in found.notes)
    assert found.by_utterance is None


@pytest.mark.parametrize("updates", [0, 30])
def test_the_output_layer_then_gives_characters_and_lengths_of_each_transcript(updates: int) -> None:
    victim = small_victim("deepspeech1", hidden=256, **CONTEXT)
    optimizer = torch.optim.Adam(victim.parameters.values(), lr=1e-3)
    practice = random_batch(victim, 3, seed=9)
    for _ in range(updates):
        features = victim.model.front_end(practice.samples, practice.sample_lengths)
        loss = victim.loss(victim.features.single(features), features.lengths, practice.tokens, practice.token_lengths)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    leak, knowledge, truth = taken(victim, 0.4, 0.6, layers=("input.0", "fc"))
    assert knowledge.tokens is None
    found = attack(victim, leak, knowledge)
    assert found.by_utterance == tuple(frozenset(text) for text in truth.texts)
    assert found.symbols == tuple(len(text) for text in truth.texts)


@pytest.mark.parametrize("changed", ["dropout", "clipping"])
def test_characters_of_another_computation_are_a_guess_without_lengths(changed: str) -> None:
    victim = small_victim("deepspeech1", hidden=256, dropout=0.2 if changed == "dropout" else 0.0, **CONTEXT)
    defences = [Clipping(1e-3)] if changed == "clipping" else []
    settings = LeakSettings(layers=("input.0", "fc"))
    leak, knowledge, truth = capture(victim, [batch_of(victim, 0.6)], ["a"], settings, Streams(0), defences)
    found = attack(victim, leak, knowledge)
    assert ratios(truth, found)[0] > 40  # neither hides the features
    assert found.characters is not None
    assert found.symbols is None
    assert any("characters are a guess" in note for note in found.notes)


def test_fewer_units_than_frames_claim_no_characters() -> None:
    victim = small_victim("deepspeech1", hidden=16, **CONTEXT)
    leak, knowledge, _ = taken(victim, 0.6, layers=("input.0", "fc"))
    found = attack(victim, leak, knowledge)
    assert found.by_utterance is None


def test_a_saturated_span_is_noticed() -> None:
    victim = small_victim("deepspeech1", front_end={"name": "mfcc_context", "context": 1, "coefficients": 5})
    leak, knowledge, truth = taken(victim, 0.6)
    found = attack(victim, leak, knowledge)
    assert any("holds other sequences too" in note for note in found.notes)
    assert ratios(truth, found)[0] <= 0.5


def test_frames_up_to_the_features_of_a_window_less_one_frame_have_one_solution() -> None:
    front_end = {"name": "mfcc_context", "context": 4, "coefficients": 6}  # 54 features: 48 frames, which 0.94 s are
    victim = small_victim("deepspeech1", hidden=256, front_end=front_end)
    leak, knowledge, truth = taken(victim, 0.94)
    assert knowledge.frames == (48,)
    found = attack(victim, leak, knowledge)
    assert ratios(truth, found)[0] > 20
    leak, knowledge, _ = taken(victim, 0.96)
    assert knowledge.frames == (49,)
    assert any("49 frames are more than 48" in note for note in attack(victim, leak, knowledge).notes)


def test_a_length_that_is_wrong_by_a_frame_is_seen() -> None:
    victim = victim_with_context()
    leak, _, truth = taken(victim, 0.6)
    for frames in (len(truth.features[0]) - 1, len(truth.features[0]) + 1):
        found = attack(victim, leak, Knowledge(frames=(frames,)))
        assert any("probably wrong" in note for note in found.notes)


@pytest.mark.parametrize(("share", "least"), [(1e-3, 55), (1e-2, 35)])
def test_weak_noise_is_no_defence_and_raises_no_alarm(share: float, least: float) -> None:
    victim = small_victim("deepspeech1", hidden=256, **CONTEXT)
    leak, knowledge, truth = taken(victim, 0.6)
    found = attack(victim, noisy(leak, share), knowledge)
    assert ratios(truth, found)[0] > least
    assert not found.notes


def test_without_the_bias_the_sign_is_said_to_be_unknown() -> None:
    victim = victim_with_context()
    leak, knowledge, truth = taken(victim, 0.6, layers=("input.0.weight",))
    found = attack(victim, leak, knowledge)
    assert any("sign unknown" in note for note in found.notes)
    assert found.features is not None
    flipped = replace(found, features=tuple(-one for one in found.features))
    assert max(ratios(truth, found)[0], ratios(truth, flipped)[0]) > 20


def test_noise_on_the_message_is_seen_in_the_gap() -> None:
    victim = victim_with_context()
    leak, knowledge, truth = taken(victim, 0.6)
    found = attack(victim, noisy(leak, 1.0), knowledge)
    assert ratios(truth, found)[0] < 10
    assert any("probably wrong" in note for note in found.notes)


def test_what_it_cannot_attack_is_refused() -> None:
    victim = victim_with_context()
    leak, knowledge, _ = taken(victim, 0.6)
    other = small_victim("deepspeech2")
    message = capture(other, [random_batch(other, 1)], ["a"], LeakSettings(), Streams(0))[0]
    with pytest.raises(UserError, match="attacks deepspeech1"):
        attack(other, message, knowledge)
    with pytest.raises(UserError, match="which was not sent"):
        attack(victim, taken(victim, 0.6, layers=("fc",))[0], knowledge)
    with pytest.raises(UserError, match="its victim is"):
        attack(small_victim("deepspeech1", seed=1, **CONTEXT), leak, knowledge)


@pytest.mark.parametrize("frames", [1, 2, 5, 12])
def test_null_sequences_are_those_of_the_dense_form(frames: int) -> None:
    random = np.random.default_rng(frames)
    context, width = 2, 3
    features = (2 * context + 1) * width
    root = random.normal(size=(features, features))
    form = root @ root.T
    basis = np.eye(frames * width).reshape(-1, frames, width)
    stacked = np.stack([_windows(one, context) for one in basis])  # (unknowns, frames, features)
    dense = np.einsum("atf,fg,btg->ab", stacked, form, stacked)
    values, vectors = np.linalg.eigh(dense)
    found = null_sequences(form, frames, width, 1)
    cosine = abs(float(found.sequences[0].ravel() @ vectors[:, 0]))
    assert found.gap == pytest.approx(values[0] / values[1], rel=0.1)
    assert cosine > 0.99 or values[0] / values[1] > 0.5
