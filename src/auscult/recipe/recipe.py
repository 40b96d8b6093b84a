"""The recipe itself: loading, resolving, hashing and writing back.

A recipe is narrowed to the classes registered at that moment (see `sections`) and validated as a whole, so that all errors of
a file come at once. What the user left out is filled in before validation: the resolved recipe is complete, and its hash does
not change when a default is written out. Environment variables in values are left alone (the corpora expand them on use), so
the hash does not depend on the machine.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, Field, PrivateAttr, ValidationError, create_model, model_validator

from auscult import registry
from auscult.errors import UserError
from auscult.recipe.differential_privacy import DifferentialPrivacy, conflict
from auscult.recipe.document import apply_overrides, expand_selections, load_layers
from auscult.recipe.fields import NO_EFFECT, Budget, Check, Data, Guard, Part, Precision, affects_result
from auscult.recipe.filling import apply_size, fill_sections
from auscult.recipe.problems import validation_problems
from auscult.recipe.sections import Section, section_field
from auscult.recipe.text import Node, Problem, from_plain, write_yaml

_Part = TypeVar("_Part", bound=Part)


class Recipe(Part):
    """The whole description of one run; made by `Recipe.load` or `Recipe.from_dict`, never by calling the class."""

    task: Section
    """What is learned: a registered task and its parameters."""
    data: Data
    """What is learned from and judged on."""
    model: Section
    """A registered model and its parameters."""
    optimizer: Section
    """A registered optimizer and its parameters; adam where left out."""
    schedule: Section
    """A registered learning-rate schedule and its parameters; constant where left out."""
    budget: Budget
    """How long to train."""
    precision: Precision = Precision()
    """Number format and device."""
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    """Feeds every random stream of the run."""
    check: Check = Check()
    """The single-batch overfit test of `auscult check`."""
    sinks: Annotated[list[Section], NO_EFFECT] = []
    """Where the run is reported to besides its own directory."""
    guard: Guard = Guard()
    """When an update is refused."""
    differential_privacy: Annotated[DifferentialPrivacy | None, Field(json_schema_extra=registry.LATER)] = None
    """Train so that the weights tell little of any single utterance, and say how little."""
    size: Annotated[Literal["tiny", "small", "base"] | None, NO_EFFECT] = None
    """Derives widths, rate and batch from the model's table of sizes; whatever is written in the recipe wins."""

    _derived: dict[str, Any] = PrivateAttr(default_factory=dict)

    @model_validator(mode="after")
    def _private(self) -> Recipe:
        found = conflict(self.differential_privacy, self.data, self.budget, self.precision)
        if found is not None:
            raise ValueError(found)
        return self

    @classmethod
    def load(cls, path: str | PathLike[str], overrides: Iterable[str] = ()) -> Recipe:
        """Read a recipe from a YAML file, with its parents and overrides.

        Args:
            path: the file; `extends: other.yaml` in it is relative to it.
            overrides: settings such as "optimizer.lr=3e-4" or "data.augment.0.factors=[0.9, 1.1]"; the values are YAML.

        Raises:
            UserError: the file cannot be read, or anything in it is wrong: one line per problem, with file, line and dotted key.
        """
        problems: list[Problem] = []
        root = load_layers(Path(path), problems)
        return resolve(apply_overrides(root, overrides, problems), problems)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], overrides: Iterable[str] = ()) -> Recipe:
        """Make a recipe from plain values: what a YAML file would hold, without `extends`.

        Raises:
            UserError: anything is wrong: one line per problem.
        """
        problems: list[Problem] = []
        if not isinstance(values, Mapping):
            raise UserError(f"recipe: expected a dictionary, got {type(values).__name__}")
        root = from_plain(values, "recipe", problems)
        expand_selections(root)
        return resolve(apply_overrides(root, overrides, problems), problems)

    @property
    def hash(self) -> str:
        """SHA-256 (64 hex characters) of the resolved recipe without the fields that have no effect on results."""
        text = json.dumps(_result_values(self), sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
        return hashlib.sha256(text.encode("utf-8")).hexdigest()

    def fingerprint(self, data_hash: str) -> str:
        """Return the 12 hex characters that name the run of this recipe on the data with that manifest hash."""
        return hashlib.sha256(f"{self.hash}\n{data_hash}".encode()).hexdigest()[:12]

    @property
    def derived(self) -> dict[str, Any]:
        """The values the `size` dial supplied, by dotted key; empty without a dial."""
        return dict(self._derived)

    def to_dict(self) -> dict[str, Any]:
        """Return the resolved recipe as JSON values; `from_dict` takes them back."""
        return self.model_dump(mode="json")

    def to_yaml(self) -> str:
        """Return the resolved recipe as YAML that loads to a recipe of the same hash."""
        return write_yaml(self.to_dict())

    @classmethod
    def json_schema(cls) -> dict[str, Any]:
        """Return a JSON Schema for editors: completion, types and descriptions of all registered classes.

        Required keys are not in it (a recipe with `extends` may leave anything out); the loader checks them.
        """
        schema = _without_required(narrowed().model_json_schema(by_alias=True))
        extends = {"type": "string", "description": "Path of one parent recipe, relative to this file."}
        schema["properties"] = {"extends": extends, **schema["properties"]}
        return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "title": "auscult recipe"}

    def __reduce__(self) -> tuple[Callable[..., Recipe], tuple[dict[str, Any]]]:
        return Recipe.from_dict, (self.to_dict(),)


_narrowed: dict[int, type[Recipe]] = {}


def narrowed() -> type[Recipe]:
    """Return the recipe class whose sections are those of the classes registered now."""
    if registry.revision() not in _narrowed:
        data = create_model(
            "Data",
            __base__=Data,
            corpus=redeclared(Data, "corpus", section_field("corpus")),
            more=redeclared(Data, "more", section_field("corpus", many=True)),
            augment=redeclared(Data, "augment", section_field("augmentation", many=True)),
        )
        made: type[Recipe] = create_model(
            "Recipe",
            __base__=Recipe,
            task=redeclared(Recipe, "task", section_field("task")),
            data=redeclared(Recipe, "data", data),
            model=redeclared(Recipe, "model", section_field("model")),
            optimizer=redeclared(Recipe, "optimizer", section_field("optimizer", default="adam")),
            schedule=redeclared(Recipe, "schedule", section_field("schedule", default="constant")),
            sinks=redeclared(Recipe, "sinks", section_field("sink", many=True)),
        )
        _narrowed.clear()
        _narrowed[registry.revision()] = made
    return _narrowed[registry.revision()]


def redeclared(model: type[BaseModel], name: str, annotation: Any) -> Any:
    """Return a field of a model under a narrower annotation, for `create_model`."""
    info = model.model_fields[name]
    default = ... if info.is_required() else info.default
    return annotation, Field(default, description=info.description, json_schema_extra=info.json_schema_extra)


def section_from(kind: str, values: Mapping[str, Any], overrides: Iterable[str] = ()) -> Section:
    """Make one section from plain values, for verbs that need no whole recipe (`auscult prepare`).

    Args:
        kind: registry kind.
        values: `{"name": ..., key: value}`.
        overrides: settings such as "error_budget=3"; the values are YAML.

    Raises:
        UserError: anything is wrong: one line per problem.
    """
    problems: list[Problem] = []
    fields: dict[str, Any] = {kind: (section_field(kind), ...)}
    model = create_model("Alone", __base__=Part, **fields)
    root = from_plain({kind: dict(values)}, "command line", problems)
    root = apply_overrides(root, [f"{kind}.{text}" for text in overrides], problems)
    fill_sections(root, model)
    section: Section = getattr(_validated(root, model, problems), kind)
    return section


def resolve(root: Node, problems: list[Problem], model: type[Recipe] | None = None) -> Recipe:
    """Fill in and validate a document.

    Args:
        root: layers and overrides merged.
        problems: found so far; they are reported together with what is found here.
        model: a narrowed class with further sections; plain recipes if None.

    Raises:
        UserError: anything is wrong: one line per problem.
    """
    model = model or narrowed()
    dial = apply_size(root, model, problems)
    fill_sections(dial.root, model)
    found = _validated(dial.root, model, problems)
    found._derived.update(dial.derived)
    return found


def _validated(root: Node, model: type[_Part], problems: Sequence[Problem]) -> _Part:
    found = None
    try:
        found = model.model_validate_json(json.dumps(root.plain()))
    except ValidationError as error:
        problems = [*problems, *validation_problems(error, root, model)]
    if problems or found is None:
        raise UserError("\n".join(str(problem) for problem in _in_order(problems)))
    return found


def _in_order(problems: Sequence[Problem]) -> list[Problem]:
    """Return the problems of each source by line, the sources in the order they first appear."""
    sources = list(dict.fromkeys(problem.place.source for problem in problems))
    return sorted(problems, key=lambda problem: (sources.index(problem.place.source), problem.place.line or 0))


def _result_values(value: Any) -> Any:
    if isinstance(value, BaseModel):
        fields = type(value).model_fields.items()
        kept = {name: getattr(value, name) for name, info in fields if affects_result(info, getattr(value, name))}
        return {name: _result_values(child) for name, child in kept.items()}
    if isinstance(value, dict):
        return {str(key): _result_values(child) for key, child in value.items()}
    if isinstance(value, (list, tuple)):
        return [_result_values(child) for child in value]
    return value


def _without_required(schema: Any) -> Any:
    """Drop `required`, and let several sections match where the name is inherited (`anyOf` for `oneOf`)."""
    if isinstance(schema, list):
        return [_without_required(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        {"oneOf": "anyOf"}.get(key, key): _without_required(value)
        for key, value in schema.items()
        if not (key == "required" and isinstance(value, list)) and not (key == "discriminator" and "propertyName" in value)
    }
