"""Parents and overrides: what lies over what."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from auscult.errors import UserError
from auscult.recipe import Batching, Recipe

pytestmark = pytest.mark.usefixtures("toys")

PARENT = """\
task: {name: recognition}
data:
  corpus: {name: folder, path: x}
  sample_rate: 16000
  train: clean
  batch: {seconds: 30, buckets: 3}
  augment:
    - {name: speed, factors: [0.9]}
model: {name: toy, hidden: 4, rate: 0.5}
optimizer: {name: sgd, lr: 0.1, momentum: 0.9}
budget: {updates: 10}
"""


@pytest.fixture
def parent(tmp_path: Path) -> Path:
    path = tmp_path / "parent.yaml"
    path.write_text(PARENT)
    return path


def child_of(parent: Path, text: str, name: str = "child.yaml") -> Path:
    path = parent.parent / name
    path.write_text(f"extends: {parent.name}\n{text}")
    return path


def test_mappings_merge_key_by_key(parent: Path) -> None:
    recipe = Recipe.load(child_of(parent, "model: {hidden: 8}\noptimizer: {lr: 0.2}\n"))
    assert (recipe.model["hidden"], recipe.model["rate"]) == (8, 0.5)
    assert recipe.optimizer.to_dict() == {"name": "sgd", "lr": 0.2, "momentum": 0.9}


def test_a_section_of_another_name_replaces_the_parents(parent: Path) -> None:
    recipe = Recipe.load(child_of(parent, "optimizer: {name: adam}\n"))
    assert recipe.optimizer.to_dict() == {"name": "adam", "lr": 1e-3, "betas": (0.9, 0.999)}


def test_keys_that_exclude_one_another(parent: Path) -> None:
    assert Recipe.load(child_of(parent, "data: {batch: {items: 4}}\n")).data.batch == Batching(items=4, buckets=3)
    assert Recipe.load(parent, ["data.batch.items=2"]).data.batch == Batching(items=2, buckets=3)


def test_lists_are_replaced_and_selections_are_mappings_underneath(parent: Path) -> None:
    recipe = Recipe.load(child_of(parent, "data: {augment: [], train: {items: 5}}\n"), ["data.train.seconds=[1, null]", "data.test=other"])
    assert recipe.data.augment == []
    assert recipe.data.train is not None
    assert recipe.data.test is not None
    assert (recipe.data.train.splits, recipe.data.train.items, recipe.data.train.seconds) == (["clean"], 5, (1.0, None))
    assert recipe.data.test.splits == ["other"]


def test_parents_chain(parent: Path) -> None:
    middle = child_of(parent, "seed: 3\nbudget: {clip: 1}\n", "middle.yaml")
    recipe = Recipe.load(child_of(middle, "budget: {clip: 2.5}\n"))
    assert (recipe.seed, recipe.budget.clip, recipe.budget.updates) == (3, 2.5, 10)


def test_parents_are_found_beside_the_file_that_names_them(parent: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = parent.parent / "deeper"
    folder.mkdir()
    (folder / "child.yaml").write_text("extends: ../parent.yaml\n")
    monkeypatch.chdir(folder.parent.parent)
    assert Recipe.load(folder / "child.yaml").hash == Recipe.load(parent).hash


@pytest.mark.parametrize(
    ("extends", "message"),
    [
        ("child.yaml", ":1: extends: child.yaml extends this file again"),
        ("nowhere.yaml", ":1: extends: no file"),
        ("[parent.yaml, parent.yaml]", ":1: extends: expected the path of one recipe, got a list of 2"),
        (".", ":1: extends: no file"),
    ],
)
def test_parents_that_cannot_be(parent: Path, extends: str, message: str) -> None:
    child = parent.parent / "child.yaml"
    child.write_text(f"extends: {extends}\n")
    with pytest.raises(UserError) as caught:
        Recipe.load(child)
    assert f"{child}{message}" in str(caught.value)


def test_a_cycle_of_three_names_the_file_that_closes_it(tmp_path: Path) -> None:
    for name, other in (("a", "b"), ("b", "c"), ("c", "a")):
        (tmp_path / f"{name}.yaml").write_text(f"seed: 1\nextends: {other}.yaml\n")
    with pytest.raises(UserError, match=r"c\.yaml:2: extends: a\.yaml extends this file again"):
        Recipe.load(tmp_path / "a.yaml")


def test_overrides_reach_into_lists_and_append(parent: Path) -> None:
    overrides = ["data.augment.0.factors=[1, 2.5]", "data.augment.1.name=speed", "data.augment.1.factors=[3]", "sinks.0={name: diary}"]
    recipe = Recipe.load(parent, overrides)
    assert [section["factors"] for section in recipe.data.augment] == [[1.0, 2.5], [3.0]]
    assert recipe.sinks[0]["folder"] == "logs"


def test_an_override_of_a_name_comes_first_and_empties_the_section(parent: Path) -> None:
    recipe = Recipe.load(parent, ["optimizer.lr=0.3", "optimizer.name=adam"])
    assert recipe.optimizer.to_dict() == {"name": "adam", "lr": 0.3, "betas": (0.9, 0.999)}
    assert Recipe.load(parent, ["optimizer.name=sgd"]).optimizer["momentum"] == 0.9


def test_an_override_may_remove_a_part(parent: Path) -> None:
    assert Recipe.load(parent, ["data.train="]).data.train is None
    assert Recipe.load(parent, ["optimizer=null"]).optimizer.name == "adam"


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("seed", 'override "seed": expected key=value with a dotted key, such as optimizer.lr=3e-4'),
        ("a..b=1", 'override "a..b=1": expected key=value'),
        ("=1", 'override "=1": expected key=value'),
        ("seed=[", 'override "seed=[": not readable as YAML'),
        ("seed=!!python/object:os.system x", "the tag !!python/object:os.system is not allowed"),
        ("seed.x=1", 'override "seed.x=1": seed: is 5 and has no key "x"; set seed itself'),
        ("data.augment.7.factors=[1]", "data.augment.7: a list is addressed by index (0 to 0 exist, 1 appends)"),
        ("data.augment.first=1", "data.augment.first: a list is addressed by index"),
        ("optimizer.rate=1", 'override "optimizer.rate=1": optimizer.rate: unknown key'),
        ("extends=other.yaml", "extends: unknown key"),
        ("guard.spike=1e999", '"1e999" is not a finite number'),
    ],
)
def test_overrides_that_cannot_be(parent: Path, override: str, message: str) -> None:
    parent.write_text(PARENT + "seed: 5\n")
    with pytest.raises(UserError) as caught:
        Recipe.load(parent, [override])
    assert message in str(caught.value)


def test_overrides_do_not_change_the_dictionary_they_were_given(values: dict[str, Any]) -> None:
    Recipe.from_dict(values, ["model.hidden=9", "data.train=x"])
    assert values["model"] == {"name": "toy", "hidden": 4}
    assert "train" not in values["data"]
