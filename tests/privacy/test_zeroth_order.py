"""The search without derivatives: its objective never rises, and guesses computed together are those computed alone."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch

from auscult.privacy.attack import Watch
from auscult.privacy.attacks.zeroth_order import HessianFree
from auscult.privacy.candidates import Candidates
from auscult.privacy.capture import LeakSettings, capture
from auscult.privacy.matching import Matching
from auscult.privacy.message import Knowledge, Leak
from auscult.privacy.objectives import GradientDistance
from auscult.privacy.victim import Victim
from auscult.streams import Streams
from auscult.testing.victims import random_batch, small_victim


def taken(victim: Victim, **settings: object) -> tuple[Leak, Knowledge]:
    chosen = LeakSettings(**{"layers": ("fc",), "knowledge": "transcripts", **settings})  # type: ignore[arg-type]
    batches = [random_batch(victim, chosen.batch, seconds=0.3 + 0.1 * number, seed=number) for number in range(chosen.clients)]
    return capture(victim, batches, ["a"] * (chosen.batch * chosen.clients), chosen, Streams(0))[:2]


def matching_of(victim: Victim, **settings: object) -> Matching:
    leak, knowledge = taken(victim, **settings)
    return Matching(victim, leak, leak.tensors, knowledge, GradientDistance("both"), "float64")


@pytest.mark.parametrize("name", ["deepspeech1", "deepspeech2"])
@pytest.mark.parametrize("arguments", [{}, {"rate": 3.0, "basis": True, "total_variation": 1e-3}])
def test_the_objective_never_rises(name: str, arguments: dict[str, Any]) -> None:
    victim = small_victim(name)
    leak, knowledge = taken(victim)
    objectives: list[float] = []

    def report(iteration: int, total: int, values: Mapping[str, float]) -> None:
        objectives.append(values["objective"])

    found = HessianFree(iterations=15, directions=16, patience=3, **arguments).run(
        victim, leak, knowledge, Watch(np.random.default_rng(0), report)
    )
    assert all(later <= earlier for earlier, later in pairwise(objectives))
    assert objectives[-1] < objectives[0]
    assert found.objective == objectives[-1]


@pytest.mark.parametrize("name", ["deepspeech1", "deepspeech2"])
@pytest.mark.parametrize("settings", [{}, {"clients": 2, "batch": 2}])
def test_guesses_side_by_side_are_those_alone(name: str, settings: dict[str, object]) -> None:
    matching = matching_of(small_victim(name), **settings)
    generator = torch.Generator().manual_seed(0)
    candidates = Candidates(matching, generator)
    assert candidates.together
    guesses = torch.randn((5, *matching.shape), generator=generator, dtype=torch.float64)
    torch.testing.assert_close(candidates.distances(guesses), [matching.value(guess) for guess in guesses], rtol=1e-7, atol=1e-12)


@pytest.mark.parametrize(
    ("mode", "settings"),
    [("train", {}), ("eval", {"layers": ("rnn.1", "fc")}), ("eval", {"kind": "delta", "steps": 2})],
)
def test_what_does_not_fit_side_by_side_is_computed_alone(mode: Any, settings: dict[str, object]) -> None:
    matching = matching_of(small_victim("deepspeech2", mode=mode), **settings)
    generator = torch.Generator().manual_seed(0)
    candidates = Candidates(matching, generator)
    assert not candidates.together  # batch statistics of all guesses would be mixed; other layers need a pass each
    guesses = torch.randn((2, *matching.shape), generator=generator, dtype=torch.float64)
    assert candidates.distances(guesses) == [matching.value(guess) for guess in guesses]


@pytest.mark.parametrize("basis", [False, True])
def test_a_direction_has_norm_one_and_touches_one_true_frame(basis: bool) -> None:
    matching = matching_of(small_victim("deepspeech1"), clients=2)
    directions = HessianFree(basis=basis)._directions(matching, torch.Generator().manual_seed(0))
    torch.testing.assert_close(directions.flatten(1).norm(dim=1), torch.ones(64, dtype=torch.float64))
    touched = directions.abs().sum(-1) > 0  # (directions, utterances, frames)
    assert touched.flatten(1).sum(1).tolist() == [1] * 64
    assert not bool(touched[:, 0, int(matching.lengths[0]) :].any())
    assert ((directions != 0).flatten(1).sum(1) == 1).all() == basis
