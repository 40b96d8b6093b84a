from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from auscult.corpora import prepare as module
from auscult.corpora.folder import Folder
from auscult.corpora.manifests import Manifests
from auscult.corpora.prepare import prepare
from auscult.errors import UserError
from auscult.testing.corpora import check_corpus, toy_corpus


def test_a_prepared_corpus_is_read_back_unchanged(tmp_path: Path) -> None:
    corpus = Folder(str(toy_corpus(tmp_path / "toy")), language="en")
    prepared = prepare(corpus, tmp_path / "out" / "prepared")
    again = Manifests(str(prepared.folder))
    check_corpus(again)
    assert {split: list(cuts) for split, cuts in again.splits().items()} == {split: list(cuts) for split, cuts in corpus.splits().items()}


def test_the_description_counts_what_was_written(tmp_path: Path) -> None:
    corpus = Folder(str(toy_corpus(tmp_path / "toy", speakers=3, utterances=5)))
    prepare(corpus, tmp_path / "prepared")
    description = json.loads((tmp_path / "prepared" / "corpus.json").read_text())
    train = description["splits"]["train"]
    assert (description["name"], description["check"], description["problems"]) == ("folder", "full", [])
    assert description["parameters"] == {
        "source": str(tmp_path / "toy" / "manifest.jsonl"),
        "language": None,
        "split": "all",
        "speakers_from": "manifest",
        "error_budget": 0,
    }
    assert (train["utterances"], train["speakers"]) == (9, 3)
    assert train["hours"] * 3600 == pytest.approx(sum(cut.duration for cut in corpus.splits()["train"]), abs=0.01)


@pytest.mark.parametrize(("problem", "expected"), [("truncated_flac", "truncated"), ("nan", "non_finite")])
def test_what_headers_cannot_show_is_found_by_decoding(
    tmp_path: Path, write_manifest, broken: Callable[[str], str], good: str, problem: str, expected: str
) -> None:
    name = broken(problem)
    manifest = str(write_manifest([{"audio": good, "text": "a"}, {"audio": name, "text": "b"}]))
    assert len(Folder(manifest).splits()["all"]) == 2
    with pytest.raises(UserError, match=rf"1 file cannot be used.*{name} \({expected}\)"):
        prepare(Folder(manifest), tmp_path / "prepared")
    assert not (tmp_path / "prepared").exists()
    prepared = prepare(Folder(manifest, error_budget=1), tmp_path / "prepared")
    assert list(Manifests(str(prepared.folder)).splits()["all"].ids) == ["good"]
    (recorded,) = json.loads((tmp_path / "prepared" / "corpus.json").read_text())["problems"]
    assert (Path(recorded["path"]).name, recorded["problem"]) == (name, expected)


def test_header_and_decoding_problems_share_one_budget(tmp_path: Path, write_manifest, broken: Callable[[str], str], good: str) -> None:
    rows = [{"audio": name} for name in (good, broken("missing"), broken("nan"))]
    manifest = str(write_manifest(rows))
    with pytest.raises(UserError, match="2 files cannot be used and error_budget is 1"):
        prepare(Folder(manifest, error_budget=1), tmp_path / "prepared")
    assert [item.problem for item in prepare(Folder(manifest, error_budget=2), tmp_path / "prepared").problems] == ["missing", "non_finite"]


def test_a_wrong_stated_length_is_found(tmp_path: Path, write_manifest, good: str) -> None:
    manifest = str(write_manifest([{"audio": good, "samples": 9000, "sample_rate": 16000}]))
    with pytest.raises(UserError, match=r"good\.wav \(truncated\)"):
        prepare(Folder(manifest), tmp_path / "prepared")


def test_header_check_and_threads_write_the_same_manifests(tmp_path: Path) -> None:
    corpus = Folder(str(toy_corpus(tmp_path / "toy")))
    first = prepare(corpus, tmp_path / "first", check="header").description["splits"]
    assert first == prepare(corpus, tmp_path / "second", threads=3).description["splits"]
    assert (tmp_path / "first" / "train.jsonl.gz").read_bytes() == (tmp_path / "second" / "train.jsonl.gz").read_bytes()


def test_a_prepared_folder_is_replaced_and_another_folder_never(tmp_path: Path) -> None:
    corpus = Folder(str(toy_corpus(tmp_path / "toy")))
    prepare(corpus, tmp_path / "prepared")
    (tmp_path / "prepared" / "old.jsonl.gz").write_bytes(b"")
    prepare(corpus, tmp_path / "prepared")
    assert sorted(path.name for path in (tmp_path / "prepared").iterdir()) == [
        "corpus.json",
        "test.jsonl.gz",
        "train.jsonl.gz",
        "validation.jsonl.gz",
    ]
    with pytest.raises(UserError, match="is not a prepared corpus"):
        prepare(corpus, tmp_path / "toy")


def test_a_failed_write_leaves_the_old_folder_and_no_litter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    corpus = Folder(str(toy_corpus(tmp_path / "toy")))
    prepare(corpus, tmp_path / "prepared")
    before = (tmp_path / "prepared" / "corpus.json").read_bytes()

    def full_disk(*_: object) -> str:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module, "_write_cuts", full_disk)
    with pytest.raises(UserError, match=r"cannot write the prepared corpus to .*No space left"):
        prepare(corpus, tmp_path / "prepared")
    assert (tmp_path / "prepared" / "corpus.json").read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["prepared", "toy"]
