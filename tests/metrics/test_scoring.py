"""Scoring files of transcripts: the published result, edge cases and refusals."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from auscult.errors import UserError
from auscult.metrics.scoring import read_transcripts, score_wer


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    reference, hypothesis = tmp_path / "ref.tsv", tmp_path / "hyp.tsv"
    reference.write_text("a-1\tthe cat sat\na-2\t\nb-1\tzażółć\n", encoding="utf-8")
    hypothesis.write_text("b-1\tzażółć\na-1\tThe cat, sat down\na-2\tuh\n", encoding="utf-8")
    return reference, hypothesis


def test_published_result_of_librispeech_test_clean(data_pack: Path) -> None:
    folder = data_pack / "fixtures" / "wer"
    scores = score_wer(folder / "ref.test-clean.tsv", folder / "test-clean.b1.rnnt_baseline.tsv", speaker_separator="-")
    assert scores["wer_percent"] == 3.6537583688374924
    assert scores["wer"] == (1501 + 195 + 225) / 52576
    assert (scores["substitutions"], scores["insertions"], scores["deletions"], scores["words"]) == (1501, 195, 225, 52576)
    assert scores["utterances"] == 2620
    assert scores["interval_over"] == "40 speakers, then utterances"
    low, high = scores["interval"]
    assert 0.031 < low < 0.033 < scores["wer"] < 0.040 < high < 0.042


def test_small_files_in_any_order(files: tuple[Path, Path]) -> None:
    scores = score_wer(*files, replicates=100)
    assert (scores["substitutions"], scores["insertions"], scores["deletions"], scores["words"]) == (2, 2, 0, 4)
    assert scores["wer"] == 1.0
    assert scores["interval_over"] == "utterances"
    assert json.loads(json.dumps(scores)) == scores
    assert score_wer(*files, normalise="english", replicates=100)["wer"] == 0.5


def test_characters_count_spaces(tmp_path: Path) -> None:
    (tmp_path / "r").write_text("u\ta b\n")
    (tmp_path / "h").write_text("u\tab\n")
    scores = score_wer(tmp_path / "r", tmp_path / "h", replicates=10)
    assert (scores["cer"], scores["character_errors"], scores["characters"]) == (1 / 3, 1, 3)


def test_windows_files_are_read(tmp_path: Path) -> None:
    (tmp_path / "r").write_bytes(b"\xef\xbb\xbfu-1\tone two\r\nu-2\tthree\r\n")
    assert read_transcripts(tmp_path / "r") == {"u-1": "one two", "u-2": "three"}


@pytest.mark.parametrize(
    ("reference", "hypothesis", "message"),
    [
        ("u\tone\nv\ttwo\n", "u\tone\n", r'hyp.tsv: 1 ids of ref.tsv are missing \("v"\)'),
        ("u\tone\n", "u\tone\nv\ttwo\n", r'ref.tsv: 1 ids of hyp.tsv are missing \("v"\)'),
        ("u\tone\nu\ttwo\n", "u\tone\n", r'ref.tsv:2: id "u" appears twice'),
        ("u one\n", "u\tone\n", r"ref.tsv:1: expected id<TAB>text, got 1 columns"),
        ("u\tone\n", "u\tone\t0.9\n", r"hyp.tsv:1: expected id<TAB>text, got 3 columns"),
        ("\tone\n", "u\tone\n", r"ref.tsv:1: expected id<TAB>text"),
        ("", "u\tone\n", r"ref.tsv: no transcripts"),
        ("u\t\n", "u\tone\n", r"ref.tsv: the references hold no words"),
    ],
)
def test_refusals(tmp_path: Path, reference: str, hypothesis: str, message: str) -> None:
    (tmp_path / "ref.tsv").write_text(reference)
    (tmp_path / "hyp.tsv").write_text(hypothesis)
    with pytest.raises(UserError, match=message):
        score_wer(tmp_path / "ref.tsv", tmp_path / "hyp.tsv")


def test_unreadable_files(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot read the transcripts"):
        read_transcripts(tmp_path / "none.tsv")
    (tmp_path / "latin").write_bytes(b"u\tza\xbf\n")
    with pytest.raises(UserError, match="not UTF-8"):
        read_transcripts(tmp_path / "latin")


def test_unknown_normalisation(files: tuple[Path, Path]) -> None:
    with pytest.raises(UserError, match='expected "none" or "english"'):
        score_wer(*files, normalise="polish")  # type: ignore[arg-type]
