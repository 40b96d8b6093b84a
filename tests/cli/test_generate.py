"""`auscult generate polsess` as a person types it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from auscult.cli import main


@pytest.fixture
def settings(tmp_path: Path) -> Path:
    for speaker in range(6):
        path = tmp_path / "voices" / f"s{speaker}" / "a.wav"
        path.parent.mkdir(parents=True)
        soundfile.write(path, 0.05 * np.random.default_rng(speaker).standard_normal(6000), 8000)
    path = tmp_path / "settings.yaml"
    path.write_text(
        f"""
speech: {{name: folder, source: {tmp_path / "voices"}, speakers_from: folder}}
scenes: [{{built_in: 1}}]
events: [{{built_in: 1}}]
counts: {{train: 4, val: 2, test: 2}}
seconds: 0.5
indoor_share: 0.5
""",
        encoding="utf-8",
    )
    return path


def test_made_prepared_and_audited(settings: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["generate", "polsess", str(settings), "-o", str(tmp_path / "out"), "--json"]) == 0
    made = json.loads(capsys.readouterr().out)
    assert made["folder"] == str(tmp_path / "out")
    for split, count in (("train", 4), ("val", 2), ("test", 2)):
        part = made["splits"][split]
        assert (part["mixtures"], part["indoor"], part["same_speaker"]) == (count, count // 2, 0)
        assert 0 < part["residual"] <= 8 * 2**-16
    assert main(["prepare", "polsess", str(tmp_path / "out"), "-o", str(tmp_path / "prepared")]) == 0
    assert main(["audit", str(tmp_path / "prepared")]) == 0


def test_table_for_people(settings: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    changes = ["counts={train: 4}", "draw=file", "same_speaker=true"]
    words = ["generate", "polsess", str(settings), *changes, "-o", str(tmp_path / "out"), "--jobs", "2"]
    assert main(words) == 0
    shown = capsys.readouterr().out
    assert "50 %" in shown
    assert "train: two files of one speaker are expected in 0.0 % of the mixtures" in shown


def test_bad_settings_are_one_sentence_and_exit_two(settings: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["generate", "polsess", str(settings), "sed=3", "-o", str(tmp_path / "out")]) == 2
    assert capsys.readouterr().err.strip() == 'override "sed=3": sed: unknown key (did you mean "seed"?)'
    assert main(["generate", "polsess", str(tmp_path / "none.yaml"), "-o", str(tmp_path / "out")]) == 2
    assert main(["generate", "polsess", str(settings), "-o", str(tmp_path / "voices")]) == 2
    assert "is no generated corpus" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
