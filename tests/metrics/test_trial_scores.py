"""Score files of several tools: the same trials in every order give the same figures, and doubtful files are refused by line."""

from __future__ import annotations

from pathlib import Path

import pytest

from auscult.errors import UserError
from auscult.metrics.trial_scores import ORDERS, read_scores, score_eer

TRIALS = [
    ("ann/1", "ann/2", 0.9, 1),
    ("ann/1", "bob/1", 0.2, 0),
    ("bob/1", "bob/2", 0.4, 1),
    ("bob/2", "ann/2", 0.5, 0),
    ("cyd/1", "cyd/2", 0.8, 1),
    ("cyd/1", "ann/1", -0.3, 0),
    ("dee/1", "dee/é", 0.7, 1),
    ("dee/1", "bob/2", 0.0, 0),
]


def written(path: Path, order: str, words: bool = False) -> Path:
    lines = []
    for first, second, score, label in TRIALS:
        named = ("nontarget", "target")[label] if words else str(label)
        values = {"score": f"{score:.3f}", "label": named, "id*id": f"{first}*{second}"}
        ids = iter((first, second))
        lines.append(" ".join(next(ids) if role == "id" else values[role] for role in order.split()))
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


@pytest.mark.parametrize("words", [False, True])
@pytest.mark.parametrize("order", ORDERS)
def test_every_order_gives_the_same_figures(order: str, words: bool, tmp_path: Path) -> None:
    value = score_eer(written(tmp_path / "scores.txt", order, words), replicates=20)
    assert value["format"] == order
    assert value["eer"] == pytest.approx(0.25)
    assert value["auc"] == pytest.approx(15 / 16)
    assert (value["trials"], value["targets"], value["nontargets"]) == (8, 4, 4)
    assert value["interval_over"] == "trials"
    assert value["warnings"] == []
    low, high = value["intervals"]["eer"]
    assert low <= 0.25 <= high


def test_intervals_over_speakers_and_a_warning_for_few_of_them(tmp_path: Path) -> None:
    value = score_eer(written(tmp_path / "scores.txt", "label id id score"), speaker_separator="/", replicates=50)
    assert value["interval_over"] == "4 speakers on both sides"
    assert "all target trials are of 4 speakers" in value["warnings"][0]


def test_the_head_of_a_list_is_called_so(data_pack: Path) -> None:
    """The first hundred trials of VoxCeleb1-O: 28 speakers, and every target trial of one of them."""
    value = score_eer(data_pack / "fixtures" / "eer" / "spk_trial_scores_100.txt", speaker_separator="/", replicates=50)
    assert "all target trials are of 1 speaker," in value["warnings"][0]


def test_inverted_scores_are_called_so(tmp_path: Path) -> None:
    path = tmp_path / "scores.txt"
    path.write_text("0.1 1\n0.9 0\n0.2 1\n0.3 0\n")
    assert "distances (change their sign)" in score_eer(path, replicates=5)["warnings"][0]


def test_blank_lines_tabs_and_a_byte_order_mark_are_fine(tmp_path: Path) -> None:
    path = tmp_path / "scores.txt"
    path.write_bytes("\ufeff1\tann one\tann two\t0.5\r\n\r\n0\tann one\tbob\t-1e-3\r\n".encode())
    read = read_scores(path)
    assert read.pairs == [("ann one", "ann two"), ("ann one", "bob")]
    assert read.scores.tolist() == [0.5, -0.001]
    assert read.numbers == [1, 3]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "no trials"),
        ("\n \n", "no trials"),
        ("0.5 1\n0.5\n", ":2: 1 columns, but line 1 has 2"),
        ("1 0\n0 1\n", "can be read as `score label` and as `label score`"),
        ("0.5 1\n\n0.4 yes\n", ':3: .*"yes" is no label'),
        ("0.5 1\nnan 0\n", ':2: .*"nan" is not finite'),
        ("0.5 1\nhigh 0\n", ':2: .*"high" is no number'),
        ("0.5 1\n0 0.4\n", ":2: "),
        ("0.5\n0.4\n", ":1: 1 columns; expected one trial a line"),
        ("a b 0.5\n", ':1: not `id.id score label`.*"0.5" is no label'),
        ("1 a b 0.5\nb c 0.3 0\n", ":2: "),
        ("1 a b 0.5\n0 b a 0.5\n", ":2: .* labelled 0 here and 1 on line 1"),
        ("1 a b 0.5\n1 a b 0.6\n", ":2: .* score 0.6 here and 0.5 on line 1"),
        ("1 a a 0.5\n", ":1: .*compared with itself"),
        ("1 a b 0.5\n1 a c 0.6\n", "no non-target trials"),
        ("a 0.5 1\n", ':1: expected two ids joined by "\\*"'),
    ],
)
def test_doubtful_files_are_refused(text: str, words: str, tmp_path: Path) -> None:
    path = tmp_path / "scores.txt"
    path.write_text(text)
    with pytest.raises(UserError, match=words) as caught:
        score_eer(path, replicates=5)
    assert "scores.txt" in str(caught.value)


def test_words_make_a_file_of_ones_and_zeros_readable(tmp_path: Path) -> None:
    path = tmp_path / "scores.txt"
    path.write_text("1 target\n0 nontarget\n")
    assert score_eer(path, replicates=5)["eer"] == 0.0


def test_the_same_line_twice_counts_twice(tmp_path: Path) -> None:
    path = tmp_path / "scores.txt"
    path.write_text("1 a b 0.5\n1 a b 0.5\n0 a c 0.1\n")
    assert score_eer(path, replicates=5)["trials"] == 3


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    path = tmp_path / "scores.txt"
    with pytest.raises(UserError, match="cannot read the score file"):
        score_eer(path)
    path.write_bytes(b"0.5 1\n0.4 \xff\n")
    with pytest.raises(UserError, match=r"not UTF-8 \(byte 10"):
        score_eer(path)


def test_a_wrong_separator_is_found_by_the_labels(tmp_path: Path) -> None:
    path = written(tmp_path / "scores.txt", "label id id score")
    with pytest.raises(UserError, match='txt:1: id "ann/1" names no speaker before "-"'):
        score_eer(path, speaker_separator="-")
    path.write_text("1 x/ann/1 x/ann/2 0.5\n0 x/ann/1 x/bob/1 0.1\n")
    with pytest.raises(UserError, match='txt:2: labelled 0, but the speakers before "/" are "x" and "x"'):
        score_eer(path, speaker_separator="/")
    with pytest.raises(UserError, match="no ids in `score label`"):
        score_eer(written(tmp_path / "plain.txt", "score label"), speaker_separator="/")
