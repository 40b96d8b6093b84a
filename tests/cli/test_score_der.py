"""`auscult score der` as a user runs it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from auscult.cli import main


def rttm(*turns: tuple[str, float, float, str]) -> str:
    return "".join(f"SPEAKER {name} 1 {start} {end - start} <NA> <NA> {speaker} <NA> <NA>\n" for name, start, end, speaker in turns)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "ref.rttm").write_text(rttm(("a.b", 0, 10, "A"), ("a.b", 10, 20, "B"), ("c", 0, 10, "A")))
    (tmp_path / "sys.rttm").write_text("SPKR-INFO c 1 <NA> <NA> <NA> adult X <NA> <NA>\n" + rttm(("a.b", 0, 20, "X")))
    (tmp_path / "all.uem").write_text("a.b 1 0 10\nc 1 0 10\n")
    return tmp_path


def test_published_values_for_machines(data_pack: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = data_pack / "fixtures" / "der" / "ami_mixheadset_dev"
    assert main(["score", "der", str(folder / "ref.rttm"), str(folder / "sys.rttm"), "--uem", str(folder / "all.uem"), "--json"]) == 0
    value = json.loads(capsys.readouterr().out)
    rates = [100 * value[key] for key in ("der_forgiving", "der_fair", "der_full", "jer")]
    assert rates == pytest.approx([1.559, 9.679, 16.335, 20.569], abs=0.0006)
    for name in ("full", "fair", "forgiving"):
        low, high = value[f"interval_{name}"]
        assert low < value[f"der_{name}"] < high
        assert value[f"der_{name}"] == pytest.approx(value[f"miss_{name}"] + value[f"false_alarm_{name}"] + value[f"confusion_{name}"])
        seconds = sum(row[f"scored_seconds_{name}"] for row in value["per_file"])
        assert sum(row[f"der_{name}"] * row[f"scored_seconds_{name}"] for row in value["per_file"]) / seconds == pytest.approx(
            value[f"der_{name}"]
        )
    assert value["files"] == len(value["per_file"]) == 18
    assert value["regions"] == "UEM"
    assert "fair: +-0.25 s collar, overlap scored" in value["protocol"]


def test_a_table_for_people(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["score", "der", str(folder / "ref.rttm"), str(folder / "sys.rttm")]) == 0
    text = capsys.readouterr().out
    assert "2 recordings, regions: first to last turn of reference and system" in text
    assert "full: no collar, overlap scored" in text
    assert "66.67 %" in text  # 10 s confused and 10 s missing of 30
    assert "JER 83.33 %" in text
    assert "missing in the system, counted as missed: c" in text
    assert "lines of the system that are not SPEAKER: 1 SPKR-INFO" in text


def test_regions_count(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    paths = [str(folder / name) for name in ("ref.rttm", "sys.rttm")]
    assert main(["score", "der", *paths, "--uem", str(folder / "all.uem"), "--json"]) == 0
    value = json.loads(capsys.readouterr().out)
    assert value["der_full"] == 0.5
    assert value["missing"] == ["c"]
    assert value["skipped"] == {"reference": {}, "system": {"SPKR-INFO": 1}}


def test_one_recording_has_no_interval(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "ref.rttm").write_text(rttm(("c", 0, 0.4, "A")))
    (folder / "sys.rttm").write_text(rttm(("c", 0, 10, "X")))
    paths = [str(folder / name) for name in ("ref.rttm", "sys.rttm")]
    assert main(["score", "der", *paths, "--json"]) == 0
    value = json.loads(capsys.readouterr().out)
    assert value["interval_full"] is None
    assert value["interval_over"] is None
    assert value["der_full"] == pytest.approx(24.0)
    assert value["der_fair"] is None  # the collars cover all reference speech
    assert main(["score", "der", *paths]) == 0
    assert "2400.00 %" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("sys.rttm", rttm(("c", 0, 1, "X"), ("d", 0, 1, "X")), 'the reference lacks: "d"'),
        ("sys.rttm", "c 0 1 X\n", "sys.rttm:1"),
        ("ref.rttm", "", "ref.rttm: no SPEAKER lines"),
        ("all.uem", "a.b 1 0 10\n", 'the UEM has no region for 1 recordings of the reference, first "c"'),
    ],
)
def test_bad_input_exits_with_2(folder: Path, capsys: pytest.CaptureFixture[str], name: str, content: str, message: str) -> None:
    (folder / name).write_text(content)
    assert main(["score", "der", str(folder / "ref.rttm"), str(folder / "sys.rttm"), "--uem", str(folder / "all.uem")]) == 2
    captured = capsys.readouterr()
    assert message in captured.err
    assert captured.out == ""
