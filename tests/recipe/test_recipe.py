"""The recipe as a whole: resolving, hashing, writing back, building."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from auscult.errors import UserError
from auscult.recipe import Batching, Data, Recipe
from auscult.recipe.recipe import narrowed
from auscult.runs.identity import fingerprint

pytestmark = pytest.mark.usefixtures("toys")


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_the_resolved_recipe_is_complete(values: dict[str, Any]) -> None:
    recipe = Recipe.from_dict(values)
    assert recipe.optimizer.to_dict() == {"name": "adam", "lr": 1e-3, "betas": (0.9, 0.999)}
    assert recipe.schedule.name == "constant"
    assert recipe.model["front_end"].to_dict() == {"name": "bank", "bins": 257}
    assert recipe.model["decoder"] is None
    assert recipe.model["masks"] == []
    assert recipe.data.batch == Batching(items=16)
    assert (recipe.guard.spike, recipe.check.threshold, recipe.precision.compute) == (8.0, None, "float32")
    with pytest.raises(KeyError):
        recipe.model["build"]


def test_a_recipe_is_frozen(values: dict[str, Any]) -> None:
    recipe = Recipe.from_dict(values)
    for part, key in ((recipe, "seed"), (recipe.optimizer, "lr"), (recipe.budget, "updates")):
        with pytest.raises(ValueError, match="frozen"):
            setattr(part, key, 3)


def test_sections_build_their_objects_with_components_and_injected_values(values: dict[str, Any]) -> None:
    values["model"].update(kernel=[5, 7], masks=[{"name": "mask", "width": 2}], decoder={"name": "bank", "bins": 3})
    model = Recipe.from_dict(values).model.build(sample_rate=8000)
    assert model.kernel == (5, 7)
    assert (model.front_end.bins, model.front_end.sample_rate, model.decoder.bins, model.masks[0].width) == (257, 8000, 3, 2)


def test_yaml_numbers_that_pyyaml_reads_as_text(tmp_path: Path, values: dict[str, Any]) -> None:
    path = write(tmp_path / "r.yaml", json.dumps(values).replace('"budget"', '"optimizer": {"lr": 1e-3}, "budget"'))
    assert Recipe.load(path).optimizer["lr"] == 0.001
    assert Recipe.load(path, ["optimizer.lr=3e-4"]).optimizer["lr"] == 0.0003
    assert Recipe.load(path, ["optimizer.lr=1"]).optimizer["lr"] == 1.0


def test_the_hash_names_results_only(values: dict[str, Any]) -> None:
    recipe = Recipe.from_dict(values)
    same = [
        "data.workers=4",
        "data.threads=2",
        "data.cache_megabytes=0",
        "budget.log_every=1",
        "check.log_every=1",
    ]
    same += ["precision.device=cpu", "sinks=[{name: diary}]", "optimizer.lr=0.001", "optimizer.lr=1e-3", "model.front_end={bins: 257}"]
    for override in same:
        assert Recipe.from_dict(values, [override]).hash == recipe.hash, override
    for override in (
        "seed=1",
        "optimizer.lr=1e-2",
        "data.error_budget=1",
        "model.front_end.bins=3",
        "optimizer={name: sgd, lr: 1e-3}",
        "guard.spike=9",
        "budget.checkpoint_every=3",
    ):
        assert Recipe.from_dict(values, [override]).hash != recipe.hash, override
    assert recipe.fingerprint("data") == fingerprint(recipe.hash, "data")


def test_every_field_without_effect_is_left_out_of_the_hash_by_its_declaration() -> None:
    marked = {name for name, info in Data.model_fields.items() if info.json_schema_extra == {"affects_result": False}}
    assert marked == {"workers", "threads", "cache_megabytes"}
    assert narrowed().model_fields["sinks"].json_schema_extra == {"affects_result": False}


def test_environment_variables_are_not_expanded(values: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    values["data"]["corpus"]["path"] = "${AUSCULT_DATA}/x"
    hashes = set()
    for folder in ("/a", "/b"):
        monkeypatch.setenv("AUSCULT_DATA", folder)
        hashes.add(Recipe.from_dict(values).hash)
    assert len(hashes) == 1


def test_resolved_yaml_loads_to_the_same_recipe(tmp_path: Path, values: dict[str, Any]) -> None:
    values["data"].update(train=["a", "b"], augment=[{"name": "speed", "factors": [0.9, 1]}], concatenate={"strings": {"train": 4}})
    values["data"]["corpus"].update(path="no", language="1e-3")
    values["model"].update(choice="0x10", table={"yes": 1e-9, "~": 2.0})
    values["size"] = "tiny"
    recipe = Recipe.from_dict(values, ["budget.stop={patience: 3}"])
    again = Recipe.load(write(tmp_path / "resolved.yaml", recipe.to_yaml()))
    assert again.to_dict() == recipe.to_dict()
    assert again.hash == recipe.hash == pickle.loads(pickle.dumps(recipe)).hash
    assert again.to_yaml() == recipe.to_yaml()


def test_the_size_dial_lies_under_what_is_written(values: dict[str, Any]) -> None:
    del values["model"]["hidden"]
    recipe = Recipe.from_dict(values, ["size=tiny"])
    assert recipe.derived == {"model.hidden": 8, "optimizer.lr": 0.5, "data.batch.seconds": 3.0}
    assert (recipe.model["hidden"], recipe.optimizer["lr"], recipe.data.batch.seconds) == (8, 0.5, 3.0)
    recipe = Recipe.from_dict(values, ["size=tiny", "model.hidden=5", "optimizer={name: sgd, lr: 1}", "data.batch.items=4"])
    assert recipe.derived == {}
    assert (recipe.model["hidden"], recipe.optimizer["lr"], recipe.data.batch) == (5, 1.0, Batching(items=4))
    assert Recipe.from_dict(values, ["size=small"]).model["front_end"]["bins"] == 80


def test_size_does_not_enter_the_hash_but_its_values_do(values: dict[str, Any]) -> None:
    written_out = ["model.hidden=8", "optimizer.lr=0.5", "data.batch.seconds=3"]
    assert Recipe.from_dict(values, ["size=tiny", "model.hidden=8"]).hash == Recipe.from_dict(values, written_out).hash


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["size=base"], 'model "toy" has no size "base"; it has tiny, small'),
        (["size=tiny", "model.name=plain"], 'model "plain" has no size "tiny"; it has none; remove the key'),
        (["size=huge"], "expected 'tiny', 'small' or 'base'"),
    ],
)
def test_a_size_the_model_lacks(values: dict[str, Any], overrides: list[str], message: str) -> None:
    with pytest.raises(UserError) as caught:
        Recipe.from_dict(values, overrides)
    assert message in str(caught.value)


def test_json_schema_has_every_class_its_bounds_and_its_descriptions() -> None:
    schema = Recipe.json_schema()
    definitions = schema["$defs"]
    hidden = definitions["ModelToy"]["properties"]["hidden"]
    assert hidden["minimum"] == 1
    assert hidden["description"] == "width of a layer, in units that have no unit."
    assert definitions["ModelToy"]["properties"]["name"]["const"] == "toy"
    assert {"$ref": "#/$defs/ModelToy"} in schema["properties"]["model"]["anyOf"]
    assert {"extends", "task", "data", "model", "sinks"} <= set(schema["properties"])
    assert definitions["Selection"]["anyOf"][0] == {"type": "string"}
    assert "required" not in json.dumps(schema)


def test_importing_the_recipe_brings_neither_torch_nor_numpy() -> None:
    code = "import sys, auscult.recipe; print([name for name in ('torch', 'numpy', 'lhotse', 'typer') if name in sys.modules])"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"


@pytest.mark.parametrize("key", ["fraction", "speaker_fraction"])
@pytest.mark.parametrize("part", [[0.5, 0.5], [0.9, 0.1], [0.0, 1.5], [-0.1, 1.0]])
def test_a_slice_that_holds_nothing_is_refused(toys: None, values: dict[str, Any], key: str, part: list[float]) -> None:
    values["data"]["train"] = {key: part}
    with pytest.raises(UserError, match=rf"data\.train.*{key if part[0] >= part[1] else 'number'}"):
        Recipe.from_dict(values)
