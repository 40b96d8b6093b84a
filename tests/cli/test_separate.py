"""`auscult separate` and `auscult transcribe --separate` as a user runs them: files, pipes, and one sentence where they cannot work."""

from __future__ import annotations

import io
import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
import yaml

from auscult.cli import main
from auscult.testing.known_separation import RATE, known_voices
from auscult.testing.recipes import toy_recipe
from auscult.testing.separation_runs import fresh_separation_run


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("world")
    talk = folder / "talk.wav"
    soundfile.write(talk, known_voices(7.0, 1).sum(axis=0), RATE)
    return {"folder": folder, "run": fresh_separation_run(folder / "runs"), "talk": talk}


def pipes(monkeypatch: pytest.MonkeyPatch, content: bytes = b"") -> io.BytesIO:
    """Put bytes behind standard input, and return what comes out of standard output."""
    target = io.BytesIO()
    monkeypatch.setattr(
        "auscult.cli.separate.sys",
        SimpleNamespace(stdin=SimpleNamespace(buffer=io.BytesIO(content)), stdout=SimpleNamespace(buffer=target)),
    )
    return target


def test_files(world: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["separate", str(world["run"]), str(world["talk"]), "-o", str(tmp_path), "--json"]) == 0
    [record] = json.loads(capsys.readouterr().out)
    assert [Path(path).name for path in record["outputs"]] == ["talk-speaker1.wav", "talk-speaker2.wav"]
    assert record["seconds"] == 7.0
    assert record["windows"] == 3
    assert {"swap_rate", "low_margin_joins", "doubtful", "notes", "gain", "sample_rate"} <= set(record)
    assert soundfile.info(record["outputs"][0]).frames == 7 * RATE
    assert main(["separate", str(world["run"]), str(world["talk"]), "-o", str(tmp_path), "--encoding", "float32", "--seconds", "2"]) == 0
    shown = capsys.readouterr().out
    assert "swap rate" in shown
    assert "talk-speaker2.wav" in shown
    assert soundfile.info(record["outputs"][0]).subtype == "FLOAT"


def test_a_long_file_shows_how_far_it_is(world: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    soundfile.write(tmp_path / "long.wav", np.tile(known_voices(7.0, 1).sum(axis=0), 9), RATE)
    assert main(["separate", str(world["run"]), str(tmp_path / "long.wav"), "-o", str(tmp_path)]) == 0
    assert "long.wav, seconds 63/63" in capsys.readouterr().err


def test_bare_samples_through_pipes(
    world: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What comes bare goes bare, interleaved, and is what the file gives."""
    assert main(["separate", str(world["run"]), str(world["talk"]), "-o", str(tmp_path), "--batch", "1"]) == 0
    samples, _ = soundfile.read(world["talk"], dtype="int16")
    target = pipes(monkeypatch, samples.tobytes())
    capsys.readouterr()
    assert main(["separate", str(world["run"]), "-", "-o", "-", "--rate", str(RATE)]) == 0
    found = np.frombuffer(target.getvalue(), "<i2").reshape(-1, 2)
    for speaker in (0, 1):
        expected, _ = soundfile.read(tmp_path / f"talk-speaker{speaker + 1}.wav", dtype="int16")
        assert np.array_equal(found[:, speaker], expected)
    assert capsys.readouterr().out == ""


def test_wav_through_pipes(
    world: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    target = pipes(monkeypatch, world["talk"].read_bytes())
    assert main(["separate", str(world["run"]), "-", "-o", "-", "--json"]) == 0
    (tmp_path / "out.wav").write_bytes(target.getvalue())
    samples, rate = soundfile.read(tmp_path / "out.wav")
    assert (samples.shape, rate) == ((7 * RATE, 2), RATE)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert json.loads(captured.err)[0]["saturated"] == 0
    pipes(monkeypatch, world["talk"].read_bytes())
    assert main(["separate", str(world["run"]), "-", "-o", str(tmp_path)]) == 0
    assert (tmp_path / "stdin-speaker2.wav").is_file()
    again = pipes(monkeypatch)
    assert main(["separate", str(world["run"]), str(world["talk"]), "-o", "-"]) == 0
    assert again.getvalue() == target.getvalue()


def test_what_cannot_work_is_one_sentence(
    world: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run, talk = str(world["run"]), str(world["talk"])
    pipes(monkeypatch, b"not a wav file")
    for words, message in (
        (["separate", run, talk, talk, "-o", "-"], "one recording at a time"),
        (["separate", run, talk, "--rate", "8000"], "bare samples"),
        (["separate", run, "-", "-o", "-"], "no WAV file"),
        (["separate", run, "gone.wav", "-o", str(tmp_path)], "gone.wav"),
        (["separate", str(tmp_path), talk], "not a run directory"),
        (["transcribe", run, talk, "--observation-mix", "0.3"], "--separate"),
        (["transcribe", run, talk, "--separate", run, "--observation-mix", "much"], "with commas"),
        (["transcribe", run, talk, "--separate", run], "recognition run"),
    ):
        assert main(words) == 2, words
        assert message in capsys.readouterr().err


@pytest.fixture(scope="module")
def recogniser(world: dict[str, Path]) -> Path:
    recipe = world["folder"] / "toy.yaml"
    recipe.write_text(yaml.safe_dump(toy_recipe(world["folder"] / "corpus")))
    assert main(["train", str(recipe), "--root", str(world["folder"] / "recognisers"), "--no-report"]) == 0
    return next((world["folder"] / "recognisers").glob("recognition-*"))


def test_transcripts_of_every_speaker_with_a_sweep(world: dict[str, Path], recogniser: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = world["folder"] / "said.tsv"
    said.write_text("talk\tAnna\tone two\ntalk\tBo\tthree\n")
    words = ["transcribe", str(recogniser), str(world["talk"]), "--separate", str(world["run"]), "--reference", str(said)]
    capsys.readouterr()
    assert main([*words, "--observation-mix", "0,0.3,1", "--json"]) == 0
    value = json.loads(capsys.readouterr().out)
    assert len(value["transcripts"]) == 6
    assert [one["observation_mix"] for one in value["scores"]] == [0.0, 0.3, 1.0]
    assert all(one["words"] == 3 and one["cpwer"] == one["errors"] / 3 for one in value["scores"])
    assert main(words) == 0
    shown = capsys.readouterr().out
    assert "cpWER" in shown
    assert "\tspeaker2\t0\t" in shown
    plain = [main(["transcribe", str(recogniser), str(world["talk"])]), capsys.readouterr().out]
    whole = [one["text"] for one in value["transcripts"] if one["observation_mix"] == 1.0]
    assert plain == [0, f"{world['talk']}\t{whole[0]}\n"]
    assert whole[0] == whole[1]
