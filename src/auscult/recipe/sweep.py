"""A grid of attacks: one recipe of an attack and, in one section more, what to vary.

Problem: "which defence helps" is a question about many runs, and a script that makes them up hides what was held fixed; a mistake in the
last of a hundred settings shows after a night. Choice: a sweep is a recipe of an attack with a section `sweep`, so that parents
(`extends`), overrides and messages about mistakes are those of any recipe; every axis is a dotted key with the values it takes, laid over
the recipe like an override. **All cells are validated before the first runs.** Seeds are no axis: runs that differ in nothing else are
averaged, because they are not further observations.

    extends: ds1_first_layer_span.yaml
    sweep:
      axes:
        utterances.seconds: [0.8, 3.0]
        defence: [none, {name: gaussian_noise, sigma: 1e-3}, {name: sign}]
      seeds: [0, 1]

A mapping as a value is merged (`leak: [{batch: 1}, {batch: 4, knowledge: lengths}]`), a section of another name replaces. Rejected: a
list of whole recipes (nobody sees what differs), a file of another kind that points at a recipe (two languages for one setting).
"""

from __future__ import annotations

import copy
import itertools
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, ValidationError, model_validator

from auscult.errors import UserError
from auscult.recipe.attack import AttackRecipe, resolve_attack
from auscult.recipe.document import apply_overrides, expand_selections, lay_over, load_layers
from auscult.recipe.fields import Part
from auscult.recipe.problems import validation_problems
from auscult.recipe.text import Node, Problem, from_plain, write_yaml

NONE = "none"
"""What an empty defence is called."""


class SweepSettings(Part):
    """What a sweep varies."""

    axes: Annotated[dict[str, Annotated[list[Any], Field(min_length=1)]], Field(min_length=1)]
    """Values by dotted key; every combination is a cell."""
    seeds: Annotated[list[Annotated[int, Field(ge=0, lt=2**63)]], Field(min_length=1)] | None = None
    """Seeds of every cell; the recipe's own if left out."""

    @model_validator(mode="after")
    def _once(self) -> SweepSettings:
        if self.seeds is not None and len(set(self.seeds)) < len(self.seeds):
            raise ValueError(f"seeds: {self.seeds} names a seed twice; the same run is no further observation")
        return self


class _Document(Part):
    sweep: SweepSettings


@dataclass(frozen=True)
class Cell:
    """One combination of values.

    Attributes:
        values: plain values by axis.
        labels: the same in a few words.
        recipes: of its runs, one per seed.
    """

    values: Mapping[str, Any]
    labels: Mapping[str, str]
    recipes: tuple[AttackRecipe, ...]

    @property
    def id(self) -> str:
        """All labels on one line."""
        return ", ".join(f"{axis} {label}" for axis, label in self.labels.items())

    @property
    def defence(self) -> tuple[str, str]:
        """The names of its defences, and their strengths in words."""
        sections = [section.to_dict() for section in self.recipes[0].case.defence]
        return "+".join(str(one["name"]) for one in sections) or NONE, ", ".join(filter(None, map(_strength, sections)))


@dataclass(frozen=True)
class Sweep:
    """A grid of attacks, every cell validated.

    Attributes:
        name: of the file without its ending.
        document: plain values with the section `sweep`; `from_dict` takes them back.
        axes: labels of the values by axis.
        seeds: of every cell.
        cells: in the order of the axes, the last one fastest.
    """

    name: str
    document: Mapping[str, Any]
    axes: Mapping[str, tuple[str, ...]]
    seeds: tuple[int, ...]
    cells: tuple[Cell, ...]

    @classmethod
    def load(cls, path: str | PathLike[str], overrides: Iterable[str] = ()) -> Sweep:
        """Read a YAML file.

        Args:
            path: the file; `extends` in it may name a recipe of an attack.
            overrides: settings of the recipe, or such as "sweep.seeds=[0]" and "sweep.axes.leak.batch=[1, 2]"; the values are YAML.

        Raises:
            UserError: anything in the file or in any of its cells is wrong: one line per problem, with file, line and dotted key.
        """
        problems: list[Problem] = []
        root = apply_overrides(load_layers(Path(path), problems), overrides, problems)
        return _expanded(Path(path).stem, root, problems)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], overrides: Iterable[str] = (), name: str = "grid") -> Sweep:
        """Make one from plain values; arguments and errors as `load`."""
        problems: list[Problem] = []
        if not isinstance(values, Mapping):
            raise UserError(f"sweep: expected a dictionary, got {type(values).__name__}")
        root = from_plain(values, "sweep", problems)
        expand_selections(root)
        return _expanded(name, apply_overrides(root, overrides, problems), problems)

    def to_yaml(self) -> str:
        """Return the document as YAML, parents and overrides merged."""
        return write_yaml(self.document)


def _expanded(name: str, root: Node, problems: list[Problem]) -> Sweep:
    if root.child("sweep") is None:
        place = root.place
        problems.append(Problem(place, (), "has no section sweep, which lists the axes of the grid; run a single attack without `sweep`"))
    section = root.value.pop("sweep", None) if isinstance(root.value, dict) else None
    settings = _settings(section, problems) if section is not None else None
    if problems or section is None or settings is None:
        _refuse(_problems_of(root, problems))
    assert section is not None
    assert settings is not None
    axes = _axes(section)
    seeds = tuple(settings.seeds) if settings.seeds is not None else (None,)
    cells = _cells(root, axes, seeds)
    labels = {axis: tuple(_label(axis, value) for value in values) for axis, values in axes.items()}
    known = tuple(recipe.recipe.seed for recipe in cells[0].recipes)
    return Sweep(name, {**root.plain(), "sweep": section.plain()}, labels, known, cells)


def _settings(section: Node, problems: list[Problem]) -> SweepSettings | None:
    """Validate the section, dotted and nested axes made one."""
    around = Node({"sweep": section}, section.place)
    axes = section.child("axes")
    if axes is not None and isinstance(axes.value, dict):
        axes.value = dict(_flattened(axes))
        for axis, node in axes.value.items():
            if axis == "seed" or not all(part.strip() for part in axis.split(".")):
                said = "seeds are no axis, their runs are averaged; list them in sweep.seeds" if axis == "seed" else "is no dotted key"
                problems.append(Problem(node.place, ("sweep", "axes", axis), said))
    try:
        return _Document.model_validate_json(json.dumps(around.plain())).sweep
    except ValidationError as error:
        problems += validation_problems(error, around, _Document)
        return None


def _flattened(node: Node, path: tuple[str, ...] = ()) -> Iterator[tuple[str, Node]]:
    assert isinstance(node.value, dict)
    for key, child in node.value.items():
        if isinstance(child.value, dict) and child.value:
            yield from _flattened(child, (*path, key))
        else:
            yield ".".join((*path, key)), child


def _axes(section: Node) -> dict[str, list[Node]]:
    """Return the values of every axis; the word none is no defence."""
    axes = section.child("axes")
    assert axes is not None
    assert isinstance(axes.value, dict)
    found: dict[str, list[Node]] = {}
    for axis, node in axes.value.items():
        assert isinstance(node.value, list)  # the settings were validated
        found[axis] = [Node(None, one.place) if axis == "defence" and one.value == NONE else one for one in node.value]
    return found


def _cells(root: Node, axes: Mapping[str, list[Node]], seeds: tuple[int | None, ...]) -> tuple[Cell, ...]:
    combinations = list(itertools.product(*axes.values()))
    cells, said, hashes, twice = list[Cell](), dict[str, list[str]](), dict[str, str](), list[tuple[str, str]]()
    for values in combinations:
        chosen = dict(zip(axes, values, strict=True))
        labels = {axis: _label(axis, value) for axis, value in chosen.items()}
        recipes = []
        try:
            recipes = [_recipe(root, chosen, seed) for seed in seeds]
        except UserError as error:
            for line in str(error).split("\n"):
                said.setdefault(line, []).append(", ".join(f"{axis} {label}" for axis, label in labels.items()))
            continue
        cells.append(Cell({axis: value.plain() for axis, value in chosen.items()}, labels, tuple(recipes)))
        if recipes[0].recipe.hash in hashes:
            twice.append((hashes[recipes[0].recipe.hash], cells[-1].id))
        hashes[recipes[0].recipe.hash] = cells[-1].id
    total = len(combinations)
    where = {line: "" if len(found) == total else f" (in {len(found)} of {total} cells, first {found[0]})" for line, found in said.items()}
    same = [f"sweep.axes: {len(twice)} of {total} cells are there twice, first {' and '.join(twice[0])}; keep one"] if twice else []
    _refuse([*(f"{line}{place}" for line, place in where.items()), *same])
    return tuple(cells)


def _recipe(root: Node, chosen: Mapping[str, Node], seed: int | None) -> AttackRecipe:
    made, problems = copy.deepcopy(root), list[Problem]()
    for axis, value in chosen.items():
        lay_over(made, axis.split("."), copy.deepcopy(value), problems)
    if seed is not None:
        lay_over(made, ["seed"], Node(seed, made.place), problems)
    return resolve_attack(made, problems)


def _problems_of(root: Node, problems: list[Problem]) -> list[str]:
    """Return what is wrong with the section, and with the recipe around it."""
    lines = [str(problem) for problem in problems]
    try:
        resolve_attack(copy.deepcopy(root), [])
    except UserError as error:
        lines += str(error).split("\n")
    return lines


def _refuse(lines: Iterable[str]) -> None:
    every = list(dict.fromkeys(lines))
    if every:
        raise UserError("\n".join(every))


def _label(axis: str, node: Node) -> str:
    """Return a value in a few words.

    >>> from auscult.recipe.text import Place
    >>> _label("defence", from_plain({"name": "gaussian_noise", "sigma": 1e-3}, "x", []))
    'gaussian_noise sigma 0.001'
    """
    return _words(node.plain()) or NONE


def _words(value: Any) -> str:
    if isinstance(value, dict):
        name = [str(value["name"])] if "name" in value else []
        return " ".join([*name, *(f"{key} {_words(child)}" for key, child in value.items() if key != "name")])
    if isinstance(value, list):
        return " + ".join(map(_words, value))
    if isinstance(value, bool):
        return str(value).lower()
    return "" if value is None else str(value)


def _strength(section: Mapping[str, Any]) -> str:
    shown = {key: value for key, value in section.items() if key != "name" and value is not None and value is not False}
    return ", ".join(key if value is True else f"{key} {_words(value)}" for key, value in shown.items())
