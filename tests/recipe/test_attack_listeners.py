"""The sections that say who listens to reconstructions: optional, checked, and no reason to attack again what was attacked before."""

from __future__ import annotations

from typing import Any

import pytest

from auscult.errors import UserError
from auscult.recipe.attack import AttackRecipe

VALUES: dict[str, Any] = {
    "task": {"name": "recognition"},
    "data": {"corpus": {"name": "folder", "source": "somewhere"}, "sample_rate": 16000, "train": "train", "batch": {"items": 2}},
    "model": {"name": "deepspeech1"},
    "optimizer": {"name": "adam"},
    "budget": {"updates": 1},
    "attack": {"name": "transcript_search"},
    "utterances": {"count": 2},
}


def test_nobody_listens_unless_asked_and_the_hash_stays_that_of_earlier_runs() -> None:
    plain = AttackRecipe.from_dict(VALUES)
    assert plain.case.speakers is None
    assert plain.case.recogniser is None
    silent = AttackRecipe.from_dict({**VALUES, "speakers": None, "recogniser": None})
    heard = AttackRecipe.from_dict(VALUES, ["speakers.run=runs/a", "recogniser.run=runs/b"])
    assert plain.recipe.hash == silent.recipe.hash != heard.recipe.hash
    assert heard.case.speakers is not None
    assert heard.case.speakers.distractors is None


def test_what_is_wrong_is_named() -> None:
    for overrides, said in (
        (["speakers.distractors=validation"], r"speakers\.run"),
        (["speakers.run=a", "speakers.distractors=everyone"], r"speakers\.distractors"),
        (["recogniser.run=a", "recogniser.beam=3"], r"recogniser\.beam"),
    ):
        with pytest.raises(UserError, match=said):
            AttackRecipe.from_dict(VALUES, overrides)
