"""Names to classes: what can be registered, found, described and built."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from importlib.metadata import EntryPoint
from typing import TYPE_CHECKING, Annotated, Any

import pytest
from pydantic import Field

from auscult import registry
from auscult.errors import UserError
from auscult.recipe.sections import describe_parameters, section_models
from auscult.registry import INJECTED, Component, build, lookup, marker, parameters, register, registered, revision, scope

if TYPE_CHECKING:
    from decimal import Decimal


class Ear:
    def __init__(self, sample_rate: Annotated[int, INJECTED], bins: Annotated[int, Field(gt=0)] = 4) -> None:
        self.sample_rate, self.bins = sample_rate, bins


class Head:
    """A head.

    Args:
        ear: hears.
        ears: hear
            together.
    """

    def __init__(
        self,
        ear: Annotated[Ear, Component("front_end", default="ear", default_arguments={"bins": 9})],
        ears: Annotated[list[Ear], Component("front_end", many=True)],
        spare: Annotated[Ear | None, Component("front_end")] = None,
        pitch: Annotated[float, INJECTED] = 1.0,
    ) -> None:
        self.ear, self.ears, self.spare, self.pitch = ear, ears, spare, pitch


@pytest.fixture(autouse=True)
def _empty() -> Iterator[None]:
    with scope(empty=True):
        register("front_end", "ear")(Ear)
        register("model", "head")(Head)
        yield


def test_components_and_injected_values() -> None:
    head = build("model", {"name": "head", "ears": [{"name": "ear", "bins": 2}]}, sample_rate=8000, unused=1)
    assert (head.ear.bins, head.ear.sample_rate, head.ears[0].bins, head.spare, head.pitch) == (9, 8000, 2, None, 1.0)


@pytest.mark.parametrize(
    ("section", "context", "message"),
    [
        ({"name": "hed"}, {}, 'unknown model "hed" (did you mean "head"?); known: head'),
        ({"name": "head", "spar": None}, {}, 'model "head": unknown key "spar" (did you mean "spare"?)'),
        ({"name": "head"}, {}, "needs 'sample_rate' from the program"),
    ],
)
def test_what_cannot_be_built(section: dict[str, Any], context: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError) as caught:
        build("model", section, **context)
    assert message in str(caught.value)


def test_names_belong_to_one_class() -> None:
    register("model", "head")(Head)
    with pytest.raises(UserError, match="already registered by"):
        register("model", "head")(Ear)
    with pytest.raises(UserError, match="lower_snake_case"):
        register("model", "Head")
    with pytest.raises(UserError, match='unknown registry kind "modell"'):
        register("modell", "head")
    with pytest.raises(UserError, match='unknown registry kind "modell"'):
        registered("modell")


def test_a_scope_forgets_what_was_registered_in_it() -> None:
    before = revision()
    with scope(empty=True):
        assert registered("model") == {}
        register("model", "inner")(Ear)
        assert list(registered("model")) == ["inner"]
    assert list(registered("model")) == ["head"]
    assert revision() > before


def test_markers_and_parameters() -> None:
    declared = parameters(Head)
    assert list(declared) == ["ear", "ears", "spare", "pitch"]
    assert marker(declared["pitch"]) is INJECTED
    assert marker(parameters(Ear)["bins"]) is None
    assert describe_parameters(Head) == {"ear": "hears.", "ears": "hear together."}


class Swallows:
    def __init__(self, **options: int) -> None:
        pass


class Untyped:
    def __init__(self, width) -> None:  # type: ignore[no-untyped-def]
        pass


class Unreadable:
    def __init__(self, width: Decimal) -> None:
        pass


class Reserved:
    def __init__(self, name: str) -> None:
        pass


class Foreign:
    def __init__(self, other: Ear) -> None:
        pass


class Nested:
    def __init__(self, inner: Annotated[Any, Component("model")] = None) -> None:
        pass


@pytest.mark.parametrize(
    ("cls", "message"),
    [
        (Swallows, "Swallows: parameter 'options' cannot be a recipe key"),
        (Untyped, "Untyped: parameter 'width' cannot be a recipe key"),
        (Unreadable, "Unreadable: a constructor annotation cannot be read"),
        (Reserved, "Reserved: a constructor parameter cannot be called 'name' in a recipe"),
        (Foreign, "Foreign: the constructor's types cannot be a recipe section"),
        (Nested, "components form a cycle: model -> model"),
    ],
)
def test_signatures_that_are_no_schema(cls: type, message: str) -> None:
    register("model", "wrong")(cls)
    with pytest.raises(UserError) as caught:
        section_models("model")
    assert message in str(caught.value)


class _Broken(EntryPoint):
    def load(self) -> Any:
        raise ImportError("no module named x")


def test_a_broken_plugin_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "entry_points", lambda group: [_Broken("theirs", "their.module:Model", group)])
    monkeypatch.setattr(registry, "PACKAGES", {**registry.PACKAGES, "model": ()})
    with pytest.raises(UserError, match="the installed plug-in theirs"):
        registry._discover.__wrapped__("model")


def test_the_packages_of_the_kinds_exist() -> None:
    for packages in registry.PACKAGES.values():
        for package in packages:
            importlib.import_module(package)
    with pytest.raises(UserError, match="unknown attack"):
        lookup("attack", "none")
