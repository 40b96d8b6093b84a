"""Recipes of attacks: one document, every error at once, and ordinary recipes that know nothing of it."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest
import yaml

from auscult.errors import UserError
from auscult.recipe import Recipe
from auscult.recipe.attack import AttackRecipe, load_recipe

BASE: dict[str, Any] = {
    "task": {"name": "recognition"},
    "data": {"corpus": {"name": "synthetic"}, "sample_rate": 16000, "train": "train"},
    "model": {"name": "deepspeech1"},
    "budget": {"updates": 1},
}
ATTACKED = {**BASE, "attack": {"name": "first_layer_span"}}


def test_the_case_is_part_of_the_hash_and_of_what_is_written() -> None:
    one, other = (AttackRecipe.from_dict(ATTACKED, [f"leak.batch={batch}"]) for batch in (1, 2))
    assert len({Recipe.from_dict(BASE).hash, one.recipe.hash, other.recipe.hash}) == 3
    again = AttackRecipe.from_dict(yaml.safe_load(other.recipe.to_yaml()))
    assert again.recipe.hash == other.recipe.hash
    assert again.case.leak == other.case.leak
    assert pickle.loads(pickle.dumps(other.recipe)).hash == other.recipe.hash


def test_an_ordinary_recipe_knows_no_attack() -> None:
    with pytest.raises(UserError, match=r"attack: unknown key"):
        Recipe.from_dict(ATTACKED)
    assert "attack" not in Recipe.json_schema()["properties"]


@pytest.mark.parametrize(
    ("defence", "overrides"),
    [
        (None, ["defence.name=gaussian_noise", "defence.sigma=1e-3"]),
        ({"name": "gaussian_noise"}, ["defence.sigma=1e-3"]),
        ([{"name": "gaussian_noise", "sigma": 0.5}], ["defence.0.sigma=1e-3"]),
    ],
)
def test_one_defence_needs_no_list(defence: Any, overrides: list[str]) -> None:
    values = ATTACKED if defence is None else {**ATTACKED, "defence": defence}
    [found] = AttackRecipe.from_dict(values, overrides).case.defence
    assert found["sigma"] == 1e-3


def test_all_errors_come_at_once_with_the_nearest_word() -> None:
    overrides = ["leak.bach=2", "defence.name=gaussian_noise", "defence.sgima=1", "attack.flor=1", "utterences.count=3"]
    with pytest.raises(UserError) as raised:
        AttackRecipe.from_dict({**BASE, "attack": {"name": "character_set"}}, overrides)
    for named in ('did you mean "batch"', 'did you mean "sigma"', 'did you mean "floor"', 'did you mean "utterances"'):
        assert named in str(raised.value)


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["leak.batch=3"], "not a multiple of the 3 utterances of a message"),
        (["leak.steps=2"], "a gradient has one step"),
        (["attack.name=first_layer_spam"], 'did you mean "first_layer_span"'),
        (["victim.norm_mode=both"], "'eval' or 'train'"),
        (["leak.layers=[]"], "at least 1"),
        (["data.batch={poisson: 1}", "differential_privacy={noise_multiplier: 1.0, clip: 1.0}"], "not on a training"),
    ],
)
def test_what_does_not_fit_is_said(overrides: list[str], said: str) -> None:
    with pytest.raises(UserError, match=said):
        AttackRecipe.from_dict(ATTACKED, overrides)


def test_a_recipe_without_an_attack_says_so() -> None:
    with pytest.raises(UserError, match="attack: is missing"):
        AttackRecipe.from_dict(BASE)


def test_either_kind_of_file_can_be_shown(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(BASE))
    assert load_recipe(path).hash == Recipe.from_dict(BASE).hash
    assert load_recipe(path, ["attack.name=character_set"]).to_dict()["attack"]["name"] == "character_set"
