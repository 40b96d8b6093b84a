"""Sweeps of attacks: every cell once, whatever kills them; failures recorded; and a page that says what the records say."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from auscult import registry
from auscult.cli import main
from auscult.errors import UserError
from auscult.privacy.attack import Attack, Reconstruction, Watch
from auscult.privacy.message import Knowledge, Leak
from auscult.privacy.sweep import SweepResult, attack_sweep
from auscult.privacy.victim import Victim
from auscult.recipe.sweep import Sweep
from auscult.report.html import write_report
from auscult.runs.directory import RunDirectory
from auscult.runs.files import read_json, write_json
from auscult.runs.state import State
from auscult.testing.recipes import toy_recipe

IDENTITY = {"name": "top_k", "kept": 1.0}
AXES = {"attack.size": [0.5, 2.0], "defence": [IDENTITY, {"name": "gaussian_noise", "sigma": 1.0}]}


class Killed(BaseException):
    """What a kill looks like from inside."""


class Throw(Attack):
    """Draws features at random; gives up where they are large. A hook may strike at every message."""

    strike: Callable[[int, float], None] = staticmethod(lambda number, size: None)
    runs = 0

    def __init__(self, size: float = 1.0) -> None:
        self.size = size

    def run(self, victim: Victim, leak: Leak, knowledge: Knowledge, watch: Watch) -> Reconstruction:
        type(self).runs += 1
        type(self).strike(type(self).runs, self.size)
        lengths = knowledge.needed_frames("throw")
        frames = [self.size * torch.randn(length, victim.features.width, generator=watch.generator) for length in lengths]
        reason = f"{self.size} is too large" if self.size > 1 else None
        return Reconstruction(tuple(frames), frozenset("ab"), gradients=1, notes=("made up",), gave_up=reason)


@pytest.fixture(scope="module")
def throw() -> Iterator[type[Throw]]:
    with registry.scope():
        registry.register("attack", "throw")(Throw)
        yield Throw


@pytest.fixture(autouse=True)
def quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Throw, "runs", 0)
    monkeypatch.setattr(Throw, "strike", staticmethod(lambda number, size: None))


@pytest.fixture(scope="module")
def values(throw: type[Throw], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    front_end = {"name": "mfcc_context", "context": 2, "coefficients": 6, "mel_bins": 16}
    made = toy_recipe(tmp_path_factory.mktemp("sweep") / "corpus", speakers=4)
    made |= {"model": {"name": "deepspeech1", "hidden": 16, "dropout": 0.0, "front_end": front_end}, "attack": {"name": "throw"}}
    return {**made, "leak": {"layers": ["fc"]}, "utterances": {"count": 2, "pool": 3}}


def swept(values: dict[str, Any], root: Path, axes: dict[str, Any], *overrides: str, seeds: list[int] | None = None) -> SweepResult:
    section = {"axes": axes} if seeds is None else {"axes": axes, "seeds": seeds}
    return attack_sweep(Sweep.from_dict({**values, "sweep": section}, overrides), root=root)


@pytest.fixture(scope="module")
def whole(values: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> SweepResult:
    return swept(values, tmp_path_factory.mktemp("whole"), AXES, seeds=[0, 1])


@pytest.fixture
def copied(whole: SweepResult, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole.run, tmp_path / "copy"))


def test_every_cell_is_an_attack_run_with_scores_and_controls(whole: SweepResult) -> None:
    assert (whole.made, whole.failed) == (8, {})
    assert len(list((whole.run / "cells").glob("*-attack"))) == 8
    assert RunDirectory.open(whole.run).state is State.COMPLETE
    assert whole.summary == read_json(whole.run / "summary" / "sweep.json")
    assert whole.summary["metrics"] == {"cells": 4, "cells_done": 4, "cells_failed": 0}
    for cell in whole.summary["cells"]:
        assert (cell["utterances"], cell["messages"], cell["seeds"]) == (2, 2, 2)
        assert cell["scores"]["zero"]["snr"]["value"] == pytest.approx(0.0, abs=1e-9)
        assert cell["scores"]["true_input"]["snr"]["value"] == 100.0
        found = cell["scores"]["attack"]["snr"]
        assert found["low"] <= found["value"] <= found["high"] < 5
        assert cell["characters"]["attack"]["precision"]["value"] <= 1
        large = cell["axes"]["attack.size"] == 2.0
        assert cell["gave_up"] == {"messages": 4 * large, "of": 4, "reasons": {"2.0 is too large": 4} if large else {}}


def test_utility_of_an_identity_defence_is_one_and_of_noise_less(whole: SweepResult) -> None:
    by_family = {cell["defence"]["family"]: cell["utility"] for cell in whole.summary["cells"]}
    assert by_family["top_k"]["loss_fall"] == {"value": 1.0, "low": 1.0, "high": 1.0}
    assert by_family["top_k"]["relative_error"]["value"] == 0.0
    assert by_family["gaussian_noise"]["loss_fall"]["value"] < 0.9
    assert by_family["gaussian_noise"]["cosine"]["value"] < 0.5


def test_the_page_holds_what_the_summary_says(whole: SweepResult) -> None:
    page = write_report(whole.run).read_text()
    for cell in whole.summary["cells"]:
        found, utility = cell["scores"]["attack"]["snr"], cell["utility"]["cosine"]
        for estimate in (found, utility):
            assert "{value:.3g} [{low:.3g}, {high:.3g}]".format(**estimate) in page
    for said in (
        "do not publish it", "in 8 messages: 2.0 is too large", "seeds, averaged: 0, 1",
        "synthetic reconstruction", "<audio", "What this sweep does not show", "4 cells: 4 done", "top_k", "told the lengths",
    ):  # fmt: skip
        assert said in page, said
    assert page.index("Threat model") < page.index("What came out")
    figures = {path.name for path in (whole.run / "figures").iterdir()}
    assert {"sweep_curves.png", "sweep_map.png", "sweep_curves.curves.csv", "sweep_map.map.csv"} <= figures
    assert len((whole.run / "figures" / "sweep_map.map.csv").read_text().splitlines()) == 1 + 4
    assert len((whole.run / "figures" / "sweep_curves.curves.csv").read_text().splitlines()) == 1 + 2 * 4
    for address in (part.split('"')[0] for part in page.split('src="cells/')[1:]):
        assert (whole.run / "cells" / address).is_file()


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        (("scores", "attack", "snr", "value"), 33.0, "attack snr 33.0 for"),
        (("scores", "zero", "mae", "value"), 0.0, "zero mae 0.0 for"),
        (("utility", "loss_fall", "value"), 0.5, "utility loss_fall 0.5 for 1.0"),
        (("characters", "attack", "recall", "value"), 2.0, "attack recall 2.0 for"),
        (("gave_up", "messages"), 3, "given up in 3 messages for 0"),
        (("seeds",), 3, "seeds 3 for 2"),
    ],
)
def test_a_summary_that_says_what_the_records_do_not_is_refused(copied: Path, path: tuple[str, ...], value: Any, said: str) -> None:
    write_report(copied)
    file = copied / "summary" / "sweep.json"
    summary = read_json(file)
    place = summary["cells"][0]
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    write_json(file, summary)
    with pytest.raises(UserError, match=said):
        write_report(copied)


def test_a_killed_sweep_goes_on_to_the_same_summary(
    values: dict[str, Any], whole: SweepResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def kill(number: int, size: float) -> None:
        if number == 10:  # the second message of the first run of the third cell; the kill itself is the tenth call
            raise Killed

    monkeypatch.setattr(Throw, "strike", staticmethod(kill))
    with pytest.raises(Killed):
        swept(values, tmp_path, AXES, seeds=[0, 1])
    folder = tmp_path / "sweep-grid"
    assert RunDirectory.open(folder).state is State.CRASHED
    states = [cell["state"] for cell in read_json(folder / "summary" / "sweep.json")["cells"]]
    assert states == ["done", "done", "pending", "pending"]
    assert "2 done, 2 pending" in write_report(folder).read_text()
    result = swept(values, tmp_path, AXES, seeds=[0, 1])
    assert Throw.runs == 10 + (8 * 2 - 9), "what was attacked before is not attacked again"
    assert result.made == 8 - 4
    assert result.summary == whole.summary
    assert swept(values, tmp_path, AXES, seeds=[0, 1]).made == 0


def test_a_wider_grid_costs_its_new_cells_and_a_changed_recipe_new_folders(values: dict[str, Any], tmp_path: Path) -> None:
    first = swept(values, tmp_path, {"attack.size": [0.5]})
    wider = swept(values, tmp_path, {"attack.size": [0.5, 1.0]})
    assert (first.made, wider.made) == (1, 1)
    assert wider.run == first.run
    assert wider.summary["cells"][0] == first.summary["cells"][0]
    changed = swept(values, tmp_path, {"attack.size": [0.5]}, "seed=7")
    assert changed.made == 1
    assert changed.summary["cells"][0]["runs"] != first.summary["cells"][0]["runs"]
    assert "recipe changed" in " ".join(changed.notes)
    assert Sweep.load(changed.run / "recipe.yaml").seeds == (7,)


def test_a_failing_cell_is_recorded_and_the_others_go_on(
    values: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(number: int, size: float) -> None:
        if size != 0.5:
            raise UserError("no such thing") if size == 2.0 else ZeroDivisionError("a bug")

    monkeypatch.setattr(Throw, "strike", staticmethod(fail))
    file = tmp_path / "broken.yaml"
    file.write_text(yaml.safe_dump({**values, "sweep": {"axes": {"attack.size": [2.0, 0.5, 3.0]}}}))
    assert main(["attack", "sweep", str(file), "--root", str(tmp_path), "--json"]) == 1
    printed = capsys.readouterr()
    value = json.loads(printed.out)
    assert [cell["state"] for cell in value["cells"]] == ["failed", "done", "failed"]
    assert [one["reason"] for cell in value["cells"] for one in cell["failures"]] == ["no such thing", "ZeroDivisionError: a bug"]
    assert "2 of 3 cells failed, first attack.size 2.0: no such thing" in printed.err
    run = RunDirectory.open(tmp_path / "sweep-broken")
    assert (run.state, run.reason) == (State.COMPLETE, "2 of 3 cells failed")
    page = (run.path / "report.html").read_text()
    assert "Failed cells" in page
    assert "ZeroDivisionError: a bug" in page
    monkeypatch.setattr(Throw, "strike", staticmethod(lambda number, size: None))
    assert main(["attack", "sweep", str(file), "--root", str(tmp_path), "--no-report"]) == 0
    assert "2 runs made, all others were there" in capsys.readouterr().out
    assert "Failed cells" not in write_report(run.path).read_text()


def test_bad_input_is_said_before_anything_runs(values: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "bad.yaml"
    file.write_text(yaml.safe_dump({**values, "sweep": {"axes": {"leak.batch": [1, 3], "attack.sise": [1.0]}}}))
    assert main(["attack", "sweep", str(file), "--root", str(tmp_path / "runs")]) == 2
    said = capsys.readouterr().err
    assert 'unknown key (did you mean "size"?)' in said
    assert not (tmp_path / "runs").exists()
    assert Throw.runs == 0


def test_other_folders_and_other_verbs_are_told_apart(copied: Path, values: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    cell = next((copied / "cells").glob("*-attack"))
    with pytest.raises(UserError, match="is a run of another kind"):
        attack_sweep(Sweep.from_dict({**values, "sweep": {"axes": {"leak.batch": [1]}}}), output=cell)
    assert main(["evaluate", str(copied)]) == 2
    assert "is a sweep of attacks" in capsys.readouterr().err
    shutil.rmtree(cell)
    with pytest.raises(UserError, match="there is no such run"):
        write_report(copied)
