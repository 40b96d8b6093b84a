from __future__ import annotations

from pathlib import Path

import pytest
import soundfile

from auscult.corpora.fsdd import FreeSpokenDigits
from auscult.errors import UserError
from auscult.testing.corpora import check_corpus


@pytest.fixture
def published(noise, tmp_path: Path) -> Path:
    folder = tmp_path / "recordings"
    folder.mkdir()
    for speaker in ("ann", "bob"):
        for take in (0, 4, 5, 9, 10, 49):
            soundfile.write(folder / f"7_{speaker}_{take}.wav", noise(2000), 8000)
    return tmp_path


def test_published_layout(published: Path) -> None:
    corpus = FreeSpokenDigits(str(published))
    check_corpus(corpus)
    splits = corpus.splits()
    assert {split: sorted(cut.custom["take"] for cut in cuts) for split, cuts in splits.items()} == {
        "test": [0, 0, 4, 4],
        "validation": [5, 5, 9, 9],
        "train": [10, 10, 49, 49],
    }
    cut = splits["train"]["7_bob_49"]
    assert (cut.supervisions[0].text, cut.supervisions[0].speaker, cut.custom) == ("seven", "bob", {"digit": 7, "take": 49})


def test_held_out_speaker_is_all_of_test_and_nothing_else(published: Path) -> None:
    splits = FreeSpokenDigits(str(published), held_out_speaker="bob").splits()
    assert {split: {cut.supervisions[0].speaker for cut in cuts} for split, cuts in splits.items()} == {
        "test": {"bob"},
        "train": {"ann"},
        "validation": {"ann"},
    }
    assert len(splits["test"]) == 6
    assert sorted(cut.custom["take"] for cut in splits["train"]) == [0, 4, 10, 49]


def test_takes_can_be_chosen(published: Path) -> None:
    splits = FreeSpokenDigits(str(published), test_takes=(49,), validation_takes=(10,)).splits()
    assert {split: len(cuts) for split, cuts in splits.items()} == {"train": 8, "validation": 2, "test": 2}


def test_a_take_in_two_splits_is_refused() -> None:
    with pytest.raises(UserError, match=r"takes \[5\] are in both"):
        FreeSpokenDigits("x", test_takes=(4, 5), validation_takes=(5,))


def test_an_unknown_speaker_is_suggested(published: Path) -> None:
    with pytest.raises(UserError, match=r'no speaker "bobb" \(did you mean "bob"\?\).*ann, bob'):
        FreeSpokenDigits(str(published), held_out_speaker="bobb").splits()


def test_misnamed_audio_is_a_problem(noise, published: Path) -> None:
    soundfile.write(published / "recordings" / "seven.wav", noise(), 8000)
    with pytest.raises(UserError, match=r"seven\.wav \(misnamed\)"):
        FreeSpokenDigits(str(published)).splits()


def test_the_real_recordings(data_pack: Path) -> None:
    splits = FreeSpokenDigits(str(data_pack / "fsdd")).splits()
    assert {split: len(cuts) for split, cuts in splits.items()} == {"test": 250, "train": 2000, "validation": 250}
    unseen = FreeSpokenDigits(str(data_pack / "fsdd"), held_out_speaker="george").splits()
    assert {split: len(cuts) for split, cuts in unseen.items()} == {"test": 500, "train": 1800, "validation": 200}
    assert {cut.sampling_rate for cut in splits["test"]} == {8000}
