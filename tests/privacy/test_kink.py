"""The kink test: clipped activations between parameters and loss are found, smooth ones pass."""

from __future__ import annotations

import pytest
import torch

from auscult.privacy.capture import client_features
from auscult.privacy.kink import KinkTest, kink_test
from auscult.testing.victims import random_batch, small_victim


def outcome(name: str, layers: tuple[str, ...], seconds: float = 0.4, **arguments: object) -> KinkTest:
    victim = small_victim(name, **arguments)  # type: ignore[arg-type]
    batch = random_batch(victim, 1, seconds=seconds)
    frames, lengths = client_features(victim, batch)
    return kink_test(victim, layers, frames, lengths, batch.tokens, batch.token_lengths, torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    ("name", "layers"),
    [("deepspeech1", ("all",)), ("deepspeech1", ("hidden", "fc")), ("deepspeech1", ("rnn", "fc")), ("deepspeech2", ("all",))],
)
def test_layers_below_clipped_activations_fail(name: str, layers: tuple[str, ...]) -> None:
    found = outcome(name, layers)
    assert not found.passed
    assert "kink test failed" in found.describe()


@pytest.mark.parametrize(
    ("name", "layers", "arguments"),
    [
        ("deepspeech1", ("fc",), {}),
        ("deepspeech2", ("fc",), {}),
        ("deepspeech2", ("rnn", "bn.fc", "fc"), {}),
        ("deepspeech2", ("all",), {"activation": "softplus"}),
    ],
)
def test_layers_above_and_smooth_networks_pass(name: str, layers: tuple[str, ...], arguments: dict[str, object]) -> None:
    found = outcome(name, layers, **arguments)
    assert found.passed
    assert min(found.errors.values()) < 1e-6


def test_agreement_at_steps_that_cross_no_kink_does_not_count() -> None:
    found = outcome("deepspeech1", ("hidden", "fc"), seconds=0.6)
    assert min(found.errors.values()) < 1e-5  # the criterion of the smallest error alone would pass
    assert max(found.errors.values()) > 0.1
    assert not found.passed
