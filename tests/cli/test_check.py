from __future__ import annotations

import sys
from pathlib import Path

import pytest
import yaml

from auscult.cli import main
from auscult.testing.recipes import toy_recipe


def test_a_missing_extra_is_named_before_the_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = tmp_path / "toy.yaml"
    recipe.write_text(yaml.safe_dump(toy_recipe(tmp_path / "corpus")))
    monkeypatch.setitem(sys.modules, "h5py", None)
    assert main(["check", str(recipe), "--hdf5", "--root", str(tmp_path / "runs")]) == 2
    assert "auscult[hdf5]" in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


def test_a_failed_check_still_prints_its_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    values = toy_recipe(tmp_path / "corpus")
    values["check"] = {"utterances": 2, "updates": 3}
    recipe = tmp_path / "toy.yaml"
    recipe.write_text(yaml.safe_dump(values))
    assert main(["check", str(recipe), "--root", str(tmp_path / "runs"), "--hdf5"]) == 1
    printed = capsys.readouterr()
    assert "budget" in printed.out
    assert "check failed" in printed.err
    [run] = (tmp_path / "runs").iterdir()
    assert len(list((run / "figures").glob("*.png"))) == 5
    assert (run / "metrics.h5").is_file()
