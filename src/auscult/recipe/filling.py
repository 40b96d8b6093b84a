"""What the user left out of a recipe: default sections, and the values behind the `size` dial.

Both are written into the document before it is validated, so that a wrong value in a default is found like any other and the
resolved recipe shows everything. The dial is the lowest layer: `SIZES` of the model class, under all that was written.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from auscult import registry
from auscult.recipe.document import merge
from auscult.recipe.sections import Choice, contents
from auscult.recipe.text import Node, Problem, from_plain


@dataclass(frozen=True)
class Dialled:
    """A document with the values of the size dial under it, and those values by dotted key."""

    root: Node
    derived: dict[str, Any]


def apply_size(root: Node, model: type[BaseModel], problems: list[Problem]) -> Dialled:
    """Lay a document over the values its model class lists for its `size`."""
    size, section = root.child("size"), root.child("model")
    name = section.child("name") if section is not None else None
    classes = registry.registered("model")
    if size is None or not isinstance(size.value, str) or name is None or not isinstance(name.value, str) or name.value not in classes:
        return Dialled(root, {})
    sizes: dict[str, dict[str, Any]] = getattr(classes[name.value], "SIZES", {})
    if size.value not in sizes:
        has = f"it has {', '.join(sizes)}" if sizes else "it has none; remove the key"
        problems.append(Problem(size.place, ("size",), f'model "{name.value}" has no size "{size.value}"; {has}'))
        return Dialled(root, {})
    source = f'size "{size.value}" of model "{name.value}"'
    dial = from_plain(sizes[size.value], source, problems)
    _name_sections(dial, model)
    merged = merge(dial, root)
    leaves = ((path, node) for path, node in merged.leaves() if node.place.source == source and path[-1:] != ("name",))
    return Dialled(merged, {".".join(map(str, path)): node.value for path, node in leaves})


def _name_sections(dial: Node, model: type[BaseModel]) -> None:
    """Give the dial's sections the default name, so that its rate for adam is not taken for another optimizer's."""
    for key, info in model.model_fields.items():
        section = dial.child(key)
        for item in contents(info.annotation, info.metadata):
            if isinstance(item, Choice) and item.default is not None and section is not None and isinstance(section.value, dict):
                section.value.setdefault("name", Node(item.default, section.place))


def fill_sections(node: Node, model: type[BaseModel]) -> None:
    """Write default sections, and the default name of sections without one, into a document, in place.

    Args:
        node: the part of the document that `model` describes.
        model: the narrowed recipe class, or one of its parts.
    """
    if not isinstance(node.value, dict):
        return
    for key, info in model.model_fields.items():
        for item in contents(info.annotation, info.metadata):
            child = node.value.get(key)
            if not isinstance(item, Choice):
                if child is not None:
                    fill_sections(child, item)
            elif item.many:
                for entry in child.value if child is not None and isinstance(child.value, list) else ():
                    _fill_chosen(entry, item)
            else:
                _fill_default(node.value, key, item, node)


def _fill_default(values: dict[str, Node], key: str, choice: Choice, around: Node) -> None:
    child = values.get(key)
    if choice.default is not None:
        if child is None or child.value is None:
            arguments = from_plain({"name": choice.default, **choice.default_arguments}, around.place.source, [])
            child = values[key] = _placed(arguments, child or around)
        elif isinstance(child.value, dict) and "name" not in child.value:
            child.value = {"name": Node(choice.default, child.place), **child.value}
    if child is not None:
        _fill_chosen(child, choice)


def _fill_chosen(section: Node, choice: Choice) -> None:
    name = section.child("name")
    if name is not None and isinstance(name.value, str) and name.value in choice.models:
        fill_sections(section, choice.models[name.value])


def _placed(node: Node, at: Node) -> Node:
    """Return a node whose parts all have one place: that of the section around it."""
    if isinstance(node.value, dict):
        return Node({key: _placed(child, at) for key, child in node.value.items()}, at.place)
    if isinstance(node.value, list):
        return Node([_placed(child, at) for child in node.value], at.place)
    return Node(node.value, at.place)
