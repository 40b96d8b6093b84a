"""YAML text to a tree that knows where every value stands, and back.

Problem: `yaml.safe_load` forgets line numbers, lets the second of two equal keys win, reads `1e-3` as text and `no` as false.
Choice: PyYAML composes the syntax tree (no constructor runs, so no file can run code) and the values are made here, with the
scalar rules of YAML 1.2: only `true` and `false` are booleans, `1e-3` is a number, and a number with leading zeros (a speaker
id, say) or a date stays text. Keys are always text. Rejected: ruamel.yaml, a second YAML library for line numbers alone.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from os import PathLike, fspath
from pathlib import Path
from typing import Any, TypeAlias

import yaml

from auscult.errors import UserError

Scalar: TypeAlias = str | int | float | bool | None

MAXIMUM_DEPTH = 50
MAXIMUM_NODES = 100_000

_PLAIN = "tag:yaml.org,2002:"
_RULES = (
    ("bool", r"^(?:true|True|TRUE|false|False|FALSE)$", "tTfF"),
    ("null", r"^(?:~|null|Null|NULL|)$", ["~", "n", "N", ""]),
    ("int", r"^(?:[-+]?(?:0|[1-9][0-9]*)|0x[0-9a-fA-F]+|0o[0-7]+)$", "-+0123456789"),
    ("float", r"^[-+]?(?:(?:0|[1-9][0-9]*)(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][-+]?[0-9]+)?$", "-+.0123456789"),
    ("float", r"^(?:[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$", "-+."),
)


@dataclass(frozen=True)
class Place:
    """Where a value was written: a file and a line, or a source that has no lines (an override, the size dial)."""

    source: str
    line: int | None = None

    def __str__(self) -> str:
        return self.source if self.line is None else f"{self.source}:{self.line}"


@dataclass
class Node:
    """One value of a document: a mapping or a list of nodes, or a scalar, with the place of its key or item."""

    value: dict[str, Node] | list[Node] | Scalar
    place: Place

    def plain(self) -> Any:
        """Return the value without places: dictionaries, lists and scalars."""
        if isinstance(self.value, dict):
            return {key: child.plain() for key, child in self.value.items()}
        if isinstance(self.value, list):
            return [child.plain() for child in self.value]
        return self.value

    def child(self, key: str | int) -> Node | None:
        """Return the entry under a key or index, or None."""
        if isinstance(self.value, dict) and isinstance(key, str):
            return self.value.get(key)
        if isinstance(self.value, list) and isinstance(key, int) and 0 <= key < len(self.value):
            return self.value[key]
        return None

    def leaves(self, path: tuple[str | int, ...] = ()) -> Iterator[tuple[tuple[str | int, ...], Node]]:
        """Yield every scalar with its path, in document order."""
        if isinstance(self.value, dict):
            for key, child in self.value.items():
                yield from child.leaves((*path, key))
        elif isinstance(self.value, list):
            for index, child in enumerate(self.value):
                yield from child.leaves((*path, index))
        else:
            yield path, self


@dataclass(frozen=True)
class Problem:
    """One thing wrong with a recipe, in the form it is printed."""

    place: Place
    path: tuple[str | int, ...]
    text: str

    def __str__(self) -> str:
        key = ".".join(str(part) for part in self.path)
        return f"{self.place}: {key}: {self.text}" if key else f"{self.place}: {self.text}"


class _Loader(yaml.SafeLoader):
    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        return True


for _kind, _pattern, _first in _RULES:
    _Loader.add_implicit_resolver(_PLAIN + _kind, re.compile(_pattern), list(_first))


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    """Quote whatever this reader or a YAML 1.1 reader would take for something other than this text."""
    rules = [*_Loader.yaml_implicit_resolvers.get(text[:1], ()), *yaml.SafeLoader.yaml_implicit_resolvers.get(text[:1], ())]
    ambiguous = not text.isprintable() or any(pattern.match(text) for _, pattern in rules)
    return dumper.represent_scalar(_PLAIN + "str", text, style='"' if ambiguous else None)


def _represent_list(dumper: yaml.SafeDumper, items: list[Any]) -> yaml.SequenceNode:
    """Write lists of scalars on one line."""
    plain = not any(isinstance(item, (list, dict)) for item in items)
    return dumper.represent_sequence(_PLAIN + "seq", items, flow_style=plain)


_Dumper.add_representer(str, _represent_text)
_Dumper.add_representer(list, _represent_list)


def write_yaml(values: Mapping[str, Any]) -> str:
    """Return plain values as YAML that `read_yaml` reads back to the same values.

    >>> write_yaml({"name": "1e-3", "country": "no", "lr": 0.001})
    'name: "1e-3"\\ncountry: "no"\\nlr: 0.001\\n'
    """
    text: str = yaml.dump(dict(values), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120, default_flow_style=False)
    return text


def read_file(path: Path, problems: list[Problem]) -> Node:
    """Read a YAML file; duplicate keys and the like are appended to `problems`.

    Raises:
        UserError: the file is missing, is not UTF-8 text or is not YAML.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such file; give the path of a recipe (YAML)") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: byte {error.start} is not UTF-8 text; a recipe is a YAML text file") from error
    except (OSError, ValueError) as error:
        raise UserError(
            f"{path}: cannot be read ({getattr(error, 'strerror', None) or error}); give the path of a recipe (YAML)"
        ) from error
    return read_yaml(text, str(path), problems)


def read_yaml(text: str, source: str, problems: list[Problem], lines: bool = True) -> Node:
    """Read YAML text, safely, keeping the line of every value.

    Args:
        text: one YAML document.
        source: the name used in messages.
        problems: duplicate keys, tags and non-text keys are appended here, so that all errors can be reported together.
        lines: False for a source without lines (an override).

    Raises:
        UserError: the text is not YAML; the message has line and column.
    """
    try:
        root = yaml.compose(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f":{mark.line + 1}: column {mark.column + 1}" if mark is not None and lines else ""
        raise UserError(f"{source}{where}: not readable as YAML ({error.problem or error.context}); correct the text there") from error
    except yaml.reader.ReaderError as error:
        before = text[: error.position]
        where = f":{before.count(chr(10)) + 1}: column {len(before) - before.rfind(chr(10))}" if lines else ""
        raise UserError(f"{source}{where}: not readable as YAML (character {error.character!r} is not allowed); remove it") from error
    except (ValueError, OverflowError, RecursionError) as error:
        reason = "nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise UserError(f"{source}: not readable as YAML ({reason}); correct the text") from error
    if root is None:
        return Node(None, Place(source, 1 if lines else None))
    return _Construction(source, problems, lines).node(root, 0)


class _Construction:
    """Turns a composed YAML tree into nodes."""

    def __init__(self, source: str, problems: list[Problem], lines: bool) -> None:
        self._source, self._problems, self._lines, self._count = source, problems, lines, 0

    def _place(self, node: yaml.Node) -> Place:
        return Place(self._source, node.start_mark.line + 1 if self._lines else None)

    def node(self, node: yaml.Node, depth: int, place: Place | None = None) -> Node:
        place = place or self._place(node)
        self._count += 1
        if depth > MAXIMUM_DEPTH or self._count > MAXIMUM_NODES:
            limit = f"deeper than {MAXIMUM_DEPTH} levels" if depth > MAXIMUM_DEPTH else f"with more than {MAXIMUM_NODES} values"
            raise UserError(f"{self._place(node)}: a document {limit} is no recipe; look for an alias (*name) that contains itself")
        if isinstance(node, yaml.MappingNode) and node.tag == _PLAIN + "map":
            return Node(self._mapping(node, depth), place)
        if isinstance(node, yaml.SequenceNode) and node.tag == _PLAIN + "seq":
            return Node([self.node(item, depth + 1) for item in node.value], place)
        if isinstance(node, yaml.ScalarNode):
            return Node(self._scalar(node, place), place)
        self._problems.append(Problem(place, (), f"the tag {node.tag.replace(_PLAIN, '!!')} is not allowed; write plain values"))
        return Node(None, place)

    def _mapping(self, node: yaml.MappingNode, depth: int) -> dict[str, Node]:
        values: dict[str, Node] = {}
        for key, value in node.value:
            place = self._place(key)
            if not isinstance(key, yaml.ScalarNode):
                self._problems.append(Problem(place, (), "a key must be a word, not a list or a mapping"))
            elif key.value in values:
                first = values[key.value].place.line
                self._problems.append(Problem(place, (), f'key "{key.value}" is written twice (first on line {first}); keep one'))
            else:
                values[key.value] = self.node(value, depth + 1, place)
        return values

    def _scalar(self, node: yaml.ScalarNode, place: Place) -> Scalar:
        try:
            return scalar(node.tag.replace(_PLAIN, ""), node.value)
        except ValueError as error:
            self._problems.append(Problem(place, (), str(error)))
            return None


def scalar(kind: str, text: str) -> Scalar:
    """Return the value of a YAML scalar of a kind ("str", "int", "float", "bool", "null").

    Raises:
        ValueError: the text is not of that kind, is not finite, or the kind is not one of these.

    >>> scalar("float", "1e-3")
    0.001
    """
    if kind == "null":
        return None
    if kind == "bool":
        return text.lower() == "true"
    if kind in ("int", "float"):
        return _number(kind, text)
    if kind != "str":
        raise ValueError(f"the tag {kind if kind.startswith('!') else f'!!{kind}'} is not allowed; write plain values")
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise ValueError("half a surrogate pair is not text; write the character itself")
    return text


def _number(kind: str, text: str) -> int | float:
    try:
        value = int(text, 0) if kind == "int" else float(text.replace(".inf", "inf").replace(".nan", "nan"))
    except ValueError as error:
        raise ValueError(f'"{text[:40]}" is not a number this reader accepts') from error
    if not math.isfinite(value) if isinstance(value, float) else value.bit_length() > 1024:
        raise ValueError(f'"{text[:40]}" is not a finite number')
    return value


def from_plain(value: Any, source: str, problems: list[Problem], depth: int = 0) -> Node:
    """Return Python values (what a JSON file could hold, plus tuples and paths) as nodes without lines.

    Raises:
        UserError: nested too deeply.
    """
    place = Place(source)
    if depth > MAXIMUM_DEPTH:
        raise UserError(f"{source}: nested deeper than {MAXIMUM_DEPTH} levels; a recipe is plain and shallow")
    if isinstance(value, Mapping):
        return Node({str(key): from_plain(child, source, problems, depth + 1) for key, child in value.items()}, place)
    if isinstance(value, (list, tuple)):
        return Node([from_plain(child, source, problems, depth + 1) for child in value], place)
    if isinstance(value, PathLike):
        value = fspath(value)
    try:
        if value is None or isinstance(value, bool):
            return Node(value, place)
        if isinstance(value, (int, float)):
            return Node(_number("int" if isinstance(value, int) else "float", repr(value)), place)
        if isinstance(value, str):
            return Node(scalar("str", str(value)), place)
    except ValueError as error:
        problems.append(Problem(place, (), str(error)))
        return Node(None, place)
    problems.append(
        Problem(place, (), f"a value of type {type(value).__name__} is not allowed; use text, numbers, true/false, lists and mappings")
    )
    return Node(None, place)
