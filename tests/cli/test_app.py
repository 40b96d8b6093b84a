"""The command line's frame: start-up, the verb table, exit codes, what goes to which stream."""

from __future__ import annotations

import json
import subprocess
import sys
import time
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated

import numpy as np
import pytest
import typer

from auscult import registry
from auscult.cli import app, main, output
from auscult.cli.options import AsJson
from auscult.errors import RunFailed, UserError
from auscult.registry import register

HEAVY = ("torch", "numpy", "pydantic", "lhotse", "matplotlib", "rich", "yaml", "scipy")


def test_help_imports_nothing_heavy() -> None:
    code = f"import sys; from auscult.cli import main; main(['--help']); print([name for name in {HEAVY} if name in sys.modules])"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.splitlines()[-1] == "[]"
    for verb in app.VERBS:
        assert f"\n  {verb} " in answer.stdout


def test_every_verb_of_the_table_exists_and_explains_itself(capsys: pytest.CaptureFixture[str]) -> None:
    for name, verb in app.VERBS.items():
        command = app.load_verb(name, verb)
        assert command.name == name
        assert main([name, "--help"]) == 0
        assert f"Usage: auscult {name}" in capsys.readouterr().out
        assert verb.help.endswith(".")


class StoppedError(Exception):
    exit_code = 143


@pytest.fixture
def ending(monkeypatch: pytest.MonkeyPatch) -> Callable[[BaseException | None], list[str]]:
    """Make a verb `try` that ends with an exception; returns what to type."""

    def prepare(error: BaseException | None) -> list[str]:
        def verb(as_json: AsJson = False, times: Annotated[int, typer.Option()] = 1) -> None:
            """Try."""
            time.sleep(0)
            if error is not None:
                raise error
            output.emit({"times": times}, as_json, lambda: f"{times} times")

        module = types.ModuleType("auscult_trial")
        module.verb = verb  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "auscult_trial", module)
        monkeypatch.setitem(app.VERBS, "try", app.Verb("auscult_trial", "verb", "Try."))
        return ["try"]

    return prepare


@pytest.mark.parametrize(
    ("error", "code", "text"),
    [
        (UserError("x.yaml:3: seed: wrong"), 2, "x.yaml:3: seed: wrong\n"),
        (RunFailed("it diverged"), 1, "it diverged\n"),
        (KeyboardInterrupt(), 130, "interrupted\n"),
        (StoppedError("saved"), 143, "saved\n"),
        (ZeroDivisionError("by zero"), 1, "ZeroDivisionError: by zero; this is a bug of auscult, --traceback shows where\n"),
        (EOFError("end"), 1, "EOFError: end; this is a bug of auscult, --traceback shows where\n"),
        (typer.Exit(7), 7, ""),
    ],
)
def test_exit_codes(
    ending: Callable[[BaseException | None], list[str]], capsys: pytest.CaptureFixture[str], error: BaseException, code: int, text: str
) -> None:
    assert main(ending(error)) == code
    captured = capsys.readouterr()
    assert captured.err == text
    assert captured.out == ""


@pytest.mark.parametrize("position", [0, 1])
def test_traceback_may_stand_anywhere(
    ending: Callable[[BaseException | None], list[str]], capsys: pytest.CaptureFixture[str], position: int
) -> None:
    words = ending(UserError("wrong"))
    words.insert(position, "--traceback")
    assert main(words) == 2
    assert "Traceback (most recent call last)" in capsys.readouterr().err


def test_answers_go_to_stdout(ending: Callable[[BaseException | None], list[str]], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(ending(None)) == 0
    assert capsys.readouterr().out == "1 times\n"
    assert main([*ending(None), "--json", "--times", "3"]) == 0
    assert json.loads(capsys.readouterr().out) == {"times": 3}


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["recip"], 'unknown verb "recip" (did you mean "recipe"?)'),
        (["recipe", "shw"], "shw"),
        (["recipe", "show"], "RECIPE"),
        (["recipe", "show", "x.yaml", "--bogus"], "--bogus"),
        (["recipe", "show", "nowhere.yaml"], "nowhere.yaml: no such file"),
        (["--bogus"], "--bogus"),
    ],
)
def test_wrong_usage_is_bad_input(capsys: pytest.CaptureFixture[str], words: list[str], text: str) -> None:
    assert main(words) == 2
    captured = capsys.readouterr()
    assert text in captured.err
    assert captured.out == ""


def test_no_arguments_show_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    main([])
    captured = capsys.readouterr()
    assert "Verbs:" in captured.out + captured.err


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("auscult ")


def test_a_reader_that_leaves_early_is_no_error() -> None:
    code = "import sys; from auscult.cli import main, output; from auscult.cli import app\n"
    code += "import types; m = types.ModuleType('loud'); sys.modules['loud'] = m\n"
    code += "def verb() -> None:\n    for _ in range(100000): output.write('x' * 100)\n"
    code += "m.verb = verb; app.VERBS['loud'] = app.Verb('loud', 'verb', 'Loud.')\nsys.exit(main(['loud']))"
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.read(10)
    process.stdout.close()
    assert process.stderr.read() == b""
    assert process.wait() == 1
    process.stderr.close()


def test_json_of_awkward_values() -> None:
    value = {"wer": float("nan"), "path": Path("a"), "counts": np.array([1, 2]), "one": np.float32(0.5), "text": "ż", 3: (1, float("inf"))}
    assert json.loads(output.to_json(value)) == {"wer": None, "path": "a", "counts": [1, 2], "one": 0.5, "text": "ż", "3": [1, None]}


def test_tables_are_not_cut_and_take_text_literally(capsys: pytest.CaptureFixture[str]) -> None:
    long = "x" * 150
    output.print_table(["run", "wer"], [[long, 0.123456], ["[bold]b[/bold]", None], ["c", 12.0]], title="[runs]")
    lines = [line.rstrip() for line in capsys.readouterr().out.splitlines()]
    assert lines[0] == "[runs]"
    assert lines[2] == f"{long}  0.1235"
    assert lines[3].split() == ["[bold]b[/bold]", "-"]
    assert lines[4].endswith("    12")


class Nothing:
    """Takes nothing."""


@pytest.fixture
def recipe(tmp_path: Path) -> Iterator[Path]:
    with registry.scope(empty=True):
        for kind, name in (("task", "t"), ("model", "m"), ("corpus", "c"), ("optimizer", "adam"), ("schedule", "constant")):
            register(kind, name)(Nothing)
        path = tmp_path / "r.yaml"
        path.write_text("task: {name: t}\nmodel: {name: m}\ndata: {corpus: {name: c}, sample_rate: 8000}\nbudget: {updates: 3}\n")
        yield path


def test_recipe_show_prints_a_recipe(recipe: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["recipe", "show", str(recipe), "seed=7", "budget.clip=1e-1"]) == 0
    text = capsys.readouterr().out
    again = recipe.with_name("again.yaml")
    again.write_text(text)
    assert main(["recipe", "show", str(again)]) == 0
    assert capsys.readouterr().out == text
    assert main(["recipe", "show", str(recipe), "seed=7", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["seed"] == 7


def test_recipe_show_prints_every_error(recipe: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["recipe", "show", str(recipe), "sed=7", "budget.updates=0"]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert len(captured.err.splitlines()) == 2


def test_recipe_schema(recipe: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["recipe", "schema"]) == 0
    schema = json.loads(capsys.readouterr().out)
    assert "extends" in schema["properties"]
    target = recipe.with_name("schema.json")
    assert main(["recipe", "schema", "-o", str(target)]) == 0
    assert json.loads(target.read_text()) == schema
    assert main(["recipe", "schema", "-o", str(target / "x")]) == 2
    assert "cannot be written" in capsys.readouterr().err
