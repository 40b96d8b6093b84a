"""What the documents say is so: commands are verbs that accept their options, links lead somewhere, recipes load, tables are complete."""

from __future__ import annotations

import json
import re
import shlex
import tomllib
from pathlib import Path

import pytest
import typer
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import auscult
from auscult.cli.app import VERBS, load_verb
from auscult.recipe import Recipe

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]
RECIPES = sorted((ROOT / "recipes").rglob("*.yaml"))
VERB_LIKE = re.compile(r"^[a-z]+$")


def text_of(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def names(paths: list[Path]) -> list[str]:
    return [path.relative_to(ROOT).as_posix() for path in paths]


def commands() -> list[tuple[str, str]]:
    """Every `auscult ...` in a document or a recipe's comment, as (where, command)."""
    found = []
    for path in [*DOCUMENTS, *RECIPES]:
        for match in re.finditer(r"(?:^(?:    |#   )(?:.*-m )?|`)(auscult [a-z][^`\n]*)", text_of(path), flags=re.MULTILINE):
            words = shlex.split(match[1].split("   ")[0], comments=True)
            if VERB_LIKE.match(words[1]):
                found.append((path.relative_to(ROOT).as_posix(), shlex.join(words)))
    return sorted(set(found))


def options_of(words: list[str]) -> set[str]:
    """Options of the verb that words name."""
    context = typer.Context(typer.main.get_command(typer.Typer(callback=lambda: None)))
    command = load_verb(words[0], VERBS[words[0]])
    if hasattr(command, "get_command"):
        inner = command.get_command(context, words[1]) if len(words) > 1 else None
        assert inner is not None or len(words) == 1, f"{words[0]} has no verb {words[1:2]}"
        command = inner or command
    return {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)} | {"--help", "--traceback"}


def test_there_are_commands_to_check() -> None:
    assert len(commands()) > 20


@pytest.mark.parametrize(("where", "command"), commands())
def test_command_exists(where: str, command: str) -> None:
    words = shlex.split(command)[1:]
    assert words[0] in VERBS, f"{where}: `{command}` is no verb"
    used = {word.split("=")[0] for word in words if word.startswith("-") and word != "-"}
    assert used <= options_of(words), f"{where}: `{command}` uses {sorted(used - options_of(words))}"


@pytest.mark.parametrize(("where", "command"), commands())
def test_recipe_of_a_command_exists(where: str, command: str) -> None:
    for word in shlex.split(command)[1:]:
        if word.startswith("recipes/") and word.endswith(".yaml"):
            assert (ROOT / word).is_file(), f"{where}: `{command}` names a recipe that is not there"


def test_readme_shows_every_verb() -> None:
    shown = {shlex.split(command)[1] for where, command in commands() if where == "README.md"}
    assert shown == set(VERBS)


@pytest.mark.parametrize("document", DOCUMENTS, ids=names(DOCUMENTS))
def test_links_lead_somewhere(document: Path) -> None:
    text = re.sub(r"```.*?```|`[^`\n]*`", "", text_of(document), flags=re.DOTALL)
    targets = [target.split("#")[0] for target in re.findall(r"\]\(([^)\s]+)\)", text) if "://" not in target]
    missing = [target for target in targets if target and not (document.parent / target).exists()]
    assert not missing, f"{document.name}: {missing}"


@pytest.mark.parametrize("document", DOCUMENTS, ids=names(DOCUMENTS))
def test_recipes_in_documents_load(document: Path) -> None:
    for block in re.findall(r"^```yaml\n(.*?)^```", text_of(document), flags=re.MULTILINE | re.DOTALL):
        if "task:" in block:
            Recipe.from_dict(yaml.safe_load(block))


def test_python_in_readme_uses_calls_that_exist() -> None:
    calls = set(re.findall(r"auscult\.([a-z_]+)\(", "".join(text_of(path) for path in DOCUMENTS)))
    missing = sorted(call for call in calls if call not in auscult.__all__)
    assert not missing
    assert {"train", "evaluate", "load"} <= calls


def test_every_shipped_recipe_is_described() -> None:
    described = text_of(ROOT / "docs" / "recipes.md")
    missing = [path.name for path in RECIPES if f"`{path.relative_to(ROOT / 'recipes').as_posix()}`" not in described]
    assert not missing


def test_schema_is_the_present_one() -> None:
    stored = json.loads(text_of(ROOT / "recipes" / "schema.json"))
    assert stored == json.loads(json.dumps(Recipe.json_schema())), "run: auscult recipe schema -o recipes/schema.json"


@pytest.mark.parametrize("recipe", RECIPES, ids=names(RECIPES))
def test_schema_reference_of_a_recipe(recipe: Path) -> None:
    for target in re.findall(r"\$schema=(\S+)", text_of(recipe)):
        assert (recipe.parent / target).resolve() == (ROOT / "recipes" / "schema.json")


def test_make_targets_of_documents_exist() -> None:
    rules = set(re.findall(r"^([a-z]+):", text_of(ROOT / "Makefile"), flags=re.MULTILINE))
    assert {"demo", "test", "lint", "docs", "bench"} <= rules
    lines = re.findall(r"^    make ([a-z ]+?)(?:  |$|\n)", "".join(text_of(path) for path in DOCUMENTS), flags=re.MULTILINE)
    assert {word for line in lines for word in line.split()} <= rules


def test_constraints_pin_what_the_package_needs() -> None:
    project = tomllib.loads(text_of(ROOT / "pyproject.toml"))["project"]
    lines = [line for line in text_of(ROOT / "constraints.txt").splitlines() if line and not line.startswith("#")]
    pinned = {canonicalize_name(Requirement(line).name): Requirement(line).specifier for line in lines}
    wanted = [*project["dependencies"], *(one for extra in project["optional-dependencies"].values() for one in extra)]
    for requirement in map(Requirement, wanted):
        if requirement.name == "auscult":
            continue
        assert canonicalize_name(requirement.name) in pinned, f"{requirement.name} is not pinned in constraints.txt"
        [version] = [one.version for one in pinned[canonicalize_name(requirement.name)]]
        assert requirement.specifier.contains(version), f"{requirement.name} {version} is outside {requirement.specifier}"


def test_pictures_are_small() -> None:
    large = [path.name for path in (ROOT / "docs" / "images").iterdir() if path.stat().st_size > 300_000]
    assert not large
