"""`auscult prepare` for corpora of speakers, from folders as they are unpacked to manifests, references and lists."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from auscult.cli import main
from auscult.corpora.manifests import Manifests
from auscult.metrics.rttm import read_rttm, read_uem


def audio(path: Path, seconds: float = 1.0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, np.random.default_rng(list(str(path).encode())).uniform(-0.1, 0.1, round(16000 * seconds)), 16000)


def text(path: Path, content: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)


def rttm(name: str, *speakers: str) -> str:
    return "".join(f"SPEAKER {name} 1 0.{place} 0.25 <NA> <NA> {who} <NA> <NA>\n" for place, who in enumerate(speakers))


def prepared(capsys: pytest.CaptureFixture[str], folder: Path, *words: str) -> Any:
    capsys.readouterr()
    assert main(["prepare", *words, "-o", str(folder / "out"), "--json"]) == 0
    value = json.loads(capsys.readouterr().out)
    assert set(Manifests(str(folder / "out")).splits()) == set(value["splits"])
    assert main(["audit", str(folder / "out")]) == 0
    return value


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "out").iterdir())


def test_voxceleb(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trials = []
    for speaker in ("id10270", "id10271"):
        for video in ("one", "two"):
            audio(tmp_path / "voxceleb1" / "test" / "wav" / speaker / video / "00001.wav")
        trials.append(f"1 {speaker}/one/00001.wav {speaker}/two/00001.wav\n")
    text(tmp_path / "veri_test2.txt", "".join(trials))
    value = prepared(capsys, tmp_path, "voxceleb", str(tmp_path / "voxceleb1"), f"trials=[{tmp_path / 'veri_test2.txt'}]")
    assert value["splits"]["vox1_test"]["speakers"] == 2
    assert files(tmp_path) == ["corpus.json", "veri_test2.txt", "vox1_test.jsonl.gz"]


def test_ami(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for part, meeting in (("train", "ES2002a"), ("dev", "ES2011a"), ("test", "EN2002a")):
        audio(tmp_path / "amicorpus" / meeting / "audio" / f"{meeting}.Mix-Headset.wav")
        text(tmp_path / "setup" / "lists" / f"{part}.meetings.txt", f"{meeting}\n")
        text(tmp_path / "setup" / "only_words" / "rttms" / part / f"{meeting}.rttm", rttm(meeting, f"F{meeting}", f"M{meeting}"))
        text(tmp_path / "setup" / "uems" / part / f"{meeting}.uem", f"{meeting} 1 0.000 1.000\n")
    value = prepared(capsys, tmp_path, "ami", str(tmp_path / "amicorpus"), f"setup={tmp_path / 'setup'}")
    assert {name: split["speakers"] for name, split in value["splits"].items()} == {"train": 2, "dev": 2, "test": 2}
    assert read_uem(tmp_path / "out" / "dev.uem") == {"ES2011a": [(0.0, 1.0)]}
    assert len(read_rttm(tmp_path / "out" / "dev.rttm").turns["ES2011a"]) == 2


def test_voxconverse(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text(tmp_path / "voxconverse" / "dev" / "abjxc.rttm", rttm("abjxc", "spk00", "spk01"))
    audio(tmp_path / "voxconverse_dev_wav" / "audio" / "abjxc.wav")
    prepared(capsys, tmp_path, "voxconverse", str(tmp_path / "voxconverse"), f"audio={tmp_path / 'voxconverse_dev_wav'}")
    assert files(tmp_path) == ["corpus.json", "dev.jsonl.gz", "dev.rttm"]


def test_rttm_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    audio(tmp_path / "talks" / "a.wav")
    text(tmp_path / "talks" / "a.rttm", rttm("a", "ann", "bob"))
    text(tmp_path / "talks" / "a.uem", "a 1 0 1\n")
    prepared(capsys, tmp_path, "rttm_folder", str(tmp_path / "talks"), "split=dev")
    assert files(tmp_path) == ["corpus.json", "dev.jsonl.gz", "dev.rttm", "dev.uem"]


def test_pack(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    audio(tmp_path / "talks" / "ann" / "a.wav")
    words = ("folder", str(tmp_path / "talks"), "speakers_from=folder")
    value = prepared(capsys, tmp_path, *words, "--pack")
    assert files(tmp_path) == ["all.jsonl.gz", "audio.index", "audio.int16", "corpus.json"]
    assert (value["pack"]["samples"], value["pack"]["recordings"]) == (16000, 1)
    assert main(["prepare", *words, "-o", str(tmp_path / "out"), "--pack-rate", "8000"]) == 0
    shown = capsys.readouterr()
    assert "recordings packed into audio.float32 at 8000 Hz: 1; 32 bits because" in shown.out
    assert "folder 1/1" in shown.err
    assert (tmp_path / "out" / "audio.float32").stat().st_size == 4 * 8000
    assert main(["prepare", *words, "-o", str(tmp_path / "out"), "--pack-rate", "0"]) != 0


def test_a_wrong_reference_ends_with_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    audio(tmp_path / "talks" / "a.wav")
    text(tmp_path / "talks" / "a.rttm", "SPEAKER a 1 0.1 zero <NA> <NA> ann <NA> <NA>\n")
    assert main(["prepare", "rttm_folder", str(tmp_path / "talks"), "-o", str(tmp_path / "out")]) != 0
    shown = capsys.readouterr()
    assert 'a.rttm:1: the duration is "zero", expected a number' in shown.err + shown.out
    assert not (tmp_path / "out").exists()


def test_real_conversations(data_pack: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    value = prepared(capsys, tmp_path, "rttm_folder", str(data_pack / "ami_clips"), "split=dev")
    assert (value["splits"]["dev"]["utterances"], value["splits"]["dev"]["speakers"], value["problems"]) == (7, 13, [])
    written, published = read_rttm(tmp_path / "out" / "dev.rttm").turns, {}
    for path in (data_pack / "ami_clips").glob("*.rttm"):
        published.update(read_rttm(path).turns)
    assert written == {name: sorted(turns, key=lambda turn: (turn.start, turn.end, turn.speaker)) for name, turns in published.items()}
