"""The demonstration in miniature: every step runs, what it says comes from the run, and a second one reuses the first."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import auscult
from auscult.cli import main
from auscult.cli.demo import load_recipe
from auscult.errors import UserError

pytest.importorskip("espeakng_loader")

SMALL = [
    "data.corpus.speakers=5", "data.corpus.utterances_per_speaker=6", "data.corpus.validation_speakers=1", "data.corpus.test_speakers=2",
    "model.channels=16", "model.blocks=1", "budget.updates=4", "budget.evaluate_every=2", "check.updates=3", "check.utterances=1",
]  # fmt: skip


@pytest.fixture
def recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("AUSCULT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(auscult, "write_report", lambda run: Path(run) / "report.html", raising=False)  # drawing has tests of its own
    source = Path(__file__).resolve().parents[2] / "recipes" / "recognition" / "demo.yaml"
    path = tmp_path / "small.yaml"
    path.write_text(auscult.Recipe.load(source, SMALL).to_yaml(), encoding="utf-8")
    return path


def demonstrate(recipe: Path, root: Path, capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    assert main(["demo", "--recipe", str(recipe), "--root", str(root), "--json"]) == 0
    answer: dict[str, Any] = json.loads(capsys.readouterr().out)
    return answer


def test_demonstration_runs_and_is_reused(recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = demonstrate(recipe, tmp_path / "runs", capsys)
    stored = json.loads((Path(first["train"]["run"]) / "summary" / "test.json").read_text(encoding="utf-8"))
    assert first["test"]["wer"] == pytest.approx(stored["metrics"]["wer"])
    assert first["test"]["interval"][0] <= first["test"]["wer"] <= first["test"]["interval"][1]
    assert (first["test"]["speakers"], first["test"]["utterances"]) == (2, 12)
    assert first["check"]["passed"] is False, "three updates cannot learn an utterance, and the demonstration says so"
    assert {Path(page).parent.name for page in first["reports"].values()} == {Path(first[verb]["run"]).name for verb in ("check", "train")}
    second = demonstrate(recipe, tmp_path / "runs", capsys)
    assert (first["train"]["action"], second["train"]["action"]) == ("trained", "reused")
    assert second["train"]["run"] == first["train"]["run"]
    assert second["test"] == first["test"]


def test_text_names_the_interval_and_the_limits(recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["demo", "--recipe", str(recipe), "--root", str(tmp_path / "runs")]) == 0
    out, err = capsys.readouterr()
    assert "95 % interval" in out
    assert "nothing about recorded speech" in out
    assert [f"{step}/6" in err for step in range(1, 7)] == [True] * 6


def test_missing_recipe_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"none\.yaml"):
        load_recipe(tmp_path / "none.yaml")


def test_built_in_recipe_is_found_without_a_path() -> None:
    assert load_recipe().data.corpus.name == "synthetic"
