"""What a person reads who wrote something wrong: all of it at once, with file, line and key."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from auscult.errors import UserError
from auscult.recipe import Recipe

pytestmark = pytest.mark.usefixtures("toys")

WRONG = """\
task: {name: recognition}
data:
  corpus: {name: folder, path: x}
  train: a
  test:
    splits: [b, 84]
    items: 1.5
  validation:
    seconds: [5, 2]
  sample_rate: 16000
  batch: {seconds: 3, items: 4}
  augment:
    - {name: speed, factors: [1, x]}
    - {name: sped}
model:
  name: toy
  hiden: 3
  rate: 1.0
  mode: c
  front_end:
    bins: 0
    nane: 3
  masks: {}
  choice: [1]
  causal: "true"
optimizer: {name: adm, lr: true}
schedule: constant
budgt: {}
seed: "1"
"""

EXPECTED = """\
:1: budget: is missing; the key is required
:6: data.test.splits.1: expected text, got 84; put it in quotes
:7: data.test.items: expected an integer, got 1.5
:8: data.validation: seconds: the shortest (5.0) is longer than the longest (2.0); swap them
:11: data.batch: give one of seconds (audio per batch), items (utterances per batch), speakers (with utterances of each) \
and poisson (expected utterances), not several
:13: data.augment.0.factors.1: expected a number, got the text "x"
:14: data.augment.1.name: unknown augmentation "sped" (did you mean "speed"?); known: speed
:15: model.hidden: is missing; the key is required
:17: model.hiden: unknown key (did you mean "hidden"?)
:18: model.rate: expected a number less than 1, got 1.0
:19: model.mode: expected 'plain' or 'fancy', got the text "c"
:21: model.front_end.bins: expected a number greater than or equal to 1, got 0
:22: model.front_end.nane: unknown key (did you mean "name"?)
:23: model.masks: expected a list, got a mapping
:24: model.choice: expected an integer or text, got a list of 1
:25: model.causal: expected true or false, got the text "true"
:26: optimizer.name: unknown optimizer "adm" (did you mean "adam"?); known: adam, sgd
:27: schedule: expected a mapping with a name, got the text "constant"; known: constant
:28: budgt: unknown key (did you mean "budget"?)
:29: seed: expected an integer, got the text "1"
"""


def message(path: Path, overrides: list[str] | None = None) -> str:
    with pytest.raises(UserError) as caught:
        Recipe.load(path, overrides or [])
    return str(caught.value)


def test_every_error_of_a_file_at_once(tmp_path: Path) -> None:
    path = tmp_path / "wrong.yaml"
    path.write_text(WRONG)
    found = message(path).replace(str(path), "").splitlines()
    assert found == EXPECTED.splitlines()


def test_errors_of_parents_and_overrides_name_their_source(tmp_path: Path) -> None:
    parent, child = tmp_path / "parent.yaml", tmp_path / "child.yaml"
    parent.write_text("task: {name: recognition}\nbudget:\n  updates: 0\n")
    child.write_text("extends: parent.yaml\nmodel: {name: plain, x: 1}\ndata: {corpus: {name: folder, path: x}}\n")
    assert message(child, ["data.sample_rate=fast", "modl.x=3"]).splitlines() == [
        'override "data.sample_rate=fast": data.sample_rate: expected an integer, got the text "fast"',
        f"{child}:2: model.x: unknown key; known here: name",
        f"{parent}:3: budget.updates: expected a number greater than or equal to 1, got 0",
        'override "modl.x=3": modl: unknown key (did you mean "model"?)',
    ]


def test_an_unknown_key_named_like_the_section_is_found(values: dict[str, Any]) -> None:
    values["model"]["toy"] = 1
    with pytest.raises(UserError, match=r"model\.toy: unknown key"):
        Recipe.from_dict(values)


def test_a_wrong_value_of_the_size_table_is_reported_with_its_origin(values: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    from auscult import registry

    monkeypatch.setattr(registry.lookup("model", "toy"), "SIZES", {"tiny": {"model": {"width": 1}}})
    with pytest.raises(UserError) as caught:
        Recipe.from_dict(values, ["size=tiny"])
    assert str(caught.value).startswith('size "tiny" of model "toy": model.width: unknown key')


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("{1, 2}", 'got the text "{1, 2}"'),
        (float("nan"), "not a finite number"),
        pytest.param(10**400, "not a finite number", id="long"),
        pytest.param(10**5000, "digits", id="longer"),
        ({1}, "a value of type set is not allowed"),
        (b"x", "a value of type bytes is not allowed"),
        ("\ud800", "surrogate"),
    ],
)
def test_python_values_that_no_recipe_holds(values: dict[str, Any], value: Any, text: str) -> None:
    values["seed"] = value
    with pytest.raises(UserError, match=re.escape(text)):
        Recipe.from_dict(values)


def test_python_values_nested_in_themselves(values: dict[str, Any]) -> None:
    values["task"]["alphabet"] = values
    with pytest.raises(UserError, match="nested deeper"):
        Recipe.from_dict(values)
    with pytest.raises(UserError, match="expected a dictionary, got list"):
        Recipe.from_dict([])  # type: ignore[arg-type]
