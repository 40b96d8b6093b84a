"""Gradient matching by descent: how far the objective falls, what is refused, and that a stopped attack ends where it would have."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from auscult.errors import UserError
from auscult.privacy.attack import Attack, Reconstruction, Watch
from auscult.privacy.attacks.gradient_matching import GradientMatching
from auscult.privacy.attacks.zeroth_order import HessianFree
from auscult.privacy.capture import LeakSettings, capture
from auscult.privacy.message import Knowledge, Leak, Truth
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
        self.counts: list[tuple[int, int]] = []
        self.states: list[Mapping[str, Any]] = []
        self.stop_after = stop_after

    def watch(self, resume: Mapping[str, Any] | None = None, seed: int = 0) -> Watch:
        return Watch(np.random.default_rng(seed), self.report, resume, self.save)

    def report(self, iteration: int, total: int, values: Mapping[str, float]) -> None:
        self.objectives.append(values["objective"])
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


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("deepspeech1", {}),
        ("deepspeech1", {"optimizer": "lbfgs", "rate": 1.0, "dtype": "float64"}),
        ("deepspeech2", {}),
        ("deepspeech2", {"method": "pearlmutter"}),
        ("deepspeech2", {"signed": True, "projection": "front_end"}),
    ],
)
def test_the_objective_falls_tenfold(name: str, arguments: dict[str, Any]) -> None:
    found, recorder = attacked(GradientMatching(**{"restarts": 1, "iterations": 30, "rate": 0.1, **arguments}), small_victim(name))
    assert found.objective is not None
    assert found.objective < recorder.objectives[0] / 10
    assert found.notes == ()
    assert found.gradients >= 60


@pytest.mark.parametrize("settings", [{"clients": 2, "batch": 2}, {"kind": "delta", "steps": 2, "rate": 0.01}])
def test_sums_and_deltas_are_matched(settings: dict[str, object]) -> None:
    victim = small_victim("deepspeech2", activation="softplus")
    found, recorder = attacked(GradientMatching(restarts=1, iterations=25, rate=0.1), victim, **settings)
    assert found.objective is not None
    assert found.objective < recorder.objectives[0] / 5
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
