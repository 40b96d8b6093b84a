"""AMI with the lists, references and regions of AMI-diarization-setup, rebuilt in small."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from auscult.corpora.ami import Ami
from auscult.corpora.manifests import Manifests
from auscult.corpora.prepare import prepare
from auscult.data.strings import speaker_of
from auscult.errors import UserError
from auscult.metrics.rttm import read_rttm, read_uem
from auscult.testing.corpora import check_corpus

RATE = 16000
MEETINGS = {"train": ["ES2002a", "ES2002b"], "dev": ["ES2011a"], "test": ["EN2002a"]}
Build = Callable[..., dict[str, Any]]


def speakers_of_series(meeting: str) -> tuple[str, str]:
    """The meetings of a series (all but the last letter) have the same people."""
    return f"F{meeting[:-1]}", f"M{meeting[:-1]}"


@pytest.fixture
def build(tmp_path: Path, noise: Callable[..., np.ndarray]) -> Build:
    """Write the corpus and return the arguments for `Ami`."""

    def write(
        audio: str = "{meeting}/audio/{meeting}.{microphone}.wav", microphone: str = "Mix-Headset", whole: bool = False
    ) -> dict[str, Any]:
        setup = tmp_path / "setup"
        for part, meetings in MEETINGS.items():
            turns, regions = {}, {}
            for meeting in meetings:
                path = tmp_path / "amicorpus" / audio.format(meeting=meeting, microphone=microphone)
                path.parent.mkdir(parents=True, exist_ok=True)
                soundfile.write(path, noise(RATE), RATE)
                lines = [
                    f"SPEAKER {meeting} 1 0.{2 * i} 0.500 <NA> <NA> {who} <NA> <NA>" for i, who in enumerate(speakers_of_series(meeting))
                ]
                turns[meeting], regions[meeting] = "\n".join(lines) + "\n", f"{meeting} 1 0.000 1.000\n"
            texts = [(f"lists/{part}.meetings.txt", "\n".join(meetings) + "\n")]
            for folder, suffix, content in (("only_words/rttms", "rttm", turns), ("uems", "uem", regions)):
                if whole:
                    texts.append((f"{folder}/{part}.{suffix}", "".join(content.values())))
                else:
                    texts += [(f"{folder}/{part}/{meeting}.{suffix}", text) for meeting, text in content.items()]
            for name, text in texts:
                (setup / name).parent.mkdir(parents=True, exist_ok=True)
                (setup / name).write_text(text)
        return {"source": str(tmp_path / "amicorpus"), "setup": str(setup), "microphone": microphone}

    return write


@pytest.mark.parametrize(
    "audio", ["{meeting}/audio/{meeting}.{microphone}.wav", "{meeting}.{microphone}.wav", "{meeting}/{meeting}.{microphone}.flac"]
)
@pytest.mark.parametrize(("microphone", "whole"), [("Mix-Headset", False), ("Array1-01", True)])
def test_layouts(build: Build, audio: str, microphone: str, whole: bool) -> None:
    corpus = Ami(**build(audio, microphone, whole))
    check_corpus(corpus, supervisions="many")
    splits = corpus.splits()
    assert {name: list(cuts.ids) for name, cuts in splits.items()} == MEETINGS
    cut = splits["dev"]["ES2011a"]
    assert [(turn.start, turn.end, turn.speaker) for turn in cut.supervisions] == [(0.0, 0.5, "FES2011"), (0.2, 0.7, "MES2011")]
    assert cut.custom == {"evaluated": [[0.0, 1.0]]}
    assert microphone in cut.recording.sources[0].source


def test_parts_that_are_not_asked_for_need_not_be_there(build: Build, tmp_path: Path) -> None:
    arguments = build()
    (tmp_path / "amicorpus" / "ES2002a" / "audio" / "ES2002a.Mix-Headset.wav").unlink()
    assert list(Ami(**arguments, parts=["test", "dev"]).splits()) == ["dev", "test"]
    with pytest.raises(UserError, match=r"audio/ES2002a\.Mix-Headset\.wav \(missing\)"):
        Ami(**arguments).splits()


def test_a_meeting_without_words_is_named(build: Build, tmp_path: Path) -> None:
    arguments = build()
    (tmp_path / "setup" / "only_words" / "rttms" / "train" / "ES2002b.rttm").unlink()
    with pytest.raises(UserError, match=r"1 file cannot be used.*ES2002b\.rttm \(untranscribed\)"):
        Ami(**arguments).splits()
    corpus = Ami(**arguments, error_budget=1)
    assert list(corpus.splits()["train"].ids) == ["ES2002a"]
    assert "meeting ES2002b (train.meetings.txt, line 2) has no RTTM" in corpus.problems[0].detail


def test_a_meeting_without_region_is_named(build: Build, tmp_path: Path) -> None:
    arguments = build()
    (tmp_path / "setup" / "uems" / "train" / "ES2002b.uem").unlink()
    with pytest.raises(UserError, match=r"ES2002b\.Mix-Headset\.wav \(untranscribed\)"):
        Ami(**arguments).splits()


def test_splits_that_share_speakers_are_refused(build: Build, tmp_path: Path) -> None:
    """The planted mistake: one meeting of a series in training, the next in the test."""
    arguments = build()
    for folder, suffix in (("only_words/rttms", "rttm"), ("uems", "uem")):
        (tmp_path / "setup" / folder / "train" / f"ES2002b.{suffix}").rename(tmp_path / "setup" / folder / "test" / f"ES2002b.{suffix}")
    (tmp_path / "setup" / "lists" / "train.meetings.txt").write_text("ES2002a\n")
    (tmp_path / "setup" / "lists" / "test.meetings.txt").write_text("EN2002a\nES2002b\n")
    with pytest.raises(UserError, match=r"splits share speakers: FES2002 \(ES2002a of train, ES2002b of test\), MES2002 "):
        Ami(**arguments).splits()
    assert len(Ami(**arguments, parts=["test"]).splits()["test"]) == 2


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("ES2011a\nES2002a\n", r"meeting ES2002a stands in train\.meetings\.txt, line 1 and in dev\.meetings\.txt, line 2"),
        ("ES2011a\nES 2011b\n", r'line 2: "ES 2011b" is no meeting'),
        ("\n", "lists no meeting"),
    ],
)
def test_wrong_lists_are_refused(build: Build, tmp_path: Path, content: str, message: str) -> None:
    arguments = build()
    (tmp_path / "setup" / "lists" / "dev.meetings.txt").write_text(content)
    with pytest.raises(UserError, match=message):
        Ami(**arguments).splits()


@pytest.mark.parametrize("missing", ["lists/dev.meetings.txt", "only_words", "uems"])
def test_an_incomplete_setup_is_refused(build: Build, tmp_path: Path, missing: str) -> None:
    arguments = build()
    (tmp_path / "setup" / missing).rename(tmp_path / "elsewhere")
    with pytest.raises(UserError, match="copy of AMI-diarization-setup"):
        Ami(**arguments).splits()


def test_prepare_writes_one_reference_per_split(build: Build, tmp_path: Path) -> None:
    corpus = Ami(**build())
    prepared = prepare(corpus, tmp_path / "prepared")
    again = Manifests(str(prepared.folder)).splits()
    assert {name: list(cuts) for name, cuts in again.items()} == {name: list(cuts) for name, cuts in corpus.splits().items()}
    assert set(read_rttm(prepared.folder / "train.rttm").turns) == set(read_uem(prepared.folder / "train.uem")) == {"ES2002a", "ES2002b"}
    assert prepared.description["splits"]["train"]["speakers"] == 2
    assert speaker_of(next(iter(again["test"]))) == "FEN2002+MEN2002"


def test_the_published_references_are_read(data_pack: Path, tmp_path: Path, noise: Callable[..., np.ndarray]) -> None:
    """The eighteen development meetings: 31,559 s of speaker time, with audio of the right length and no content."""
    fixture = data_pack / "fixtures" / "der" / "ami_mixheadset_dev"
    regions = read_uem(fixture / "all.uem")
    for folder, suffix, name in (("only_words/rttms", "rttm", "ref.rttm"), ("uems", "uem", "all.uem")):
        (tmp_path / "setup" / folder).mkdir(parents=True)
        (tmp_path / "setup" / folder / f"dev.{suffix}").write_bytes((fixture / name).read_bytes())
    (tmp_path / "setup" / "lists").mkdir()
    (tmp_path / "setup" / "lists" / "dev.meetings.txt").write_text("\n".join(regions))
    (tmp_path / "audio").mkdir()
    for meeting, [(_, end)] in regions.items():
        soundfile.write(tmp_path / "audio" / f"{meeting}.Mix-Headset.flac", np.zeros(round(end * 100), np.int16), 100)
    cuts = Ami(str(tmp_path / "audio"), str(tmp_path / "setup"), parts=["dev"]).splits()["dev"]
    assert len(cuts) == 18
    assert len({turn.speaker for cut in cuts for turn in cut.supervisions}) == 21
    assert sum(turn.duration for cut in cuts for turn in cut.supervisions) == pytest.approx(31_558.8, abs=40)
