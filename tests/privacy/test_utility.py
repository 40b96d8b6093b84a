"""Utility: 1 for a message that nothing was done to, whatever its length; 0 for one that leads nowhere; measured at the victim's loss."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

from auscult.privacy.capture import LeakSettings, capture
from auscult.privacy.defence import Defence
from auscult.privacy.defences.clipping import Clipping
from auscult.privacy.defences.gaussian_noise import GaussianNoise
from auscult.privacy.defences.int8 import Int8
from auscult.privacy.defences.sign import Sign
from auscult.privacy.defences.top_k import TopK
from auscult.privacy.utility import best_rate, message_utility
from auscult.privacy.victim import Victim
from auscult.streams import Streams
from auscult.testing.victims import random_batch, small_victim


@pytest.fixture(scope="module")
def victim() -> Victim:
    return small_victim("deepspeech1")


def measured(victim: Victim, *defences: Defence, **settings: Any) -> dict[str, float]:
    chosen = LeakSettings(**settings)
    batches = [random_batch(victim, chosen.batch) for _ in range(chosen.clients)]
    speakers = ["somebody"] * chosen.batch * chosen.clients
    plain, sent = (capture(victim, batches, speakers, chosen, Streams(3), used)[0] for used in ((), defences))
    return message_utility(victim, batches, plain, sent)


class Reversed(Defence):
    """Sends the opposite of what was asked for: the worst message there is."""

    def transform(self, tensors: Any, random: np.random.Generator) -> dict[str, torch.Tensor]:
        return {name: -value for name, value in tensors.items()}

    def describe(self) -> str:
        return "reversed"


@pytest.mark.parametrize(
    "settings",
    [{}, {"kind": "delta", "steps": 2, "rate": 1e-3}, {"clients": 2}, {"layers": ("fc",)}],
    ids=["gradient", "delta", "sum", "one layer"],
)
def test_utility_of_an_identity_defence_is_one(victim: Victim, settings: dict[str, Any]) -> None:
    found = measured(victim, TopK(kept=1.0), Clipping(norm=1e9), **settings)
    assert found == {"loss_fall": 1.0, "loss_fall_same_rate": 1.0, "cosine": pytest.approx(1.0), "relative_error": 0.0}


def test_clipping_costs_nothing_where_the_rate_is_tuned_and_much_where_it_is_not(victim: Victim) -> None:
    found = measured(victim, Clipping(norm=1e-3))
    assert found["loss_fall"] == pytest.approx(1.0, abs=0.05)
    assert found["cosine"] == pytest.approx(1.0, abs=1e-6)
    assert 0 < found["loss_fall_same_rate"] < 0.1
    assert found["relative_error"] > 0.9


def test_more_noise_leaves_less(victim: Victim) -> None:
    falls, cosines = zip(
        *((one["loss_fall"], one["cosine"]) for one in (measured(victim, GaussianNoise(sigma)) for sigma in (1e-4, 1.0, 100.0))),
        strict=True,
    )
    assert falls[0] > 0.99
    assert falls[0] > falls[1] > falls[2] >= 0
    assert cosines[0] > cosines[1] > cosines[2]


def test_a_reversed_message_has_no_use(victim: Victim) -> None:
    found = measured(victim, Reversed())
    assert found["cosine"] == pytest.approx(-1.0)
    assert found["loss_fall"] < 1e-3
    assert found["loss_fall_same_rate"] < 0


def test_compressed_messages_lie_between(victim: Victim) -> None:
    assert measured(victim, Int8())["loss_fall"] > 0.95
    for defence in (Sign(), TopK(kept=0.01)):
        found = measured(victim, defence)
        assert 0.1 < found["loss_fall"] < 1.5
        assert 0.1 < found["cosine"] < 0.99


def test_a_message_of_zeros_has_no_use_and_one_that_was_zero_no_measure(victim: Victim) -> None:
    batch = [random_batch(victim, 1)]
    plain = capture(victim, batch, ["somebody"], LeakSettings(), Streams(0))[0]
    nothing = type(plain)(**{**vars(plain), "tensors": {name: torch.zeros_like(one) for name, one in plain.tensors.items()}})
    assert message_utility(victim, batch, plain, nothing)["loss_fall"] == 0.0
    assert math.isnan(message_utility(victim, batch, nothing, plain)["loss_fall"])


@pytest.mark.parametrize("scale", [1e-4, 0.3, 1.0, 7.0, 1e4])
def test_the_best_rate_is_found_from_afar(scale: float) -> None:
    rate, fall = best_rate(lambda one: scale * one - (scale * one) ** 2, 1.0)
    assert scale * rate == pytest.approx(0.5, rel=0.3)
    assert fall == pytest.approx(0.25, rel=0.04)
