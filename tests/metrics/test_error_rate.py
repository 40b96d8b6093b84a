"""Edge rules of text comparison, each fixed here."""

from __future__ import annotations

import subprocess
import sys
import unicodedata

import pytest

from auscult.errors import UserError
from auscult.metrics.edit_distance import EditCounts
from auscult.metrics.error_rate import character_errors, english_text, error_rate, word_errors


@pytest.mark.parametrize(
    ("reference", "hypothesis", "expected"),
    [
        ("", "", (0, 0, 0, 0)),
        ("", "one two", (0, 2, 0, 0)),
        ("one two", "", (0, 0, 2, 2)),
        ("  one \t two\n", "one two", (0, 0, 0, 2)),
        ("one\u00a0two", "one two", (0, 0, 0, 2)),
        ("One", "one", (1, 0, 0, 1)),
        ("one.", "one", (1, 0, 0, 1)),
        ("don't", "don’t", (1, 0, 0, 1)),
        ("don't", "do n't", (1, 1, 0, 1)),
        (unicodedata.normalize("NFD", "zażółć"), "zażółć", (0, 0, 0, 1)),
        ("zażółć", "zazolc", (1, 0, 0, 1)),
    ],
)
def test_word_edge_rules(reference: str, hypothesis: str, expected: tuple[int, int, int, int]) -> None:
    assert word_errors(reference, hypothesis) == EditCounts(*expected)


@pytest.mark.parametrize(
    ("reference", "hypothesis", "expected"),
    [
        ("", "", (0, 0, 0, 0)),
        ("", "ab", (0, 2, 0, 0)),
        ("a  b", "a b", (0, 0, 0, 3)),
        ("a b", "ab", (0, 0, 1, 3)),
        (" ab ", "ab", (0, 0, 0, 2)),
        (unicodedata.normalize("NFD", "żó"), "żó", (0, 0, 0, 2)),
        ("Ab", "ab", (1, 0, 0, 2)),
    ],
)
def test_character_edge_rules(reference: str, hypothesis: str, expected: tuple[int, int, int, int]) -> None:
    assert character_errors(reference, hypothesis) == EditCounts(*expected)


def test_rate_is_a_ratio_of_sums_and_may_exceed_one() -> None:
    assert error_rate([EditCounts(1, 0, 0, 1), EditCounts(0, 0, 0, 9)]) == 0.1
    assert error_rate([EditCounts(0, 3, 0, 0), EditCounts(0, 0, 0, 2)]) == 1.5


@pytest.mark.parametrize("counts", [[], [EditCounts(0, 1, 0, 0)]])
def test_rate_of_empty_references_is_refused(counts: list[EditCounts]) -> None:
    with pytest.raises(UserError, match="at least one word"):
        error_rate(counts)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Hello,  World!", "hello world"),
        ("it’s O'Neill", "it's o'neill"),
        ("twenty-one — or 21?", "twenty one or 21"),
        ("Zażółć!", "zażółć"),
        ("…", ""),
    ],
)
def test_english_text(text: str, expected: str) -> None:
    assert english_text(text) == expected
    assert english_text(expected) == expected


def test_metrics_need_no_torch() -> None:
    program = "import sys, auscult.metrics.scoring; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], env={"PYTHONPATH": ":".join(sys.path)}, check=False).returncode == 0
