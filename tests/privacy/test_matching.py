"""Matching: nothing is left at the truth, and the two derivatives are one."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from auscult.errors import UserError
from auscult.privacy.capture import LeakSettings, capture
from auscult.privacy.matching import Matching, Precision
from auscult.privacy.message import Knowledge
from auscult.privacy.objectives import GradientDistance
from auscult.privacy.victim import Victim
from auscult.streams import Streams
from auscult.testing.victims import random_batch, small_victim

LAST = ("fc",)


def case(
    victim: Victim, layers: tuple[str, ...] = LAST, precision: Precision = "float32", seconds: float = 0.4, **settings: object
) -> tuple[Matching, Tensor]:
    """Return what an attacker has, and the truth (utterances, frames, width)."""
    chosen = LeakSettings(**{"layers": layers, "knowledge": "transcripts", **settings})  # type: ignore[arg-type]
    batches = [random_batch(victim, chosen.batch, seconds=seconds + 0.1 * number, seed=number) for number in range(chosen.clients)]
    leak, knowledge, truth = capture(victim, batches, ["a"] * (chosen.batch * chosen.clients), chosen, Streams(0))
    matching = Matching(victim, leak, leak.tensors, knowledge, GradientDistance("both"), precision)
    return matching, torch.nn.utils.rnn.pad_sequence(list(truth.features), batch_first=True).to(matching.dtype)


def guess(matching: Matching, seed: int = 0) -> Tensor:
    return torch.randn(matching.shape, generator=torch.Generator().manual_seed(seed)).to(matching.dtype)


@pytest.mark.parametrize("name", ["deepspeech1", "deepspeech2"])
@pytest.mark.parametrize("layers", [LAST, ("all",)])
@pytest.mark.parametrize(
    "settings", [{}, {"clients": 2, "batch": 2}, {"kind": "delta", "steps": 2, "rate": 0.01}, {"kind": "delta", "steps": 2, "clients": 2}]
)
def test_nothing_is_left_at_the_truth(name: str, layers: tuple[str, ...], settings: dict[str, object]) -> None:
    matching, truth = case(small_victim(name), layers, **settings)
    assert abs(matching.value(truth)) < 1e-6
    assert matching.value(guess(matching)) > 1e-5


def test_nothing_is_left_at_the_truth_with_batch_statistics() -> None:
    matching, truth = case(small_victim("deepspeech2", mode="train"), clients=2, batch=2)
    assert abs(matching.value(truth)) < 1e-6
    other = Matching(
        small_victim("deepspeech2"), matching.leak, matching.target, _knowledge(matching), matching.distance
    )  # what an attacker in the other mode would see, were it not refused
    assert other.value(truth) > 1e-3


def _knowledge(matching: Matching) -> Knowledge:
    rows = [tuple(row[: int(length)].tolist()) for row, length in zip(matching.tokens, matching.token_lengths, strict=True)]
    return Knowledge(tuple(matching.lengths.tolist()), tuple(rows))


@pytest.mark.parametrize("name", ["deepspeech1", "deepspeech2"])
@pytest.mark.parametrize("settings", [{}, {"clients": 2, "batch": 2}])
def test_pearlmutter_is_the_exact_gradient_of_the_last_layer(name: str, settings: dict[str, object]) -> None:
    matching, _ = case(small_victim(name), **settings)
    assert matching.agreement(guess(matching)) < 1e-3
    value, gradient = matching.gradient(guess(matching), "pearlmutter")
    assert value == pytest.approx(matching.value(guess(matching)), rel=1e-3)
    assert gradient.shape == matching.shape


def test_pearlmutter_goes_back_through_local_steps() -> None:
    smooth = small_victim("deepspeech2", activation="softplus")
    matching, _ = case(smooth, ("all",), "float64", kind="delta", steps=3, rate=0.02)
    assert matching.agreement(guess(matching), 1e-5) < 1e-4


def test_pearlmutter_with_a_step_too_long_is_noticed() -> None:
    matching, _ = case(small_victim("deepspeech1"))
    assert matching.agreement(guess(matching), 1.0) > 1e-2


@pytest.mark.parametrize("settings", [{}, {"clients": 2}, {"kind": "delta", "steps": 2, "rate": 0.02}])
def test_exact_gradient_is_that_of_the_value(settings: dict[str, object]) -> None:
    matching, _ = case(small_victim("deepspeech2", activation="softplus"), LAST, "float64", **settings)
    frames, along = guess(matching), guess(matching, 1)
    _, gradient = matching.gradient(frames, "exact")
    slope = (matching.value(frames + 1e-5 * along) - matching.value(frames - 1e-5 * along)) / 2e-5
    assert float((gradient * along).sum()) == pytest.approx(slope, rel=1e-5)
    beyond = torch.arange(matching.shape[1]) >= matching.lengths[:, None]
    assert not bool(gradient[beyond].any())


def test_a_share_of_coordinates_is_matched() -> None:
    victim = small_victim("deepspeech1")
    matching, truth = case(victim)
    half = Matching(victim, matching.leak, matching.target, _knowledge(matching), GradientDistance("l2"), coordinates=0.5)
    kept = sum(int((value != 0).sum()) for value in half.target.values()) / sum(value.numel() for value in half.target.values())
    assert kept == pytest.approx(0.5, abs=0.01)
    assert abs(half.value(truth)) < 1e-6
    least = min(float(value[value != 0].abs().min()) for value in half.target.values())
    dropped = max(float((matching.target[name] * (value == 0)).abs().max()) for name, value in half.target.items())
    assert dropped <= least


def test_what_is_not_known_is_said() -> None:
    victim = small_victim("deepspeech1")
    matching, _ = case(victim)
    full = _knowledge(matching)
    for knowledge, named in (
        (Knowledge(full.frames), "needs the transcripts"),
        (Knowledge(None, full.tokens), "needs the feature frames"),
        (Knowledge((full.frames or ()) * 2, (full.tokens or ()) * 2), "of 1 utterances and the knowledge of 2"),
    ):
        with pytest.raises(UserError, match=named):
            Matching(victim, matching.leak, matching.target, knowledge, GradientDistance())


def test_the_victim_is_left_as_it_was() -> None:
    victim = small_victim("deepspeech2")
    before = victim.fingerprint
    matching, _ = case(victim, precision="float64")
    matching.gradient(guess(matching), "exact")
    matching.gradient(guess(matching), "pearlmutter")
    assert victim.fingerprint == before
    assert next(iter(victim.parameters.values())).dtype == torch.float32
    assert all(parameter.grad is None for parameter in victim.parameters.values())
