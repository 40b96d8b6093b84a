"""The house rules of CONTRIBUTING.md, measured over the source: what is not measured is not kept.

An exception stands in a list below with its reason; an exception that is no longer needed fails too.
"""

from __future__ import annotations

import ast
import builtins
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "src" / "auscult"
SOURCES = sorted(PACKAGE.rglob("*.py"))
MEASURED = sorted(path for folder in ("src", "tests", "benchmarks") for path in (ROOT / folder).rglob("*.py"))

LONGEST_FILE = 400
LONGEST_FUNCTION = 40
DEEPEST_INHERITANCE = 2
MOST_PUBLIC_METHODS = 7

LONG_FILES: dict[str, str] = {}
LONG_FUNCTIONS: dict[str, str] = {}
WIDE_CLASSES: dict[str, str] = {
    "auscult/tasks/base.py::Task": "the contract of a task: eight duties, and hooks with a default that a check or a figure asks for",
    "auscult/tasks/diarization.py::Diarization": "implements the contract of Task",
    "auscult/tasks/separation.py::Separation": "implements the contract of Task",
    "auscult/tasks/verification.py::Verification": "implements the contract of Task",
    "auscult/tasks/pseudo_speaker.py::PseudoSpeaker": "implements the contract of Task",
    "auscult/tasks/recognition.py::Recognition": "implements the contract of Task",
    "auscult/testing/toy_task.py::ToyTask": "implements the contract of Task",
    "auscult/training/sentinel.py::Sentinel": "one state machine: what it sees, what it orders and the state it saves belong together",
}


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def name_of(path: Path) -> str:
    return path.relative_to(ROOT / "src" if path.is_relative_to(PACKAGE) else ROOT).as_posix()


def functions(path: Path) -> Iterator[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef]]:
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield f"{name_of(path)}::{node.name}", node


def classes() -> Iterator[tuple[str, ast.ClassDef]]:
    for path in SOURCES:
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.ClassDef):
                yield f"{name_of(path)}::{node.name}", node


def assert_only_known(found: dict[str, object], known: dict[str, str], rule: str) -> None:
    new = {key: value for key, value in found.items() if key not in known}
    assert not new, f"{rule}: {new}; shorten, or add an exception with its reason"
    gone = sorted(set(known) - set(found))
    assert not gone, f"{rule}: the exceptions {gone} are no longer needed; remove them"


def test_the_measured_tree_is_there() -> None:
    assert len(SOURCES) > 100


def test_files_are_short() -> None:
    lengths = {name_of(path): len(path.read_text(encoding="utf-8").splitlines()) for path in MEASURED}
    assert_only_known(
        {name: lines for name, lines in lengths.items() if lines > LONGEST_FILE}, LONG_FILES, f"files <= {LONGEST_FILE} lines"
    )


def test_functions_are_short() -> None:
    found: dict[str, object] = {}
    for path in SOURCES:
        for name, node in functions(path):
            start = node.body[1].lineno if ast.get_docstring(node) and len(node.body) > 1 else node.body[0].lineno
            lines = (node.end_lineno or start) - start + 1
            if lines > LONGEST_FUNCTION:
                found[name] = lines
    assert_only_known(found, LONG_FUNCTIONS, f"function bodies without docstring <= {LONGEST_FUNCTION} lines")


def test_inheritance_is_shallow() -> None:
    parents = {node.name: [base.id for base in node.bases if isinstance(base, ast.Name)] for _, node in classes()}

    def depth(name: str) -> int:
        own = [parent for parent in parents.get(name, []) if parent in parents and parent != name]
        return 1 + max(map(depth, own)) if own else 0

    deep = {name: depth(name) for name in parents if depth(name) > DEEPEST_INHERITANCE}
    assert not deep, f"more than {DEEPEST_INHERITANCE} generations of our own classes: {deep}; use composition"


def test_classes_are_narrow() -> None:
    found: dict[str, object] = {}
    for name, node in classes():
        methods = [
            child.name
            for child in node.body
            if isinstance(child, ast.FunctionDef) and not child.name.startswith("_") and not _is_property(child)
        ]
        if len(methods) > MOST_PUBLIC_METHODS:
            found[name] = len(methods)
    assert_only_known(found, WIDE_CLASSES, f"classes with <= {MOST_PUBLIC_METHODS} public methods")


def _is_property(node: ast.FunctionDef) -> bool:
    return any(isinstance(decorator, ast.Name) and decorator.id in ("property", "cached_property") for decorator in node.decorator_list)


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_module_says_why_it_exists(path: Path) -> None:
    if path.name == "__init__.py" and not tree(path).body:
        return
    docstring = ast.get_docstring(tree(path)) or ""
    assert len(docstring.split()) >= 5, f"{name_of(path)}: the module docstring must say what problem the module solves, and how it chose"


FORBIDDEN_CALLS = {
    "print": "libraries do not print; return a value, or use cli.output",
    "hash": "salted per process; use hashlib",
    "eval": "text never becomes code",
    "exec": "text never becomes code",
}


def test_forbidden_names_are_builtins() -> None:
    assert all(hasattr(builtins, name) for name in FORBIDDEN_CALLS)


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_nothing_forbidden(path: Path) -> None:
    found, lines = [], path.read_text(encoding="utf-8").splitlines()
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in FORBIDDEN_CALLS:
            found.append(f"line {node.lineno}: {node.func.id}(): {FORBIDDEN_CALLS[node.func.id]}")
        if isinstance(node, ast.ExceptHandler):
            if node.type is None:
                found.append(f"line {node.lineno}: bare except; name what is expected")
            said = "#" in lines[node.lineno - 1]
            if all(isinstance(statement, ast.Pass) for statement in node.body) and not said:
                found.append(f"line {node.lineno}: swallowed exception; handle it, or say beside it why nothing has to be done")
        if isinstance(node, ast.For | ast.comprehension) and isinstance(node.iter, ast.Set | ast.SetComp):
            found.append(f"line {node.iter.lineno}: iterates over a set, whose order is chance; sort it")
    assert not found, f"{name_of(path)}: {'; '.join(found)}"


def test_text_holds_no_path_of_one_machine_and_no_unfinished_work() -> None:
    words = ["TO" + "DO", "FIX" + "ME", "X" * 3, "/ho" + "me/", "/Us" + "ers/"]
    suffixes = {".py", ".md", ".yaml", ".yml", ".toml", ".txt", ""}
    folders = ("src", "tests", "benchmarks", "docs", "recipes")
    files = [path for folder in folders for path in (ROOT / folder).rglob("*") if path.suffix in suffixes and path.is_file()]
    files += [path for path in ROOT.iterdir() if path.is_file() and path.suffix in suffixes]
    found = [
        f"{path.relative_to(ROOT)}: {word}"
        for path in files
        for word in words
        if "__pycache__" not in path.parts and word in path.read_text(encoding="utf-8", errors="replace")
    ]
    assert not found, found


def test_tests_mirror_the_package() -> None:
    rooms = {path.name for path in PACKAGE.iterdir() if path.is_dir() and any(path.glob("[!_]*.py"))} - {"recipe"}
    missing = sorted(room for room in rooms if not any((ROOT / "tests" / room).rglob("test_*.py")))
    assert not missing, f"rooms without tests: {missing}"
