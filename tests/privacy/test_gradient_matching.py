"""Gradient matching by descent: that it falls as its gradient says, what is refused, and that a stopped attack ends where it would have."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch

from auscult.errors import UserError
from auscult.privacy.attack import Attack, Reconstruction, Watch
from auscult.privacy.attacks.gradient_matching import GradientMatching
from auscult.privacy.attacks.zeroth_order import HessianFree
from auscult.privacy.capture import LeakSettings, capture
from auscult.privacy.matching import Matching
from auscult.privacy.message import Knowledge, Leak, Truth
from auscult.privacy.search import starting_point
from auscult.privacy.victim import Victim
from auscult.registry import build
from auscult.streams import Streams
from auscult.testing.victims import random_batch, small_victim


def taken(victim: Victim, seconds: float = 0.3, **settings: object) -> tuple[Leak, Knowledge, Truth]:
    chosen = LeakSettings(**{"layers": ("fc",), "knowledge": "transcripts", **settings})  # type: ignore[arg-type]
    batches = [random_batch(victim, chosen.batch, seconds=seconds, seed=number) for number in range(chosen.clients)]
    return capture(victim, batches, ["a"] * (chosen.batch * chosen.clients), chosen, Streams(0))


class Recorder:
    """Keeps what an attack reports and saves; stops it after some saves, as a kill would."""

    def __init__(self, stop_after: int | None = None) -> None:
        self.objectives: list[float] = []
        self.lowest: list[float] = []
        self.counts: list[tuple[int, int]] = []
        self.states: list[Mapping[str, Any]] = []
        self.stop_after = stop_after

    def watch(self, resume: Mapping[str, Any] | None = None, seed: int = 0) -> Watch:
        return Watch(np.random.default_rng(seed), self.report, resume, self.save)

    def report(self, iteration: int, total: int, values: Mapping[str, float]) -> None:
        self.objectives.append(values["objective"])
        self.lowest.append(values.get("lowest", values["objective"]))
        self.counts.append((iteration, total))

    def save(self, state: Mapping[str, Any]) -> None:
        self.states.append(state)
        if len(self.states) == self.stop_after:
            raise KeyboardInterrupt


def attacked(attack: Attack, victim: Victim, **settings: object) -> tuple[Reconstruction, Recorder]:
    leak, knowledge, truth = taken(victim, **settings)  # type: ignore[arg-type]
    recorder = Recorder()
    found = attack.run(victim, leak, knowledge, recorder.watch())
    assert found.features is not None
    assert [one.shape for one in found.features] == [one.shape for one in truth.features]
    return found, recorder


VARIANTS: list[tuple[str, dict[str, Any]]] = [
    ("deepspeech1", {}),
    ("deepspeech1", {"optimizer": "lbfgs", "rate": 1.0, "dtype": "float64"}),
    ("deepspeech2", {}),
    ("deepspeech2", {"method": "pearlmutter"}),
    ("deepspeech2", {"signed": True, "projection": "front_end"}),
]


def guessed(victim: Victim, arguments: Mapping[str, Any], count: int, **settings: object) -> float:
    """Return the lowest objective of random guesses, drawn as an attack's starting points are: what no descent at all reaches."""
    leak, knowledge, _ = taken(victim, **settings)  # type: ignore[arg-type]
    attack = GradientMatching(**arguments)
    matching = Matching(victim, leak, attack.needed(leak, victim.chosen(attack.layers)), knowledge, attack.distance, attack.precision)
    generator = torch.Generator().manual_seed(99)
    return min(matching.value(starting_point("gaussian", matching, generator)) for _ in range(count))


@pytest.mark.parametrize(("name", "arguments"), VARIANTS)
def test_descent_beats_as_many_guesses_and_never_loses_its_lowest_point(name: str, arguments: dict[str, Any]) -> None:
    victim = small_victim(name)
    found, recorder = attacked(GradientMatching(**{"restarts": 1, "iterations": 30, "rate": 0.1, **arguments}), victim)
    assert found.objective is not None
    assert found.objective < guessed(victim, arguments, 60)  # each iteration costs a pass or two
    assert all(later <= earlier for earlier, later in pairwise(recorder.lowest))
    # an objective was scaled for the optimiser and back again
    assert all(lowest <= objective * (1 + 1e-9) for lowest, objective in zip(recorder.lowest, recorder.objectives, strict=True))
    assert found.objective <= recorder.lowest[-1]
    assert found.notes == ()
    assert found.gradients >= 60


@pytest.mark.parametrize("name", ["deepspeech1", "deepspeech2"])
@pytest.mark.parametrize("arguments", [{}, {"method": "pearlmutter"}, {"signed": True}])
def test_a_first_step_lowers_the_objective_by_what_the_gradient_says(name: str, arguments: dict[str, Any]) -> None:
    """Adam's first step is the rate along the signs, so that the objective falls by the rate times the gradient's sum of magnitudes."""
    victim, rate = small_victim(name), 1e-4
    attack = GradientMatching(restarts=1, iterations=2, rate=rate, schedule="constant", dtype="float64", **arguments)
    leak, knowledge, _ = taken(victim)
    recorder = Recorder()
    attack.run(victim, leak, knowledge, recorder.watch())
    matching = Matching(victim, leak, leak.tensors, knowledge, attack.distance, "float64")
    start = starting_point("gaussian", matching, recorder.watch().generator)
    fall = rate * float(matching.gradient(start, "exact")[1].abs().sum())
    assert recorder.objectives[0] - recorder.objectives[1] == pytest.approx(fall, rel=0.02)


@pytest.mark.parametrize("settings", [{"clients": 2, "batch": 2}, {"kind": "delta", "steps": 2, "rate": 0.01}])
def test_sums_and_deltas_are_matched(settings: dict[str, object]) -> None:
    victim = small_victim("deepspeech2", activation="softplus")
    found, recorder = attacked(GradientMatching(restarts=1, iterations=25, rate=0.1), victim, **settings)
    assert found.objective is not None
    assert found.objective < guessed(victim, {}, 50, **settings)
    assert found.objective <= min(recorder.objectives)
    assert found.notes == ()


def test_the_lowest_of_all_restarts_and_iterations_is_returned() -> None:
    attack = GradientMatching(restarts=3, iterations=8, rate=0.3, schedule="constant")
    victim = small_victim("deepspeech2")
    leak, knowledge, _ = taken(victim)
    recorder = Recorder()
    found = attack.run(victim, leak, knowledge, recorder.watch())
    assert found.objective is not None
    assert found.objective <= min(recorder.objectives)
    assert recorder.counts == [(number, 24) for number in range(1, 25)]
    assert len({recorder.objectives[8 * restart] for restart in range(3)}) == 3  # three starting points


ATTACKS: dict[str, Attack] = {
    "adam": GradientMatching(restarts=2, iterations=30, rate=0.1, schedule="plateau", patience=2),
    "lbfgs": GradientMatching(restarts=2, iterations=22, rate=1.0, optimizer="lbfgs"),
    "hessian_free": HessianFree(iterations=41, directions=4, start="gaussian", patience=2),
}


@pytest.mark.parametrize(("name", "stop_after"), [("adam", 1), ("adam", 2), ("lbfgs", 2), ("hessian_free", 1)])
def test_a_stopped_attack_continues_to_the_same_bits(name: str, stop_after: int) -> None:
    victim = small_victim("deepspeech1")
    leak, knowledge, _ = taken(victim)
    whole = ATTACKS[name].run(victim, leak, knowledge, Recorder().watch())
    stopped = Recorder(stop_after)
    with pytest.raises(KeyboardInterrupt):
        ATTACKS[name].run(victim, leak, knowledge, stopped.watch())
    again = ATTACKS[name].run(victim, leak, knowledge, Recorder().watch(stopped.states[-1]))
    assert whole.features is not None
    assert again.features is not None
    assert torch.equal(whole.features[0], again.features[0])
    assert (whole.objective, whole.gradients, whole.notes) == (again.objective, again.gradients, again.notes)


def test_a_saved_state_is_not_changed_by_later_steps_and_fits_its_settings_alone() -> None:
    victim = small_victim("deepspeech1")
    leak, knowledge, _ = taken(victim)
    recorder = Recorder()
    GradientMatching(restarts=1, iterations=45).run(victim, leak, knowledge, recorder.watch())
    first, second = (state["descent"]["frames"] for state in recorder.states[:2])
    assert not torch.equal(first, second)
    with pytest.raises(UserError, match="the saved search has rate"):
        GradientMatching(restarts=1, iterations=45, rate=0.2).run(victim, leak, knowledge, recorder.watch(recorder.states[0]))


def test_notes_say_what_stands_between_objective_and_truth() -> None:
    attack = GradientMatching(layers=("rnn", "fc"), restarts=1, iterations=1)
    assert "kink test failed" in attacked(attack, small_victim("deepspeech1"), layers=("rnn", "fc"))[0].notes[0]
    assert attacked(attack, small_victim("deepspeech2"), layers=("rnn", "fc"))[0].notes == ()
    last = GradientMatching(restarts=1, iterations=1)
    assert "masks" in attacked(last, small_victim("deepspeech1", dropout=0.2))[0].notes[0]
    assert "kink" in attacked(last, small_victim("deepspeech1"), kind="delta", steps=2)[0].notes[0]  # local steps move all layers


@pytest.mark.parametrize("attack", [GradientMatching(restarts=1, iterations=1), HessianFree(iterations=1, directions=2)])
def test_messages_of_another_computation_are_refused(attack: Attack) -> None:
    victim = small_victim("deepspeech1")
    leak, knowledge, _ = taken(victim)
    for changes, named in (
        ({"reduction": "batch_mean"}, "its reduction"),
        ({"mode": "train"}, "its mode"),
        ({"victim": "00000000"}, "its victim"),
    ):
        with pytest.raises(UserError, match=named):
            attack.run(victim, replace(leak, **changes), knowledge, Recorder().watch())  # type: ignore[arg-type]
    with pytest.raises(UserError, match=r"needs the gradient of fc\.weight, which was not sent"):
        attack.run(victim, *taken(victim, layers=("hidden",))[:2], Recorder().watch())
    with pytest.raises(UserError, match="needs the transcripts"):
        attack.run(victim, leak, Knowledge(knowledge.frames), Recorder().watch())


def test_recipe_sections_are_their_constructors() -> None:
    made = build("attack", {"name": "gradient_matching", "layers": ["rnn", "fc"], "objective": "both", "optimizer": "lbfgs"})
    assert made.layers == ("rnn", "fc")
    assert build("attack", {"name": "hessian_free", "lengths": 2}).factors == (2.0, 1.0)
    for section, named in (
        ({"start": "zero"}, "restarts from zero"),
        ({"optimizer": "lbfgs", "signed": True}, "line search"),
    ):
        with pytest.raises(UserError, match=named):
            build("attack", {"name": "gradient_matching", **section})
