"""Grids of attacks: every combination once, every mistake said before anything runs, and the document that is written is one again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from auscult.errors import UserError
from auscult.recipe.attack import AttackRecipe, load_recipe
from auscult.recipe.sweep import Sweep

NOISE = {"name": "gaussian_noise", "sigma": 1e-3}
BASE: dict[str, Any] = {
    "task": {"name": "recognition"},
    "data": {"corpus": {"name": "synthetic"}, "sample_rate": 16000, "train": "train"},
    "model": {"name": "deepspeech1"},
    "budget": {"updates": 1},
    "attack": {"name": "first_layer_span"},
    "leak": {"layers": ["input.0"]},
    "utterances": {"count": 8},
}


def grid(axes: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {**BASE, "sweep": {"axes": axes, **more}}


def said(values: dict[str, Any], *overrides: str) -> str:
    with pytest.raises(UserError) as caught:
        Sweep.from_dict(values, overrides)
    return str(caught.value)


def test_every_combination_is_a_cell_and_every_seed_a_run() -> None:
    found = Sweep.from_dict(grid({"leak.batch": [1, 4], "defence": ["none", NOISE, [{"name": "clipping"}, NOISE]]}, seeds=[3, 5]))
    assert found.axes == {
        "leak.batch": ("1", "4"),
        "defence": ("none", "gaussian_noise sigma 0.001", "clipping + gaussian_noise sigma 0.001"),
    }
    assert found.seeds == (3, 5)
    assert [cell.labels["leak.batch"] for cell in found.cells] == ["1", "1", "1", "4", "4", "4"]
    assert [cell.defence for cell in found.cells[:3]] == [
        ("none", ""),
        ("gaussian_noise", "sigma 0.001"),
        ("clipping+gaussian_noise", "norm 1.0, sigma 0.001"),
    ]
    assert [one.recipe.seed for one in found.cells[-1].recipes] == [3, 5]
    assert found.cells[-1].recipes[0].case.leak.batch == 4
    assert found.cells[0].recipes[0].case.leak.layers == ("input.0",), "a value is laid over the recipe, it replaces nothing beside it"
    hashes = {one.recipe.hash for cell in found.cells for one in cell.recipes}
    assert len(hashes) == 12


def test_a_cell_is_the_attack_that_the_same_overrides_make() -> None:
    [*_, cell] = Sweep.from_dict(grid({"utterances.seconds": [0.8, 1.6], "defence": ["none", NOISE]})).cells
    alone = AttackRecipe.from_dict(BASE, ["utterances.seconds=1.6", "defence.name=gaussian_noise", "defence.sigma=1e-3"])
    assert cell.recipes[0].recipe.hash == alone.recipe.hash


def test_mappings_are_merged_and_axes_may_be_nested() -> None:
    nested = Sweep.from_dict(grid({"utterances": {"count": [4, 8]}, "leak": [{"batch": 1}, {"batch": 4, "knowledge": "nothing"}]}))
    assert list(nested.axes) == ["utterances.count", "leak"]
    leak = nested.cells[-1].recipes[0].case.leak
    assert (leak.batch, leak.knowledge, leak.layers) == (4, "nothing", ("input.0",))
    shorter = Sweep.from_dict(grid({"utterances.count": [4, 8]}), ["sweep.axes.utterances.count=[2]", "sweep.seeds=[9]"])
    assert (shorter.axes, shorter.seeds) == ({"utterances.count": ("2",)}, (9,))


def test_the_document_is_a_sweep_again(tmp_path: Path) -> None:
    parent, child = tmp_path / "parent.yaml", tmp_path / "child.yaml"
    parent.write_text(yaml.safe_dump(BASE))
    child.write_text("extends: parent.yaml\nsweep: {axes: {defence: [none, {name: sign}]}}\n")
    found = Sweep.load(child, ["utterances.count=2"])
    (tmp_path / "again.yaml").write_text(found.to_yaml())
    again = Sweep.load(tmp_path / "again.yaml")
    assert (found.name, again.name) == ("child", "again")
    assert [cell.recipes[0].recipe.hash for cell in again.cells] == [cell.recipes[0].recipe.hash for cell in found.cells]


def test_all_mistakes_of_all_cells_come_at_once(tmp_path: Path) -> None:
    path = tmp_path / "grid.yaml"
    lines = [
        "sweep:", "  axes:", "    leak.bach: [1, 4]", "    defence: [none, {name: signs}, {name: gaussian_noise, sigma: -1}]",
        "    utterances.count: [8, many]",
    ]  # fmt: skip
    path.write_text("\n".join([yaml.safe_dump({**BASE, "utterences": {}}), *lines]))
    with pytest.raises(UserError) as caught:
        Sweep.load(path)
    text = str(caught.value)
    for part in (
        'utterences: unknown key (did you mean "utterances"?)\n',
        'leak.bach: unknown key (did you mean "batch"?)\n',
        'defence.0.name: unknown defence "signs" (did you mean "sign"?)',
        "defence.0.sigma: expected a number greater than 0, got -1 (in 4 of 12 cells, first leak.bach 1, defence gaussian_noise sigma -1",
        'utterances.count: expected an integer, got the text "many" (in 6 of 12 cells',
    ):
        assert part in text, part
    first = path.read_text().split("\n").index("    leak.bach: [1, 4]") + 1
    assert f"grid.yaml:{first}: leak.bach" in text
    assert len(text.split("\n")) == 5, "a mistake of many cells is said once"


def test_what_holds_in_some_cells_only_names_one() -> None:
    text = said(grid({"leak.batch": [1, 3], "defence": ["none", NOISE]}))
    assert text.count("\n") == 0
    assert "8 is not a multiple of the 3" in text
    assert "in 2 of 4 cells, first leak.batch 3, defence none" in text


@pytest.mark.parametrize(
    ("section", "expected"),
    [
        ({"axes": {"seed": [1, 2]}}, "sweep.axes.seed: seeds are no axis"),
        ({"axes": {"leak..batch": [1]}}, "is no dotted key"),
        ({"axes": {"leak.batch": 1}}, "sweep.axes.leak.batch: expected a list, got 1"),
        ({"axes": {"leak.batch": []}}, "expected at least 1 entries"),
        ({"axes": {}}, "sweep.axes: expected at least 1 entries"),
        ({}, "sweep.axes: is missing"),
        ({"axes": {"leak.batch": [1]}, "sedes": [1]}, 'sweep.sedes: unknown key (did you mean "seeds"?)'),
        ({"axes": {"leak.batch": [1]}, "seeds": [1, 1]}, "names a seed twice"),
        ({"axes": {"leak.batch": [1]}, "seeds": [-1]}, "sweep.seeds.0: expected a number greater than or equal to 0"),
        ({"axes": {"leak.batch": [1, 1]}}, "1 of 2 cells are there twice, first leak.batch 1 and leak.batch 1"),
        ({"axes": {"defence": ["none", None]}}, "are there twice"),
        (3, "sweep: expected a mapping, got 3"),
    ],
)
def test_a_section_that_does_not_fit_is_one_sentence(section: Any, expected: str) -> None:
    text = said({**BASE, "sweep": section})
    assert expected in text
    assert "\n" not in text


def test_other_verbs_say_what_a_sweep_is(tmp_path: Path) -> None:
    path = tmp_path / "grid.yaml"
    path.write_text(yaml.safe_dump(grid({"leak.batch": [1]})))
    for load in (AttackRecipe.load, load_recipe):
        with pytest.raises(UserError, match="run it with `auscult attack sweep`"):
            load(path)
    assert "has no section sweep" in said(BASE)
    assert "expected a dictionary" in said([])  # type: ignore[arg-type]
