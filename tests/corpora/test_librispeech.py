from __future__ import annotations

from pathlib import Path

import pytest
import soundfile

from auscult.corpora.librispeech import LibriSpeech
from auscult.errors import UserError
from auscult.testing.corpora import check_corpus

RATE = 16000


@pytest.fixture
def library(noise, tmp_path: Path) -> Path:
    root = tmp_path / "LibriSpeech"
    for subset, speaker, chapter in (("dev-clean", "84", "121"), ("train-clean-100", "1034", "7"), ("train-clean-100", "84", "3")):
        folder = root / subset / speaker / chapter
        folder.mkdir(parents=True)
        names = [f"{speaker}-{chapter}-{number:04d}" for number in range(2)]
        for name in names:
            soundfile.write(folder / f"{name}.flac", noise(), RATE)
        (folder / f"{speaker}-{chapter}.trans.txt").write_text("".join(f"{name} IT'S {name[-1]}\n" for name in names))
    (root / "SPEAKERS.TXT").write_text(
        ";ID | SEX | SUBSET | MINUTES | NAME\n84   | F | dev-clean | 8.0 | A | B\n1034 | M | train-clean-100 | 25.1 | C\n"
    )
    return root


def test_official_layout(library: Path) -> None:
    corpus = LibriSpeech(str(library))
    check_corpus(corpus)
    splits = corpus.splits()
    assert {split: list(cuts.ids) for split, cuts in splits.items()} == {
        "dev-clean": ["84-121-0000", "84-121-0001"],
        "train-clean-100": ["84-3-0000", "84-3-0001", "1034-7-0000", "1034-7-0001"],
    }
    cut = splits["train-clean-100"]["1034-7-0001"]
    (supervision,) = cut.supervisions
    assert (supervision.text, supervision.speaker, supervision.gender, supervision.language) == ("IT'S 1", "1034", "male", "en")
    assert cut.custom == {"session": "7"}


def test_the_folder_it_was_unpacked_in_and_a_single_subset_are_found(library: Path) -> None:
    assert list(LibriSpeech(str(library.parent)).splits()) == ["dev-clean", "train-clean-100"]
    assert list(LibriSpeech(str(library / "dev-clean")).splits()) == ["dev-clean"]


def test_subsets_are_chosen_and_a_wrong_one_is_suggested(library: Path) -> None:
    assert list(LibriSpeech(str(library), ["train-clean-100"]).splits()) == ["train-clean-100"]
    with pytest.raises(UserError, match=r'no subset "dev-claen" \(did you mean "dev-clean"\?\); on disk: dev-clean, train-clean-100'):
        LibriSpeech(str(library), ["dev-claen"]).splits()


def test_audio_without_text_and_text_without_audio_are_problems(library: Path) -> None:
    chapter = library / "dev-clean" / "84" / "121"
    (chapter / "84-121-0000.flac").rename(chapter / "84-121-0009.flac")
    corpus = LibriSpeech(str(library), error_budget=2)
    corpus.splits()
    assert sorted((item.path.name, item.problem) for item in corpus.problems) == [
        ("84-121-0000.flac", "missing"),
        ("84-121-0009.flac", "untranscribed"),
    ]


def test_another_folder_is_refused_with_the_expected_layout(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="expected <subset>/<speaker>/<chapter>"):
        LibriSpeech(str(tmp_path)).splits()


def test_the_real_excerpt(data_pack: Path) -> None:
    corpus = LibriSpeech(str(data_pack / "LibriSpeech"))
    check_corpus(corpus)
    cuts = corpus.splits()["train-mini"]
    assert len(cuts) == 95
    assert {cut.supervisions[0].speaker for cut in cuts} == {"19", "26", "27"}
    assert sum(cut.duration for cut in cuts) / 60 == pytest.approx(8.48, abs=0.01)
