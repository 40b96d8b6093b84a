"""Folders of conversations: every reference finds its recording, or both are named."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
import soundfile

from auscult.corpora.manifests import Manifests
from auscult.corpora.prepare import prepare
from auscult.corpora.rttm_folder import RttmFolder
from auscult.data.selection import manifest_hash
from auscult.data.strings import speaker_of
from auscult.errors import UserError
from auscult.metrics.rttm import read_rttm, read_uem
from auscult.testing.corpora import check_corpus

RATE = 16000
Turns = list[tuple[float, float, str]]


def rttm(name: str, turns: Turns) -> str:
    return "".join(f"SPEAKER {name} 1 {start:.3f} {end - start:.3f} <NA> <NA> {speaker} <NA> <NA>\n" for start, end, speaker in turns)


@pytest.fixture
def talk(tmp_path: Path, noise: Callable[..., np.ndarray]) -> Callable[..., Path]:
    """Write one second of audio and, unless None, its RTTM and UEM."""

    def write(name: str, turns: Turns | None = None, uem: str | None = None, channels: int = 1, inside: str | None = None) -> Path:
        folder = tmp_path / "talks"
        folder.mkdir(exist_ok=True)
        soundfile.write(folder / f"{name}.wav", noise(RATE, channels), RATE)
        if turns is not None:
            (folder / f"{name}.rttm").write_text(rttm(inside or name, turns), encoding="utf-8")
        if uem is not None:
            (folder / f"{name}.uem").write_text(uem, encoding="utf-8")
        return folder

    return write


def turns_of(corpus: RttmFolder) -> Mapping[str, Turns]:
    return {cut.id: [(one.start, one.end, one.speaker) for one in cut.supervisions] for cuts in corpus.splits().values() for cut in cuts}


def test_turns_stand_in_order_of_time_and_keep_their_overlap(talk) -> None:
    folder = talk("a.b", [(0.5, 0.9, "bob"), (0.1, 0.6, "ann")], uem="a.b 1 0 1\n", channels=2)
    corpus = RttmFolder(str(folder), split="dev")
    check_corpus(corpus, supervisions="many")
    (cut,) = corpus.splits()["dev"]
    assert turns_of(corpus) == {"a.b": [(0.1, 0.6, "ann"), (0.5, 0.9, "bob")]}
    assert [one.id for one in cut.supervisions] == ["a.b-0000", "a.b-0001"]
    assert (cut.custom, cut.duration, cut.channel, speaker_of(cut)) == ({"evaluated": [[0.0, 1.0]]}, 1.0, 0, "ann+bob")


def test_the_conformance_suite_sees_turns(talk) -> None:
    corpus = RttmFolder(str(talk("a", [(0.1, 0.6, "ann"), (0.5, 0.9, "bob")])))
    with pytest.raises(AssertionError, match="has 2 supervisions; expected one"):
        check_corpus(corpus)
    (cut,) = corpus.splits()["all"]
    cut.supervisions = [*cut.supervisions[::-1], cut.supervisions[0]]
    cut.supervisions[0].duration = 5.0
    with pytest.raises(AssertionError) as raised:
        check_corpus(corpus, supervisions="many")
    for reason in ("from 0.5 to 5.5 s, of speaker bob, is not one within 1.0 s", "have the same id", "not in the order of time"):
        assert reason in str(raised.value)


def test_a_small_overhang_is_clipped_and_more_is_another_recording(talk) -> None:
    folder = talk("a", [(0.2, 1.09, "ann"), (1.02, 1.05, "bob")], uem="a 1 0.0 1.1\n")
    corpus = RttmFolder(str(folder))
    check_corpus(corpus, supervisions="many")
    assert turns_of(corpus) == {"a": [(0.2, 1.0, "ann")]}  # nothing is left of the other turn
    assert corpus.splits()["all"]["a"].custom == {"evaluated": [[0.0, 1.0]]}
    talk("b", [(0.2, 1.2, "ann")], uem="b 1 0 1\n")
    with pytest.raises(UserError, match=r"b\.wav \(mismatch\)"):
        RttmFolder(str(folder)).splits()
    lenient = RttmFolder(str(folder), error_budget=1)
    assert list(turns_of(lenient)) == ["a"]
    assert "the turn of ann from 0.200 to 1.200 s does not lie in" in lenient.problems[0].detail
    talk("b", [(0.2, 1.0, "ann")], uem="b 1 0 1.2\n")
    with pytest.raises(UserError, match=r"b\.wav \(mismatch\)"):
        RttmFolder(str(folder)).splits()


def test_a_prepared_conversation_is_read_back_unchanged(talk, tmp_path: Path) -> None:
    turns = [(0.1, 0.6, "ann"), (0.5, 0.9, "bob")]
    talk("one", turns, uem="one 1 0 0.8\n")
    corpus = RttmFolder(str(talk("two", [(0.25, 0.75, "ann")], uem="two 1 0 1\n")), split="dev")
    prepared = prepare(corpus, tmp_path / "prepared")
    again = Manifests(str(prepared.folder))
    check_corpus(again, supervisions="many")
    assert list(again.splits()["dev"]) == list(corpus.splits()["dev"])
    assert manifest_hash(again.splits()["dev"]) == manifest_hash(corpus.splits()["dev"])
    written = read_rttm(prepared.folder / "dev.rttm").turns
    assert [(turn.start, turn.end, turn.speaker) for turn in written["one"]] == turns
    assert read_uem(prepared.folder / "dev.uem") == {"one": [(0.0, 0.8)], "two": [(0.0, 1.0)]}
    description = json.loads((prepared.folder / "corpus.json").read_text())
    assert (description["supervisions"], description["splits"]["dev"]["speakers"]) == ("many", 2)


def test_one_turn_each_is_a_conversation_too(talk, tmp_path: Path) -> None:
    corpus = RttmFolder(str(talk("one", [(0.25, 0.75, "ann")])))
    prepared = prepare(corpus, tmp_path / "prepared")
    assert (prepared.folder / "all.rttm").is_file()
    assert not (prepared.folder / "all.uem").exists()
    again = Manifests(str(prepared.folder)).splits()["all"]
    assert list(again) == list(corpus.splits()["all"])


@pytest.mark.parametrize("form", ["NFC", "NFD"])
@pytest.mark.parametrize("beside", [True, False])
def test_names_are_compared_in_one_unicode_form(talk, form: str, beside: bool) -> None:
    name = "trñ00-é"
    folder = talk(unicodedata.normalize("NFD", name), None)
    text = rttm(unicodedata.normalize(form, name), [(0.1, 0.6, "ann")])
    reference = folder / (f"{unicodedata.normalize('NFD', name)}.rttm" if beside else "reference.rttm")
    reference.write_text(text, encoding="utf-8")
    corpus = RttmFolder(str(folder), rttm=None if beside else str(reference))
    check_corpus(corpus, supervisions="many")
    assert list(turns_of(corpus)) == [unicodedata.normalize("NFC", name)]


def test_a_file_beside_its_audio_may_name_it_in_plain_letters(talk) -> None:
    folder = talk("trñ00", [(0.1, 0.6, "ann")], inside="trn00")
    assert list(turns_of(RttmFolder(str(folder)))) == ["trñ00"]


def test_a_reference_of_another_recording_is_refused(talk) -> None:
    talk("a", [(0.1, 0.6, "ann")])
    folder = talk("b", [(0.1, 0.6, "ann")], inside="a")  # copied and not edited
    with pytest.raises(UserError, match=r'b\.rttm describes "a", not "b"'):
        RttmFolder(str(folder)).splits()


@pytest.mark.parametrize("given", ["file", "folder"])
def test_references_may_lie_elsewhere(talk, tmp_path: Path, given: str) -> None:
    talk("a")
    folder = talk("b")
    elsewhere = tmp_path / "references"
    elsewhere.mkdir()
    (elsewhere / "all.rttm").write_text(rttm("a", [(0.1, 0.6, "ann")]))
    (elsewhere / "all.uem").write_text("a 1 0 1\nb 1 0 1\n")
    where = [str(elsewhere if given == "folder" else elsewhere / f"all.{suffix}") for suffix in ("rttm", "uem")]
    corpus = RttmFolder(str(folder), rttm=where[0], uem=where[1])
    check_corpus(corpus, supervisions="many")
    assert turns_of(corpus) == {"a": [(0.1, 0.6, "ann")], "b": []}  # evaluated, and nobody speaks


def test_local_speakers_are_other_people_in_every_recording(talk) -> None:
    talk("a", [(0.1, 0.6, "spk00")])
    folder = talk("b", [(0.1, 0.6, "spk00")])
    assert {speaker_of(cut) for cut in RttmFolder(str(folder), speakers="local").splits()["all"]} == {"a/spk00", "b/spk00"}
    assert {speaker_of(cut) for cut in RttmFolder(str(folder)).splits()["all"]} == {"spk00"}


def test_what_has_no_partner_is_counted(talk) -> None:
    talk("a", [(0.1, 0.6, "ann")])
    folder = talk("lonely")
    (folder / "gone.rttm").write_text(rttm("gone", [(0.1, 0.6, "ann")]))
    with pytest.raises(UserError, match="2 files cannot be used"):
        RttmFolder(str(folder)).splits()
    corpus = RttmFolder(str(folder), error_budget=2)
    assert list(turns_of(corpus)) == ["a"]
    assert [(one.problem, "gone" in one.detail) for one in corpus.problems] == [("untranscribed", False), ("missing", True)]


def test_recordings_without_an_evaluated_region_are_counted(talk) -> None:
    talk("a", [(0.1, 0.6, "ann")], uem="a 1 0 1\n")
    folder = talk("b", [(0.1, 0.6, "ann")])
    with pytest.raises(UserError, match=r"1 file .*b\.wav \(untranscribed\)"):
        RttmFolder(str(folder)).splits()


def test_blanks_and_empty_audio_are_counted(talk) -> None:
    talk("my talk", [(0.1, 0.6, "ann")], inside="my_talk")
    folder = talk("a", [(0.1, 0.6, "ann")])
    soundfile.write(folder / "a.wav", np.zeros(0, np.float32), RATE)
    with pytest.raises(UserError, match=r"2 files cannot be used.*my talk\.wav \(misnamed\); .*a\.wav \(empty\)"):
        RttmFolder(str(folder)).splits()


def test_a_folder_without_audio_or_references_is_refused(talk, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"empty holds no \.wav"):
        RttmFolder(str(tmp_path / "empty")).splits()
    folder = talk("a")
    with pytest.raises(UserError, match=r"holds no \.rttm file; set rttm to"):
        RttmFolder(str(folder)).splits()
    with pytest.raises(UserError, match=r"holds no \.rttm file; give"):
        RttmFolder(str(folder), rttm=str(folder)).splits()


def test_two_references_of_one_recording_are_refused(talk, tmp_path: Path) -> None:
    folder = talk("a")
    (tmp_path / "references").mkdir()
    for name in ("one", "two"):
        (tmp_path / "references" / f"{name}.rttm").write_text(rttm("a", [(0.1, 0.6, "ann")]))
    with pytest.raises(UserError, match=r'two\.rttm describes "a", which another file describes too'):
        RttmFolder(str(folder), rttm=str(tmp_path / "references")).splits()


def test_real_conversations_keep_their_seconds(data_pack: Path) -> None:
    corpus = RttmFolder(str(data_pack / "ami_clips"))
    check_corpus(corpus, supervisions="many")
    cuts = corpus.splits()["all"]
    assert (len(cuts), next(iter(cuts)).custom["evaluated"]) == (7, [[0.0, 30.0]])
    kept = sum(turn.duration for cut in cuts for turn in cut.supervisions)
    stated = sum(turn.duration for path in (data_pack / "ami_clips").glob("*.rttm") for turn in read_rttm(path).turns[path.stem])
    assert kept == pytest.approx(stated, abs=0.1)
    mixes = RttmFolder(str(data_pack / "librispeech_mix2"))
    check_corpus(mixes, supervisions="many", decoded=0)
    assert {len(speaker_of(cut).split("+")) for cut in mixes.splits()["all"]} == {2}
