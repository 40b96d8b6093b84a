"""`auscult score eer` as a user runs it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from auscult.cli import main

FOUR = "1.0 1\n0.0 0\n0.9 1\n0.1 0\n"


def test_the_real_trials(data_pack: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scores = str(data_pack / "fixtures" / "eer" / "spk_trial_scores_100.txt")
    assert main(["score", "eer", scores, "--speaker-separator", "/", "--json"]) == 0
    value = json.loads(capsys.readouterr().out)
    assert value["eer_percent"] == pytest.approx(2.0)
    assert value["min_dcf_p05"] == pytest.approx(0.04)
    assert value["trials"] == 100
    assert "speakers" in value["interval_over"]
    assert value["format"] == "id*id score label"
    assert main(["score", "eer", scores]) == 0
    text = capsys.readouterr().out
    assert text.startswith("EER 2.00 % (")
    assert "95 % over trials" in text
    assert "minDCF(p = 0.01) 0.0400" in text
    assert "50 target and 50 non-target trials, read as `id*id score label`" in text
    assert "linear interpolation" in text


def test_inverted_scores_are_called_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "scores.txt"
    path.write_text(FOUR.replace("0\n", "x\n").replace("1\n", "0\n").replace("x\n", "1\n"))
    assert main(["score", "eer", str(path)]) == 0
    text = capsys.readouterr().out
    assert "EER 100.00 %" in text
    assert "warning: the area under the ROC is 0.000" in text


def test_bad_files_exit_with_2_and_the_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "scores.txt"
    path.write_text(FOUR + "0.5 maybe\n")
    assert main(["score", "eer", str(path)]) == 2
    message = capsys.readouterr().err
    assert "scores.txt:5" in message
    assert "maybe" in message
    assert main(["score", "eer", str(tmp_path / "absent.txt")]) == 2
