"""`auscult score separation` as a user runs it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from auscult.cli import main
from auscult.testing.known_mixtures import estimates_at

LEVELS = {"a": 10.0, "b": 14.0, "c": 3.0}
RATE = 8000


def write(path: Path, samples: np.ndarray, rate: int = RATE) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, samples, rate, subtype="FLOAT")


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """Sources in s1/, s2/ with mix/, and estimates <id>-speaker1.wav in the wrong order, at known levels."""
    for seed, (name, level) in enumerate(LEVELS.items()):
        there, said = (0.2 * one[0] for one in estimates_at(level, batch=1, samples=4000, seed=seed))
        for place in (0, 1):
            write(tmp_path / "ref" / f"s{place + 1}" / f"{name}.wav", there[place])
            write(tmp_path / "est" / f"{name}-speaker{2 - place}.wav", said[place])
        write(tmp_path / "ref" / "mix" / f"{name}.wav", there.sum(axis=0))
    return tmp_path / "ref", tmp_path / "est"


def scored(capsys: pytest.CaptureFixture[str], *words: object) -> dict[str, Any]:
    assert main(["score", "separation", *map(str, words), "--json"]) == 0
    value: dict[str, Any] = json.loads(capsys.readouterr().out)
    return value


def test_known_levels_for_machines(folders: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    value = scored(capsys, *folders)
    assert value["si_sdr"] == pytest.approx(9.0, abs=1e-3)
    assert value["si_sdri"] == pytest.approx(value["si_sdr"] - value["input_si_sdr"])
    assert value["failure_rate"] == 0
    assert [record["id"] for record in value["per_mixture"]] == list(LEVELS)
    assert [record["si_sdr"] for record in value["per_mixture"]] == pytest.approx(list(LEVELS.values()), abs=1e-3)
    assert all(record["permutation"] == [1, 0] for record in value["per_mixture"])
    assert value["sdr"] > value["si_sdr"]
    assert value["sir"] > value["sdr"]
    for key in ("si_sdr", "si_sdri", "sdr"):
        low, high = value["intervals"][key]
        assert low < value[key] < high
    assert (value["mixtures"], value["sources"], value["sample_rate"], value["unjudged"]) == (3, 2, RATE, 0)
    assert value["interval_over"] == "mixtures"
    assert value["protocol"][-1] == "improvements: over the mixture itself"


def test_other_layout_and_no_mixture(folders: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    reference, estimate = folders
    flat = tmp_path / "flat"
    flat.mkdir()
    for number in (1, 2):
        for path in (reference / f"s{number}").iterdir():
            path.rename(flat / f"{path.stem}_s{number}.wav")
    value = scored(capsys, flat, estimate)
    assert value["si_sdr"] == pytest.approx(9.0, abs=1e-3)
    assert "si_sdri" not in value
    assert "sdri" not in value
    assert value["protocol"][-1] == "no mixtures given, so no improvements"
    with_mixture = scored(capsys, flat, estimate, "--mixture", reference / "mix")
    assert with_mixture["si_sdri"] == pytest.approx(9.0 - with_mixture["input_si_sdr"], abs=1e-3)
    assert main(["score", "separation", str(flat), str(estimate)]) == 0
    assert "improvement 9" not in capsys.readouterr().out


def test_a_table_for_people(folders: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    reference, estimate = folders
    write(estimate / "b-speaker1.wav", np.zeros(4000))
    for name in ("s1/c.wav", "s2/c.wav"):
        write(reference / name, np.zeros(4000))
    assert main(["score", "separation", str(reference), str(estimate)]) == 0
    text = capsys.readouterr().out
    assert "3 mixtures of 2 at 8000 Hz" in text
    assert "SI-SDR improvement" in text
    assert "not judged, because their sources are all silent: 1" in text
    assert "with an estimate of silence, which counts as 0 dB: 1 (b)" in text
    assert "BSS-eval version 3" in text


def test_intelligibility_and_quality(data_pack: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("pystoi")
    pytest.importorskip("pesq")
    files = sorted((data_pack / "librispeech_1utt").rglob("*.flac"))[:2]
    there = np.stack([soundfile.read(path)[0][:32_000] for path in files])
    for place in (0, 1):
        write(tmp_path / "ref" / f"x_s{place + 1}.wav", there[place], 16_000)
        write(tmp_path / "est" / f"x_s{place + 1}.wav", there[place] + 0.1 * there[1 - place], 16_000)
    write(tmp_path / "ref" / "x_mix.wav", there.sum(axis=0), 16_000)
    value = scored(capsys, tmp_path / "ref", tmp_path / "est", "--stoi", "--pesq")
    assert value["stoi_input"] < value["stoi"] <= 1
    assert value["pesq_input"] < value["pesq"] < 4.65
    assert "PESQ by pesq, wide band" in value["protocol"]
    assert value["intervals"] == {}
    assert value["interval_over"] is None
    assert main(["score", "separation", str(tmp_path / "ref"), str(tmp_path / "est"), "--stoi"]) == 0
    assert "STOI by pystoi" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "samples", "rate", "message"),
    [
        ("b-speaker2.wav", 3999, RATE, "b-speaker2.wav has 3999 samples and"),
        ("b-speaker2.wav", 4000, 16_000, "b-speaker2.wav has 16000 Hz and"),
        ("d-speaker1.wav", 4000, RATE, "d has no signal s2"),
    ],
)
def test_files_that_do_not_fit(
    folders: tuple[Path, Path], capsys: pytest.CaptureFixture[str], name: str, samples: int, rate: int, message: str
) -> None:
    """Cut to the shorter of two lengths, or compared at two rates, they would be scored against the wrong instants."""
    write(folders[1] / name, np.zeros(samples), rate)
    assert main(["score", "separation", *map(str, folders)]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_a_missing_estimate_is_no_smaller_mean(folders: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    for number in (1, 2):
        (folders[1] / f"c-speaker{number}.wav").unlink()
    assert main(["score", "separation", *map(str, folders)]) == 2
    assert "1 of 3 mixtures of" in capsys.readouterr().err


def test_a_rate_that_pesq_does_not_know(folders: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for path in [*folders[0].rglob("*.wav"), *folders[1].rglob("*.wav")]:
        write(path, soundfile.read(path)[0], 11_025)
    assert main(["score", "separation", *map(str, folders), "--pesq"]) == 2
    assert "not at 11025" in capsys.readouterr().err
