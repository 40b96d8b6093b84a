"""An attack sees the victim, the message and the knowledge, and nothing that holds the truth."""

from __future__ import annotations

import inspect
import typing

import numpy as np
import pytest

from auscult.privacy.attack import Attack, Watch
from auscult.privacy.defence import Defence
from auscult.privacy.message import Knowledge, Leak
from auscult.privacy.victim import Victim
from auscult.registry import registered

ATTACKS = sorted(registered("attack").items())


@pytest.mark.parametrize(("name", "attack"), ATTACKS, ids=[name for name, _ in ATTACKS])
def test_the_types_of_an_attack_leave_no_way_to_the_truth(name: str, attack: type) -> None:
    assert issubclass(attack, Attack)
    hints = typing.get_type_hints(attack.run)
    given = [hints[parameter] for parameter in inspect.signature(attack.run).parameters if parameter != "self"]
    assert given == [Victim, Leak, Knowledge, Watch]


def test_a_victim_holds_no_data() -> None:
    for hint in typing.get_type_hints(Victim.__init__).values():
        assert "Batch" not in str(hint)
        assert "Truth" not in str(hint)


def test_every_defence_is_one() -> None:
    assert registered("defence")
    assert all(issubclass(defence, Defence) for defence in registered("defence").values())


def test_a_watch_draws_the_same_for_the_same_generator() -> None:
    first, second = (Watch(np.random.default_rng(3)).generator.initial_seed() for _ in range(2))
    assert first == second
