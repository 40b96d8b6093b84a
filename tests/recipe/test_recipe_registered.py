"""Everything that is really registered, and every recipe that is shipped, seen through the recipe's schema."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import pytest
from pydantic import BaseModel, TypeAdapter

from auscult import registry
from auscult.recipe import Recipe
from auscult.recipe.attack import AttackRecipe, load_recipe
from auscult.recipe.sections import section_models
from auscult.recipe.sweep import Sweep

RECIPES = Path(__file__).resolve().parents[2] / "recipes"


@pytest.mark.parametrize("kind", [kind for kind, packages in registry.PACKAGES.items() if packages])
def test_defaults_are_values_a_recipe_may_hold(kind: str) -> None:
    """A default outside its own bounds or type would make a resolved recipe that cannot be loaded again."""
    models = section_models(kind)
    assert models
    for name, model in models.items():
        for key, info in model.model_fields.items():
            default = info.get_default(call_default_factory=True)
            if info.is_required() or isinstance(default, BaseModel):
                continue
            annotation: Any = Annotated[info.annotation, *info.metadata] if info.metadata else info.annotation
            found = TypeAdapter(annotation).validate_json(json.dumps(default), strict=True)
            assert found == default, f"{kind} {name}: {key}"


def test_every_size_of_every_model_makes_a_recipe() -> None:
    frame: dict[str, Any] = {"task": {"name": "recognition"}, "budget": {"updates": 1}}
    frame["data"] = {"corpus": {"name": "synthetic"}, "sample_rate": 16000}
    for name, cls in registry.registered("model").items():
        for size in getattr(cls, "SIZES", {}):
            recipe = Recipe.from_dict({**frame, "model": {"name": name}, "size": size})
            assert recipe.derived, f"{name} {size}"
            assert Recipe.from_dict(recipe.to_dict()).hash == recipe.hash


SHIPPED = sorted(path for path in RECIPES.rglob("*.yaml") if path.parent.name != "corpora")
SWEEPS = [path for path in SHIPPED if "\nsweep:" in path.read_text(encoding="utf-8")]


@pytest.mark.parametrize("path", SWEEPS, ids=lambda path: path.stem)
def test_shipped_sweeps_load(path: Path) -> None:
    found = Sweep.load(path)
    again = Sweep.from_dict(found.document)
    assert [one.recipes[0].recipe.hash for one in again.cells] == [one.recipes[0].recipe.hash for one in found.cells]


@pytest.mark.parametrize("path", [path for path in SHIPPED if path not in SWEEPS], ids=lambda path: path.stem)
def test_shipped_recipes_load(path: Path) -> None:
    recipe = load_recipe(path)
    values = recipe.to_dict()
    again = AttackRecipe.from_dict(values).recipe if "attack" in values else Recipe.from_dict(values)
    assert again.hash == recipe.hash
