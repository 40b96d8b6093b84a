"""RTTM and UEM: what is understood, what is refused, and that writing and reading agree."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auscult.errors import UserError
from auscult.metrics.rttm import read_rttm, read_uem, rttm_text, uem_text
from auscult.metrics.segments import Turn

LINE = "SPEAKER talk 1 0.5 1.5 <NA> <NA> anna <NA> <NA>\n"


@pytest.fixture
def written(tmp_path: Path) -> Callable[[str | bytes], Path]:
    def write(content: str | bytes) -> Path:
        path = tmp_path / "file.txt"
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return write


def test_what_is_understood(written: Callable[[str | bytes], Path]) -> None:
    text = (
        ";; a comment\nSPKR-INFO talk 1 <NA> <NA> <NA> unknown anna <NA> <NA>\n\n" + LINE + "  ;; another\n"
        "NON-LEX talk 1 1 1 <NA> laugh anna <NA> <NA>\nNON-LEX talk 1 3 1 <NA> laugh anna <NA> <NA>\n"
        "SPEAKER ES2011a.Mix-Headset.v2 1\t4e0 .25  <NA> <NA> żółć 0.75\r\n"
    )
    rttm = read_rttm(written("\ufeff" + text))
    assert rttm.turns == {"talk": [Turn(0.5, 2.0, "anna")], "ES2011a.Mix-Headset.v2": [Turn(4.0, 4.25, "żółć", 0.75)]}
    assert rttm.skipped == {"SPKR-INFO": 1, "NON-LEX": 2}


def test_names_are_compared_as_they_are(written: Callable[[str | bytes], Path]) -> None:
    composed, decomposed, wide = "se\u00f1or", "sen\u0303or", "no\u00a0break"
    turns = read_rttm(written("".join(LINE.replace("talk", name) for name in (composed, decomposed, wide)))).turns
    assert list(turns) == [composed, decomposed, wide]


def test_touching_turns_stay_apart(written: Callable[[str | bytes], Path]) -> None:
    assert len(read_rttm(written(LINE + LINE.replace("0.5 1.5", "2.0 1.0"))).turns["talk"]) == 2


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("SPEAKER talk 1 0.5 1.5 <NA> <NA> anna", "file.txt:2: expected 10 columns"),
        ("SPEAKER talk 1 0.5 1.5 <NA> <NA> anna <NA> <NA> more", "file.txt:2: expected 10 columns .* got 11"),
        ("SPEAKER two words 1 0.5 1.5 <NA> <NA> anna <NA> <NA>", "file.txt:2: expected 10 columns .* got 11"),
        ("talk 1 0.5 1.5", 'file.txt:2: "talk" is no type of RTTM line'),
        ("speaker talk 1 0.5 1.5 <NA> <NA> anna <NA> <NA>", 'file.txt:2: "speaker" is no type of RTTM line'),
        ("SPEKER talk 1 0.5 1.5 <NA> <NA> anna <NA> <NA>", 'no type of RTTM line .did you mean "SPEAKER"'),
        ("SPEAKER talk 1 x 1.5 <NA> <NA> anna <NA> <NA>", 'file.txt:2: the onset is "x", expected a number'),
        ("SPEAKER talk 1 nan 1.5 <NA> <NA> anna <NA> <NA>", 'file.txt:2: the onset is "nan"'),
        ("SPEAKER talk 1 0.5 inf <NA> <NA> anna <NA> <NA>", 'file.txt:2: the duration is "inf"'),
        ("SPEAKER talk 1 0.5 1e999 <NA> <NA> anna <NA> <NA>", 'file.txt:2: the duration is "1e999"'),
        ("SPEAKER talk 1 0.5 1_000 <NA> <NA> anna <NA> <NA>", 'file.txt:2: the duration is "1_000"'),
        ("SPEAKER talk 1 0,5 1.5 <NA> <NA> anna <NA> <NA>", 'file.txt:2: the onset is "0,5"'),
        ("SPEAKER talk 1 \u0661 1.5 <NA> <NA> anna <NA> <NA>", "file.txt:2: the onset"),
        ("SPEAKER talk 1 0.5 0 <NA> <NA> anna <NA> <NA>", "file.txt:2: the duration is 0, expected more than 0"),
        ("SPEAKER talk 1 0.5 -1 <NA> <NA> anna <NA> <NA>", "file.txt:2: the duration is -1"),
        ("SPEAKER talk 1 -0.5 1 <NA> <NA> anna <NA> <NA>", "file.txt:2: the onset is -0.5"),
        ("SPEAKER talk 1 16000000 1 <NA> <NA> anna <NA> <NA>", "file.txt:2: the onset is 16000000, expected seconds"),
        ("SPEAKER talk 1 1e6 1e-13 <NA> <NA> anna <NA> <NA>", "file.txt:2: the duration is 1e-13"),
        ("SPEAKER talk 2 0.5 1 <NA> <NA> anna <NA> <NA>", 'file.txt:2: channel 2 of "talk" after channel 1'),
        ("SPEAKER talk 1 0.5 1 <NA> <NA> anna sure <NA>", 'file.txt:2: the confidence is "sure"'),
    ],
)
def test_refused_rttm_lines(written: Callable[[str | bytes], Path], line: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        read_rttm(written(LINE + line + "\n"))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "file.txt: no SPEAKER lines"),
        (";; nothing\n\n", "file.txt: no SPEAKER lines"),
        ("SPKR-INFO talk 1 <NA> <NA> <NA> unknown anna <NA> <NA>", "file.txt: no SPEAKER lines"),
        (LINE.encode() + b"SPEAKER se\xf1or 1 0 1 <NA> <NA> a <NA> <NA>\n", r"file.txt: not UTF-8 \(byte 58\)"),
    ],
)
def test_refused_rttm_files(written: Callable[[str | bytes], Path], content: str | bytes, message: str) -> None:
    with pytest.raises(UserError, match=message):
        read_rttm(written(content))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "file.txt: no regions"),
        ("talk 1 0\n", "file.txt:1: expected 4 columns, got 3"),
        ("talk 1 0 10\ntalk 1 20 15\n", "file.txt:2: the region ends at 15, not after its start at 20"),
        ("talk 1 3 3\n", "file.txt:1: the region ends at 3"),
        ("talk 1 0 end\n", 'file.txt:1: the end is "end"'),
        ("talk 1 0 10\ntalk 2 0 10\n", "file.txt:2: channel 2"),
        (b"talk 1 0 \xff\n", "not UTF-8"),
    ],
)
def test_refused_uem(written: Callable[[str | bytes], Path], content: str | bytes, message: str) -> None:
    with pytest.raises(UserError, match=message):
        read_uem(written(content))


def test_missing_files(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot read the RTTM file"):
        read_rttm(tmp_path / "none.rttm")
    with pytest.raises(UserError, match="cannot read the UEM file"):
        read_uem(tmp_path)


names = st.text(st.characters(exclude_categories=("Z", "C")), min_size=1, max_size=8)
times = st.integers(0, 10**9).map(lambda microseconds: microseconds / 1e6)
turns = st.builds(lambda start, length, speaker: Turn(start, start + length / 1e6, speaker), times, st.integers(1, 10**8), names)


@given(st.dictionaries(names, st.lists(turns, min_size=1, max_size=5), min_size=1, max_size=3))
def test_what_is_written_is_read_back(tmp_path_factory: pytest.TempPathFactory, annotation: dict[str, list[Turn]]) -> None:
    path = tmp_path_factory.mktemp("rttm") / "file.rttm"
    path.write_text(rttm_text(annotation), encoding="utf-8")
    back = read_rttm(path).turns
    assert list(back) == list(annotation)
    for name, expected in annotation.items():
        ordered = sorted(expected, key=lambda turn: (turn.start, turn.end, turn.speaker))
        assert [turn.speaker for turn in back[name]] == [turn.speaker for turn in ordered]
        for got, turn in zip(back[name], ordered, strict=True):
            assert (got.start, got.end) == pytest.approx((turn.start, turn.end), abs=1.1e-6)


def test_uem_is_read_back(written: Callable[[str | bytes], Path]) -> None:
    regions = {"a.b": [(0.0, 1.5), (2.0, 3.25)], "ż": [(0.25, 9.0)]}
    assert read_uem(written(uem_text(regions))) == regions


def test_a_turn_shorter_than_the_last_decimal_is_written_as_one_that_can_be_read(written: Callable[[str | bytes], Path]) -> None:
    assert len(read_rttm(written(rttm_text({"talk": [Turn(1.0, 1.0000001, "a")]}))).turns["talk"]) == 1


@pytest.mark.parametrize(("name", "speaker", "start"), [("two words", "a", 0.0), ("", "a", 0.0), ("talk", "a b", 0.0), ("talk", "a", -1.0)])
def test_what_cannot_be_written(name: str, speaker: str, start: float) -> None:
    with pytest.raises(UserError, match=r"names without spaces|no negative times"):
        rttm_text({name: [Turn(start, 2.0, speaker)]})
    with pytest.raises(UserError, match=r"names without spaces|expected a region"):
        uem_text({name.replace("talk", "t t"): [(start, 2.0)]})
