"""What a message says through its defences: zero at the truth, above zero elsewhere, and silent about nothing that cannot be read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from auscult.errors import UserError
from auscult.privacy.capture import LeakSettings, capture
from auscult.privacy.declared import Noised, Pruned, Rounded
from auscult.privacy.defence import Defence
from auscult.privacy.defences.clipping import Clipping
from auscult.privacy.defences.gaussian_noise import GaussianNoise
from auscult.privacy.defences.int8 import Int8
from auscult.privacy.defences.random_pruning import RandomPruning
from auscult.privacy.defences.sign import Sign
from auscult.privacy.defences.top_k import TopK
from auscult.privacy.evidence import obstacle, weigh
from auscult.privacy.matching import Matching
from auscult.privacy.message import Leak
from auscult.privacy.objectives import GradientDistance, Objective
from auscult.privacy.victim import Victim
from auscult.streams import Streams
from auscult.testing.victims import random_batch, small_victim

LAYERS = ("input.0",)  # whose gradient hangs on every frame; the output layer's hardly does
CHAINS: list[list[Defence]] = [
    [Clipping(1e-3)],
    [GaussianNoise(4e-4)],
    [GaussianNoise(0.005, norm=0.05)],
    [TopK(0.1)],
    [RandomPruning(0.2)],
    [Sign()],
    [Sign(0.01)],
    [Int8()],
    [Int8(stochastic=True)],
    [Clipping(1e-3), TopK(0.1)],
    [TopK(0.1), Clipping(1e-3)],
    [Clipping(1e-3), Int8()],
]


def case(defences: list[Defence], objective: Objective, **settings: object) -> tuple[Matching, Tensor]:
    """Return a matching and the truth (utterances, frames, width)."""
    victim = small_victim("deepspeech1")
    chosen = LeakSettings(**{"layers": LAYERS, "knowledge": "transcripts", **settings})  # type: ignore[arg-type]
    batches = [random_batch(victim, chosen.batch, seconds=0.4, seed=number) for number in range(chosen.clients)]
    leak, knowledge, truth = capture(victim, batches, ["a"] * (chosen.batch * chosen.clients), chosen, Streams(0), defences)
    matching = Matching(victim, leak, leak.tensors, knowledge, GradientDistance(objective))
    return matching, torch.stack(list(truth.features))


def guess(matching: Matching) -> Tensor:
    return torch.randn(matching.shape, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("defences", CHAINS, ids=lambda chain: "+".join(one.describe() for one in chain))
@pytest.mark.parametrize("settings", [{}, {"kind": "delta", "steps": 2, "rate": 1.0}], ids=["gradient", "delta"])
def test_nothing_is_left_at_the_truth_and_something_elsewhere(defences: list[Defence], settings: dict[str, object]) -> None:
    adaptive, truth = case(defences, "declared", **settings)
    assert adaptive.value(truth) < 1e-6
    assert adaptive.value(guess(adaptive)) > 0.1
    plain, _ = case(defences, "l2", **settings)
    assert plain.value(truth) > 1e-4  # where the plain objective would lead is not the truth


def test_an_unchanged_message_is_matched_as_by_l2() -> None:
    adaptive, truth = case([], "declared")
    plain, _ = case([], "l2")
    assert adaptive.value(truth) < 1e-6
    assert adaptive.value(guess(adaptive)) == pytest.approx(plain.value(guess(plain)), rel=1e-4)


@pytest.mark.parametrize(
    "defences", [[Sign()], [Clipping(1e-3)], [Clipping(1e-3), TopK(0.1)]], ids=["sign", "clipping", "clipping and top_k"]
)
def test_what_has_no_scale_does_not_reward_small_guesses(defences: list[Defence]) -> None:
    """A half-line begins at zero, so that a gradient next to zero would lie within every sign that was sent."""
    matching, _ = case(defences, "declared")
    wrong = matching.message(guess(matching))
    assert matching.evidence is not None
    large, small = (float(matching.evidence.distance({name: size * value for name, value in wrong.items()})) for size in (1.0, 1e-6))
    assert large > 0.1
    assert small == pytest.approx(large, rel=1e-3)


def test_noise_of_several_clients_adds_up() -> None:
    matching, truth = case([GaussianNoise(4e-4)], "declared", clients=3)
    assert matching.evidence is not None
    assert matching.evidence.deviation == pytest.approx(4e-4 * 3**0.5)
    assert matching.value(truth) < 1e-6


def test_less_noise_than_there_is_would_be_noticed() -> None:
    matching, truth = case([GaussianNoise(4e-4)], "declared")
    assert matching.evidence is not None
    believed = replace(matching.evidence, deviation=2e-4)
    assert float(believed.distance(matching.message(truth))) > 0.01


@pytest.mark.parametrize(("levels", "reach"), [(254, 0.5), (127, 0.25)])
def test_finer_rounding_than_there_is_would_be_noticed(levels: int, reach: float) -> None:
    matching, truth = case([Int8()], "declared")
    other = weigh(replace(matching.leak, changes=(Rounded(levels, reach),)), matching.target)
    assert float(other.distance({name: value.double() for name, value in matching.message(truth).items()})) > 1e-5


def test_values_below_the_least_that_was_sent_are_bounded_by_it() -> None:
    matching, truth = case([TopK(0.1)], "declared")
    evidence, sent = matching.evidence, matching.message(truth)
    assert evidence is not None
    assert float(evidence.distance(sent)) < 1e-6
    name = "input.0.weight"
    places = (evidence.told[name] == 0).nonzero()
    moved = sent[name].clone()
    moved[places[0, 0], places[0, 1]] = 10 * evidence.high[name][places[0, 0], places[0, 1]]
    assert float(evidence.distance({**sent, name: moved})) > 0
    pruned = weigh(replace(matching.leak, changes=(Pruned(largest=False),)), matching.target, torch.float32)
    assert float(pruned.distance({**sent, name: moved})) < 1e-6  # at random anything may be missing


def test_the_distance_has_the_gradient_of_its_value() -> None:
    matching, _ = case([Clipping(1e-3), Int8()], "declared")
    frames, along = guess(matching), torch.randn(matching.shape, generator=torch.Generator().manual_seed(1))
    found = {name: value.double() for name, value in matching.message(frames).items()}
    evidence = weigh(matching.leak, matching.target)
    move = {name: value.double() for name, value in matching.message(along).items()}
    leaves = {name: value.clone().requires_grad_() for name, value in found.items()}
    slopes = torch.autograd.grad(evidence.distance(leaves), list(leaves.values()))
    expected = sum(float((slope * move[name]).sum()) for slope, name in zip(slopes, leaves, strict=True))

    def value(step: float) -> float:
        return float(evidence.distance({name: found[name] + step * move[name] for name in found}))

    assert expected == pytest.approx((value(1e-6) - value(-1e-6)) / 2e-6, rel=1e-4)


class Silent(Defence):
    """Doubles values and declares nothing."""

    def transform(self, tensors: Mapping[str, Tensor], random: np.random.Generator) -> dict[str, Tensor]:
        return {name: 2 * value for name, value in tensors.items()}

    def describe(self) -> str:
        return "silent (doubles)"


@pytest.mark.parametrize(
    ("defences", "clients", "named"),
    [
        ([TopK(0.1), GaussianNoise(0.01)], 1, "pruned and then noised values hide each other"),
        ([GaussianNoise(0.01), Clipping(1.0)], 1, "its deviation is unknown"),
        ([RandomPruning(0.1)], 2, "a sum over 2 clients hides which values of each were pruned"),
        ([Sign()], 2, "a sum over 2 clients"),
        ([Silent()], 1, "does not declare"),
    ],
)
def test_chains_that_cannot_be_read_are_refused_by_name(defences: list[Defence], clients: int, named: str) -> None:
    with pytest.raises(UserError, match=named):
        case(defences, "declared", clients=clients)
    case(defences, "cosine", clients=clients)  # a plain attack can still be tried


def test_what_a_leak_declares_is_in_the_order_of_its_defences() -> None:
    leak: Leak = case([Clipping(0.5), GaussianNoise(0.01)], "cosine")[0].leak
    assert leak.changes[1] == Noised(0.01)
    assert obstacle(leak) is None
    assert obstacle(replace(leak, changes=tuple(reversed(leak.changes)))) is not None


def test_keys_that_do_not_fit_are_refused() -> None:
    victim: Victim = small_victim("deepspeech1")
    with pytest.raises(UserError, match="leave per_layer out"):
        GradientDistance("declared", per_layer=True)
    leak, knowledge, _ = capture(victim, [random_batch(victim, 1)], ["a"], LeakSettings(knowledge="transcripts"), Streams(0))
    with pytest.raises(UserError, match="leave coordinates at 1"):
        Matching(victim, leak, leak.tensors, knowledge, GradientDistance("declared"), coordinates=0.5)
