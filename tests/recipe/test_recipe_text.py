"""Reading and writing YAML: lines, YAML 1.1 pitfalls, files that are not YAML."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auscult.errors import UserError
from auscult.recipe.text import Node, Problem, read_file, read_yaml, write_yaml


def read(text: str) -> Any:
    problems: list[Problem] = []
    node = read_yaml(text, "x.yaml", problems)
    assert problems == []
    return node.plain()


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 0.001),
        ("1E5", 100000.0),
        (".5", 0.5),
        ("-3.", -3.0),
        ("-12", -12),
        ("0x1F", 31),
        ("0o17", 15),
        ("017", "017"),
        ("1_000", "1_000"),
        ("12:30:00", "12:30:00"),
        ("2024-01-01", "2024-01-01"),
        ("84-121123-0000", "84-121123-0000"),
        ("yes", "yes"),
        ("no", "no"),
        ("on", "on"),
        ("true", True),
        ("False", False),
        ("~", None),
        ("", None),
        ('"1"', "1"),
        ("!!str 1", "1"),
        ("[a, {b: [1]}]", ["a", {"b": [1]}]),
        ("{on: 1, 3: 2, null: 3}", {"on": 1, "3": 2, "null": 3}),
        ("- &a {x: 1}\n- *a", [{"x": 1}, {"x": 1}]),
    ],
)
def test_scalars(text: str, value: Any) -> None:
    found = read(text)
    assert found == value
    assert type(found) is type(value)


def test_values_know_their_lines() -> None:
    node = read_yaml("a: 1\nb:\n  c:\n    - x\n    - d: 2\n", "x.yaml", [])
    assert {path: str(leaf.place) for path, leaf in node.leaves()} == {
        ("a",): "x.yaml:1",
        ("b", "c", 0): "x.yaml:4",
        ("b", "c", 1, "d"): "x.yaml:5",
    }


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a: 1\nb: 2\na: 3", 'x.yaml:3: key "a" is written twice (first on line 1); keep one'),
        ("a: !!python/name:os.system ''", "x.yaml:1: the tag !!python/name:os.system is not allowed; write plain values"),
        ("a: !!set {x}", "x.yaml:1: the tag !!set is not allowed; write plain values"),
        ("? [a]\n: 1", "x.yaml:1: a key must be a word, not a list or a mapping"),
        ("a: .nan", 'x.yaml:1: ".nan" is not a finite number'),
        ("a: !!int x", 'x.yaml:1: "x" is not a number this reader accepts'),
        ("a: " + "9" * 5000, f'x.yaml:1: "{"9" * 40}" is not a number this reader accepts'),
        ('a: "\\ud800"', "x.yaml:1: half a surrogate pair is not text; write the character itself"),
    ],
)
def test_problems_that_do_not_stop_reading(text: str, problem: str) -> None:
    problems: list[Problem] = []
    read_yaml(text, "x.yaml", problems)
    assert [str(one) for one in problems] == [problem]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [1\nb: 2", "x.yaml:2: column 2: not readable as YAML"),
        ("a: 1\n\tb: 2", "x.yaml:2: column 1: not readable as YAML"),
        ("a: *b", "x.yaml:1: column 4: not readable as YAML (found undefined alias 'b'); correct the text there"),
        ("a: 1\nb: \x07", "x.yaml:2: column 4: not readable as YAML"),
        ("a: 1\n---\nb: 2", "not readable as YAML"),
        ("[" * 1000, "nested too deeply"),
        ("[" * 60 + "]" * 60, "deeper than 50 levels"),
        ("&a [*a]", "deeper than 50 levels"),
        (
            "- &a [1,1,1,1,1,1,1,1,1,1]\n"
            + "".join(f"- &{n} [{','.join([f'*{p}'] * 10)}]\n" for p, n in zip("abcde", "bcdef", strict=True)),
            "more than 100000",
        ),
        ('"\\UFFFFFFFF"', "not readable as YAML"),
    ],
)
def test_text_that_is_not_a_recipe(text: str, message: str) -> None:
    with pytest.raises(UserError) as caught:
        read_yaml(text, "x.yaml", [])
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "latin.yaml").write_bytes(b"a: \xe9\n")
    for path, message in (
        (tmp_path / "none.yaml", "no such file"),
        (tmp_path, "cannot be read"),
        (tmp_path / "latin.yaml", "byte 3 is not UTF-8"),
        (Path("a\0b"), "cannot be read"),
    ):
        with pytest.raises(UserError, match=message):
            read_file(path, [])
    (tmp_path / "bom.yaml").write_bytes(b"\xef\xbb\xbfa: 1\n")
    assert read_file(tmp_path / "bom.yaml", []).plain() == {"a": 1}


TEXT = st.text(st.characters(blacklist_categories=["Cs"]), max_size=12)
SCALARS = st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False, allow_infinity=False) | TEXT
WORDS = st.sampled_from(
    ["no", "on", "1e-3", "0x1", "~", "null", "1:30", "2024-01-01", "=", "<<", "", " a", "a: b", "017", ".inf", "- x", "#"]
)
VALUES = st.recursive(
    SCALARS | WORDS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT | WORDS, inner, max_size=3), max_leaves=12
)


@given(st.dictionaries(TEXT | WORDS, VALUES, max_size=4))
def test_what_is_written_is_read_back(values: dict[str, Any]) -> None:
    problems: list[Problem] = []
    node: Node = read_yaml(write_yaml(values), "x.yaml", problems)
    assert problems == []
    assert repr(node.plain()) == repr(values)
