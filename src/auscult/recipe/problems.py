"""What pydantic found, said the way a person who wrote the YAML needs it.

Problem: validation errors name python types and union branches, know nothing of lines, and repeat one mistake once per branch
of a union. Choice: every error is brought back to the key that was written (union tags are stripped by walking the document
along the location), gets the place of that key or of the section that lacks it, and one plain sentence. Errors of the
branches of one union become one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel, ValidationError

from auscult.errors import did_you_mean
from auscult.recipe.document import describe
from auscult.recipe.sections import Choice, contents, tag
from auscult.recipe.text import Node, Place, Problem

Path = tuple[str | int, ...]

EXPECTED: dict[str, str] = {
    "int_type": "an integer",
    "int_from_float": "an integer",
    "int_parsing": "an integer",
    "int_parsing_size": "a smaller integer",
    "float_type": "a number",
    "float_parsing": "a number",
    "finite_number": "a finite number",
    "string_type": "text",
    "bool_type": "true or false",
    "list_type": "a list",
    "tuple_type": "a list",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
    "none_required": "nothing (null)",
}


def validation_problems(error: ValidationError, root: Node, model: type[BaseModel]) -> list[Problem]:
    """Return one problem per wrong key of a document, in document order.

    Args:
        error: what validating `root.plain()` against `model` raised.
        root: the document.
        model: the narrowed recipe class.
    """
    found: dict[Path, list[str]] = {}
    for details in error.errors(include_url=False):
        path = written_path(root, details["loc"])
        path, text = _sentence(dict(details), path, root, model)
        texts = found.setdefault(path, [])
        if text not in texts:
            texts.append(text)
    around = {path[:length] for path in found for length in range(len(path))}
    kept = [path for path in found if path not in around or not _only_types(found[path])]
    return [Problem(place_of(root, path), path, _joined(found[path], root, path)) for path in kept]


def written_path(root: Node, location: Sequence[str | int]) -> Path:
    """Return an error location without union tags: the parts that can be followed in the document, and a missing last key."""
    node: Node | None = root
    path: list[str | int] = []
    for position, part in enumerate(location):
        name = node.child("name") if node is not None else None
        child = node.child(part) if node is not None else None
        written = child is not None and position == len(location) - 1  # a key that somebody spelled like a tag
        if name is not None and part == tag(str(name.value)) and not written:
            continue
        if child is not None:
            node = child
            path.append(part)
        elif position == len(location) - 1 and node is not None and isinstance(node.value, dict) and isinstance(part, str):
            path.append(part)
    return tuple(path)


def place_of(root: Node, path: Path) -> Place:
    """Return the place of a key, or of the nearest section around it that was written."""
    node = root
    for part in path:
        child = node.child(part)
        if child is None:
            break
        node = child
    return node.place


def node_at(root: Node, path: Path) -> Node | None:
    """Return the node at a path, if the document has it."""
    node: Node | None = root
    for part in path:
        node = node.child(part) if node is not None else None
    return node


def annotations_at(root: Node, path: Path, model: type[BaseModel]) -> list[type[BaseModel] | Choice]:
    """Return what may stand at a path: models, and the `Choice` of a section, chosen by the names in the document."""
    here: list[type[BaseModel] | Choice] = [model]
    node: Node | None = root
    for part in path:
        node = node.child(part) if node is not None else None
        if not isinstance(part, int):
            fields = [candidate.model_fields[part] for candidate in _models(here) if part in candidate.model_fields]
            here = [item for info in fields for item in contents(info.annotation, info.metadata)]
        name = node.child("name") if node is not None else None
        if name is not None and isinstance(name.value, str):
            here += [item.models[name.value] for item in here if isinstance(item, Choice) and name.value in item.models]
    return here


def _models(items: Sequence[type[BaseModel] | Choice]) -> list[type[BaseModel]]:
    return [item for item in items if not isinstance(item, Choice)]


def _sentence(details: dict[str, Any], path: Path, root: Node, model: type[BaseModel]) -> tuple[Path, str]:
    kind, context = details["type"], details.get("ctx", {})
    node = node_at(root, path)
    if kind == "extra_forbidden":
        return path, _unknown_key(path, root, model)
    if kind == "missing":
        return path, "is missing; the key is required"
    if kind.startswith("union_tag"):
        return _unknown_name(path, root, model)
    if kind in EXPECTED:
        return path, f"expected {EXPECTED[kind]}, got {describe(node)}"
    if kind == "literal_error":
        return path, f"expected {context['expected']}, got {describe(node)}"
    if kind in ("value_error", "assertion_error"):
        return path, str(context["error"])
    if kind in ("too_short", "too_long"):
        limit = f"at least {context['min_length']}" if kind == "too_short" else f"at most {context['max_length']}"
        return path, f"expected {limit} entries, got {context['actual_length']}"
    message = str(details["msg"])
    if message.startswith("Input should be "):
        what = message.removeprefix("Input should be ")
        message = f"expected {'a number ' if what.startswith(('greater', 'less')) else ''}{what}"
    return path, f"{message}, got {describe(node)}"


def _unknown_key(path: Path, root: Node, model: type[BaseModel]) -> str:
    known = [key for item in _models(annotations_at(root, path[:-1], model)) for key in item.model_fields]
    others = f"; known here: {', '.join(known) or 'none'}"
    return f"unknown key{did_you_mean(str(path[-1]), known) or others}"


def _unknown_name(path: Path, root: Node, model: type[BaseModel]) -> tuple[Path, str]:
    choices = [item for item in annotations_at(root, path, model) if isinstance(item, Choice)]
    names = sorted(name for choice in choices for name in choice.models)
    known = f"known: {', '.join(names) or 'none'}"
    node = node_at(root, path)
    if node is None or not isinstance(node.value, dict):
        return path, f"expected a mapping with a name, got {describe(node)}; {known}"
    name = node.child("name")
    if name is None or name.value is None:
        return (*path, "name"), f"is missing; {known}"
    return (
        *path,
        "name",
    ), f'unknown {choices[0].kind if choices else "name"} "{name.value}"{did_you_mean(str(name.value), names)}; {known}'


def _only_types(texts: Sequence[str]) -> bool:
    return all(text.startswith("expected ") for text in texts)


def _joined(texts: Sequence[str], root: Node, path: Path) -> str:
    """Return one sentence for the branches of a union: "expected an integer or text, got true"."""
    if len(texts) == 1:
        return _hinted(texts[0], root, path)
    if not _only_types(texts):
        return "; ".join(texts)
    wanted: list[str] = [text.removeprefix("expected ").rpartition(", got ")[0] for text in texts]
    return _hinted(f"expected {' or '.join(wanted)}, got {describe(node_at(root, path))}", root, path)


def _hinted(text: str, root: Node, path: Path) -> str:
    node = node_at(root, path)
    numeric = node is not None and isinstance(node.value, (int, float))
    return f"{text}; put it in quotes" if numeric and text.startswith("expected text,") else text
