"""Whatever is in the file or in the overrides: a recipe or a `UserError`, nothing else ever comes out."""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from auscult.errors import UserError
from auscult.recipe import Recipe
from auscult.recipe.text import write_yaml

pytestmark = pytest.mark.usefixtures("module_toys")

VALID: dict[str, Any] = {
    "task": {"name": "recognition"},
    "data": {
        "corpus": {"name": "folder", "path": "audio"},
        "sample_rate": 16000,
        "train": ["a"],
        "test": {"splits": ["b"], "seconds": [1, None]},
        "augment": [{"name": "speed", "factors": [0.9]}],
        "batch": {"seconds": 3.0},
        "concatenate": {"strings": {"train": 3}},
    },
    "model": {"name": "toy", "hidden": 4, "masks": [{"name": "mask"}], "front_end": {"name": "bank"}},
    "optimizer": {"name": "adam"},
    "budget": {"updates": 10, "stop": {"patience": 2}},
    "size": "tiny",
}
KEYS = sorted({"name", "extends", "<adam>", "hidden", "hiden", "front_end", "kind", "", *VALID, *VALID["data"], *VALID["model"]})


def outcome(text: str | bytes, overrides: list[str] | None = None) -> Recipe | None:
    """Load a text as a file; anything but a recipe or a UserError escapes and fails the test."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "r.yaml"
        path.write_bytes(text if isinstance(text, bytes) else text.encode("utf-8", "replace"))
        return settled(lambda: Recipe.load(path, overrides or []))


def settled(make: Callable[[], Recipe]) -> Recipe | None:
    """Return the recipe, which must survive being written out, or None for a UserError, which must say something."""
    try:
        recipe = make()
    except UserError as error:
        message = str(error)
    else:
        assert Recipe.from_dict(recipe.to_dict()).hash == recipe.hash
        return recipe
    assert message
    assert "pydantic" not in message
    return None


SCALARS = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.sampled_from(["toy", "adam", "bank", "tiny", "a"])
)
TREES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=4), max_leaves=15
)


def nodes(tree: Any) -> list[tuple[Any, Any]]:
    """Return every (container, key) of a tree."""
    pairs = list(tree.items()) if isinstance(tree, dict) else list(enumerate(tree)) if isinstance(tree, list) else []
    return [(tree, key) for key, _ in pairs] + [place for _, child in pairs for place in nodes(child)]


@given(st.binary(max_size=200))
def test_random_bytes(data: bytes) -> None:
    outcome(data)


@given(st.text(st.sampled_from("{}[]:,-&*!|>'\"#%@`?\n \tabe1.~<"), max_size=60))
def test_random_yaml_signs(text: str) -> None:
    outcome(text)


@given(TREES)
def test_random_trees(tree: Any) -> None:
    settled(lambda: Recipe.from_dict(tree))


@settings(max_examples=300)
@given(st.data())
def test_random_mutations_of_a_valid_recipe(data: st.DataObject) -> None:
    tree = copy.deepcopy(VALID)
    for _ in range(data.draw(st.integers(1, 3))):
        container, key = data.draw(st.sampled_from(nodes(tree)))
        action = data.draw(st.sampled_from(["replace", "delete", "add"]))
        if action == "delete":
            del container[key]
        elif action == "add" and isinstance(container, dict):
            container[data.draw(st.sampled_from(KEYS))] = data.draw(TREES)
        else:
            container[key] = data.draw(TREES)
        if not tree:
            break
    settled(lambda: Recipe.from_dict(tree))


@given(st.data())
def test_random_edits_of_the_text_of_a_valid_recipe(data: st.DataObject) -> None:
    text = write_yaml(VALID)
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, min(len(text), start + 20)))
    outcome(text[:start] + data.draw(st.text(max_size=6)) + text[end:])


PATHS = st.lists(st.sampled_from([*KEYS, "0", "1", "-1", "99999999", "²"]), min_size=1, max_size=4).map(".".join)


@given(st.lists(st.tuples(PATHS, st.text(max_size=10) | SCALARS.map(str)).map("=".join) | st.text(max_size=10), max_size=3))
def test_random_overrides(overrides: list[str]) -> None:
    outcome(write_yaml(VALID), overrides)


def test_the_unmutated_recipe_is_valid() -> None:
    assert isinstance(outcome(write_yaml(VALID)), Recipe)


def test_a_key_spelled_like_a_union_tag_is_an_unknown_key() -> None:
    with pytest.raises(UserError, match="<adam>: unknown key"):
        Recipe.from_dict({"": None, "<adam>": None, "name": "adam"})
    values = copy.deepcopy(VALID)
    values["optimizer"]["<adam>"] = 1
    with pytest.raises(UserError, match=r"optimizer\.<adam>: unknown key"):
        Recipe.from_dict(values)
