"""One document out of several: a recipe, its parents (`extends`), the size dial and the overrides of the command line.

Problem: when layers are merged as plain dictionaries nobody can say afterwards which file and line a wrong key came from, and
the keys of one model survive under the name of another. Choice: layers are merged as trees of `Node`, each with its place; a
section whose `name` differs replaces the one below instead of mixing with it, and of two keys that exclude one another
(`data.batch.seconds` and `items`) the upper layer's wins. An override is one more layer, and the only one that may address
list entries by index. Rejected: OmegaConf, which has the layers but neither lines nor the replacement rule.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from auscult.errors import UserError
from auscult.recipe.text import Node, Place, Problem, read_file, read_yaml

ALTERNATIVES: dict[tuple[str | int, ...], tuple[str, ...]] = {("data", "batch"): ("seconds", "items")}
"""Keys of a mapping of which one excludes the others: setting one in an upper layer unsets the rest."""

SELECTIONS = ("train", "validation", "test")


def load_layers(path: Path, problems: list[Problem], chain: tuple[Path, ...] = ()) -> Node:
    """Read a recipe and merge it over the parent its `extends` names, and that one's, and so on.

    Args:
        path: a YAML file.
        problems: everything wrong that does not prevent reading on is appended here.
        chain: the files that led here.

    Raises:
        UserError: a file is missing or unreadable, or extends itself.
    """
    node = read_file(path, problems)
    if node.value is None:
        raise UserError(f"{path}: the file is empty; a recipe needs at least task, data, model and budget")
    if not isinstance(node.value, dict):
        raise UserError(f"{node.place}: expected keys such as task, data, model and budget, got {describe(node)}")
    expand_selections(node)
    parent = node.value.pop("extends", None)
    if parent is None:
        return node
    if not isinstance(parent.value, str) or not parent.value:
        problems.append(Problem(parent.place, ("extends",), f"expected the path of one recipe, got {describe(parent)}"))
        return node
    base = path.parent / parent.value
    seen = (*chain, path.resolve())
    if base.resolve() in seen:
        raise UserError(f"{parent.place}: extends: {parent.value} extends this file again; remove one of the two")
    if not base.is_file():
        raise UserError(f"{parent.place}: extends: no file {base}; the path is relative to the recipe that names it")
    return merge(load_layers(base, problems, seen), node)


def merge(base: Node, over: Node, path: tuple[str | int, ...] = ()) -> Node:
    """Return `over` laid over `base`: mappings merge key by key, everything else is replaced."""
    if not isinstance(base.value, dict) or not isinstance(over.value, dict) or _another_section(base.value, over.value):
        return over
    values = dict(base.value)
    for key, child in over.value.items():
        _drop_alternatives(values, path, key, child)
        below = values.get(key)
        values[key] = child if below is None else merge(below, child, (*path, key))
    return Node(values, over.place)


def _another_section(base: Mapping[str, Node], over: Mapping[str, Node]) -> bool:
    return "name" in base and "name" in over and base["name"].value != over["name"].value


def _drop_alternatives(values: dict[str, Node], path: tuple[str | int, ...], key: str, child: Node) -> None:
    group = ALTERNATIVES.get(path, ())
    if key in group and child.value is not None:
        for other in group:
            if other != key:
                values.pop(other, None)


def expand_selections(root: Node) -> None:
    """Turn `data.train: x` and `data.train: [x, y]` into `data.train: {splits: [...]}`, in place."""
    data = root.child("data")
    for name in SELECTIONS:
        selection = None if data is None else data.child(name)
        if selection is None or selection.value is None or isinstance(selection.value, dict):
            continue
        splits = selection.value if isinstance(selection.value, list) else [Node(selection.value, selection.place)]
        selection.value = {"splits": Node(splits, selection.place)}


def apply_overrides(root: Node, overrides: Iterable[str], problems: list[Problem]) -> Node:
    """Lay `a.b=value` settings over a document; values are YAML, list entries are addressed by index.

    A changed `name` empties its section first, wherever it stands among the overrides, because the keys of one class mean
    nothing to another.

    Raises:
        UserError: an override is not of the form key=value or its value is not YAML.
    """
    settings = [_parse(text, problems) for text in overrides]
    settings.sort(key=lambda setting: (setting[0][-1] != "name", len(setting[0]) if setting[0][-1] == "name" else 0))
    for path, value in settings:
        _set(root, path, value, problems)
        expand_selections(root)
    return root


def lay_over(root: Node, path: Sequence[str], value: Node, problems: list[Problem]) -> None:
    """Lay a value over what stands at a path of a document, in place: mappings merge as those of an upper layer do."""
    below: Node | None = root
    for part in path:
        below = below.child(int(part) if isinstance(below.value, list) and part.isdigit() else part) if below is not None else None
    _set(root, path, value if below is None else merge(below, value, tuple(path)), problems)
    expand_selections(root)


def _parse(text: str, problems: list[Problem]) -> tuple[tuple[str, ...], Node]:
    key, equals, value = text.partition("=")
    path = tuple(part.strip() for part in key.split("."))
    if not equals or not all(path):
        raise UserError(f'override "{text}": expected key=value with a dotted key, such as optimizer.lr=3e-4')
    return path, read_yaml(value, f'override "{text}"', problems, lines=False)


def _set(root: Node, path: Sequence[str], value: Node, problems: list[Problem]) -> None:
    node, walked = root, tuple[str | int, ...]()
    for depth, part in enumerate(path):
        last = depth == len(path) - 1
        if node.value is None:
            node.value = [] if part == "0" else {}
        if isinstance(node.value, list):
            key = _index(node.value, part, value.place, walked, problems)
            if key is None:
                return
            if key == len(node.value):
                node.value.append(Node(None, value.place))
            node.value[key] = value if last else node.value[key]
            node, walked = node.value[key], (*walked, key)
        elif isinstance(node.value, dict):
            if last and part == "name" and _another_section(node.value, {"name": value}):
                node.value.clear()
            if last:
                _drop_alternatives(node.value, walked, part, value)
                node.value[part] = value
            node, walked = node.value.setdefault(part, Node(None, value.place)), (*walked, part)
        else:
            problems.append(Problem(value.place, walked, f'is {describe(node)} and has no key "{part}"; set {_dotted(walked)} itself'))
            return


def _index(items: list[Node], part: str, place: Place, walked: tuple[str | int, ...], problems: list[Problem]) -> int | None:
    if part.isascii() and part.isdigit() and len(part) < 7 and int(part) <= len(items):
        return int(part)
    last = f"0 to {len(items) - 1} exist, {len(items)} appends" if items else "it is empty, 0 appends"
    problems.append(Problem(place, (*walked, part), f"a list is addressed by index ({last})"))
    return None


def _dotted(path: Iterable[str | int]) -> str:
    return ".".join(str(part) for part in path)


def describe(node: Node | None) -> str:
    """Return a value as it can be shown in a message: short, and with its type where that is the point.

    >>> describe(Node("big", Place("x")))
    'the text "big"'
    """
    if node is None or node.value is None:
        return "nothing"
    if isinstance(node.value, dict):
        return "a mapping"
    if isinstance(node.value, list):
        return f"a list of {len(node.value)}"
    if isinstance(node.value, bool):
        return str(node.value).lower()
    text = str(node.value)
    short = text if len(text) <= 40 else f"{text[:37]}..."
    return f'the text "{short}"' if isinstance(node.value, str) else short
