from __future__ import annotations

from pathlib import Path

import pytest
import soundfile

from auscult.corpora.folder import Folder, find_audio, read_rows
from auscult.errors import UserError
from auscult.testing.corpora import check_corpus, toy_corpus

RATE = 16000


def test_columns_become_supervision_splits_and_custom(write_manifest, good: str) -> None:
    rows = [
        {
            "audio": good,
            "id": "a",
            "text": "Zażółć",
            "speaker": 12,
            "split": "train",
            "language": "pl",
            "sex": "female",
            "mood": "calm",
            "take": 3,
        },
        {"audio": good, "id": "b", "split": "test"},
    ]
    corpus = Folder(str(write_manifest(rows)), language="en")
    check_corpus(corpus)
    splits = corpus.splits()
    (first,), (second,) = splits["train"], splits["test"]
    supervision = first.supervisions[0]
    assert (supervision.text, supervision.speaker, supervision.language, supervision.gender) == ("Zażółć", "12", "pl", "female")
    assert first.custom == {"mood": "calm", "take": 3}
    assert (second.supervisions[0].text, second.supervisions[0].speaker, second.supervisions[0].language) == (None, None, "en")


def test_csv_with_quotes_and_byte_order_mark(tmp_path: Path, good: str) -> None:
    (tmp_path / "list.csv").write_text(f'\ufeffaudio,text,duration,room\n{good},"yes, ""please""",0.25,\n', encoding="utf-8")
    (cut,) = Folder(str(tmp_path)).splits()["all"]
    assert cut.supervisions[0].text == 'yes, "please"'
    assert not cut.custom


def test_one_manifest_per_split(tmp_path: Path, good: str) -> None:
    for split in ("train", "test"):
        (tmp_path / f"{split}.csv").write_text(f"audio,id\n{good},{split}1\n")
    assert {split: list(cuts.ids) for split, cuts in Folder(str(tmp_path)).splits().items()} == {"test": ["test1"], "train": ["train1"]}


def test_audio_is_found_from_the_manifest_or_a_folder_above(noise, tmp_path: Path) -> None:
    manifest = tmp_path / "pack" / "digits" / "manifest.jsonl"
    manifest.parent.mkdir(parents=True)
    soundfile.write(tmp_path / "pack" / "digits" / "near.wav", noise(), RATE)
    soundfile.write(tmp_path / "pack" / "far.wav", noise(), RATE)
    assert find_audio("near.wav", manifest) == manifest.parent / "near.wav"
    assert find_audio("digits/near.wav", manifest) == manifest.parent / "near.wav"
    assert find_audio("far.wav", manifest) == tmp_path / "pack" / "far.wav"
    assert find_audio("nowhere.wav", manifest) == manifest.parent / "nowhere.wav"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"audio": "a.wav"', "line 2: not JSON"),
        ('["a.wav"]', "line 2: expected an object"),
        ('{"audoi": "a.wav"}', r'line 2: no "audio" \(did you mean "audoi"\?\)'),
        ('{"audio": "a.wav", "text": 5}', "line 2: text is 5; expected text"),
        ('{"audio": "a.wav", "duration": "long"}', "line 2: duration is 'long'; expected a number"),
        ('{"audio": "a.wav", "samples": -3}', "line 2: samples is -3"),
        ('{"audio": "a.wav", "duration": NaN}', "line 2: duration is nan"),
        ('{"audio": "a.wav", "sex": "X"}', 'line 2: sex is "X"; expected "female" or "male", or F or M'),
    ],
)
def test_bad_rows_are_named_by_line(tmp_path: Path, good: str, line: str, message: str) -> None:
    manifest = tmp_path / "list.jsonl"
    manifest.write_text(f'{{"audio": "{good}"}}\n{line}\n')
    with pytest.raises(UserError, match=message):
        Folder(str(manifest)).splits()


def test_a_row_with_an_unquoted_comma_is_refused(tmp_path: Path) -> None:
    manifest = tmp_path / "list.csv"
    manifest.write_text("audio,text\na.wav,yes, please\n")
    with pytest.raises(UserError, match="line 2: the header has 2 columns"):
        list(read_rows(manifest))


def test_text_in_another_encoding_is_refused(tmp_path: Path) -> None:
    manifest = tmp_path / "list.csv"
    manifest.write_bytes("audio,text\na.wav,zażółć\n".encode("iso8859-2"))
    with pytest.raises(UserError, match="is not UTF-8 text"):
        list(read_rows(manifest))


def test_no_manifest_and_no_table_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no manifest"):
        Folder(str(tmp_path)).splits()
    (tmp_path / "a.wav").write_bytes(b"x")
    with pytest.raises(UserError, match="is no manifest"):
        Folder(str(tmp_path / "a.wav")).splits()


def test_empty_text_stays_apart_from_no_text(write_manifest, good: str) -> None:
    rows = [{"audio": good, "id": "a", "text": ""}, {"audio": good, "id": "b"}]
    assert [cut.supervisions[0].text for cut in Folder(str(write_manifest(rows))).splits()["all"]] == ["", None]


def test_toy_corpus_is_a_folder_with_three_splits(tmp_path: Path) -> None:
    corpus = Folder(str(toy_corpus(tmp_path, speakers=2, utterances=4)))
    check_corpus(corpus)
    assert {split: len(cuts) for split, cuts in corpus.splits().items()} == {"train": 4, "validation": 2, "test": 2}


def test_real_manifest_with_paths_from_the_folder_above(data_pack: Path) -> None:
    splits = Folder(str(data_pack / "fsdd" / "manifest.jsonl")).splits()
    assert {split: len(cuts) for split, cuts in splits.items()} == {"test": 250, "train": 2250}


def test_the_split_of_rows_that_state_none(tmp_path: Path, write_manifest, good: str) -> None:
    manifest = write_manifest([{"audio": good, "id": "a"}, {"audio": good, "id": "b", "split": "test"}])
    splits = Folder(str(manifest), split="noisy").splits()
    assert {name: list(cuts.ids) for name, cuts in splits.items()} == {"noisy": ["a"], "test": ["b"]}
    assert set(Folder(str(tmp_path), split="noisy").splits()) == {"noisy", "test"}  # the folder of a single manifest


def test_one_folder_per_speaker(tmp_path: Path, noise) -> None:
    for name in ("zoë/2/b.wav", "zoë/1/a.flac", "ann/x.wav"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(tmp_path / name, noise(1600, 2), 16000)
    (tmp_path / "ann" / "notes.txt").write_text("no audio")
    corpus = Folder(str(tmp_path), split="train", speakers_from="folder", language="en")
    check_corpus(corpus)
    (split, cuts), *_ = corpus.splits().items()
    rows = [(cut.id, cut.supervisions[0].speaker, cut.supervisions[0].text, cut.supervisions[0].language) for cut in cuts]
    assert (split, rows) == ("train", [("ann/x", "ann", None, "en"), ("zoë/1/a", "zoë", None, "en"), ("zoë/2/b", "zoë", None, "en")])
    with pytest.raises(UserError, match=r"holds no manifest; .* or set speakers_from: folder"):
        Folder(str(tmp_path)).splits()


def test_files_without_a_folder_of_their_own_have_no_speaker(tmp_path: Path, good: str, noise) -> None:
    (tmp_path / "ann").mkdir()
    soundfile.write(tmp_path / "ann" / "a.wav", noise(), 16000)
    with pytest.raises(UserError, match=r"good\.wav \(misnamed\)"):
        Folder(str(tmp_path), speakers_from="folder").splits()
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"empty holds no \.wav"):
        Folder(str(tmp_path / "empty"), speakers_from="folder").splits()
