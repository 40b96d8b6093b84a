"""Trial lists: every complaint names its line, ids match across suffix and Unicode form, and a subset is never the head of the list."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from auscult.data.trials import Trials, generate_trials, read_trials, speakers_of_list, write_trials
from auscult.errors import UserError


def listed(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def triples(trials: Trials) -> list[tuple[bool, str, str]]:
    rows = zip(trials.target.tolist(), trials.enrol.tolist(), trials.test.tolist(), strict=True)
    return [(label, trials.ids[first], trials.ids[second]) for label, first, second in rows]


@pytest.mark.parametrize(
    "text",
    [
        "1 ann/1.wav bob/1.wav\n0 bob/1.wav çem/2.wav\n",
        "ann/1.wav bob/1.wav 1\nbob/1.wav çem/2.wav 0\n",
        "target ann/1.wav bob/1.wav\n\nnontarget bob/1.wav çem/2.wav",
        "\ufeffann/1.wav\tbob/1.wav\ttarget\r\nbob/1.wav\tçem/2.wav\tnontarget\r\n",
    ],
)
def test_every_order_and_spelling_of_labels(text: str, tmp_path: Path) -> None:
    trials = read_trials(listed(tmp_path / "list.txt", text))
    assert triples(trials) == [(True, "ann/1.wav", "bob/1.wav"), (False, "bob/1.wav", "çem/2.wav")]
    assert trials.ids == ("ann/1.wav", "bob/1.wav", "çem/2.wav")
    assert (trials.enrol.dtype, trials.test.dtype, trials.target.dtype) == (np.int64, np.int64, np.bool_)
    assert repr(trials) == "Trials(2 trials, 1 target, 3 files)"


def test_ids_match_across_suffix_and_unicode_form(tmp_path: Path) -> None:
    path = listed(tmp_path / "list.txt", f"1 a/1.wav {unicodedata.normalize('NFD', 'é/2')}\n0 a/1 b/3.FLAC\n")
    trials = read_trials(path, ["a/1", "é/2.ogg", "b/3", "unused"])
    assert triples(trials) == [(True, "a/1", "é/2.ogg"), (False, "a/1", "b/3")]
    assert read_trials(path).ids[0] == "a/1.wav"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "no trials"),
        ("1 a b\n1 a\n", ":2: 2 columns, but line 1 has 3"),
        ("1 a b 0.5\n", ":1: expected a label .* got 4 columns"),
        ("1 a b\n\n2 a c\n", ':3: no label; .* got "2" and "c"'),
        ("1 a b\na c 0\n", ":2: the label stands at another place"),
        ("a c 0\n1 a b\n", ":2: the label stands at another place"),
        ("a b c\n", ':1: no label; .* got "a" and "c"'),
        ("1 a 0\n0 b 1\n", "the first and the last column both hold only labels"),
        ("1 a b\n1 b c\n0 b a\n", ':3: "b" and "a" are labelled 0 here and 1 on line 1'),
        ("1 a b\n0 c c.wav\n", ":2: .*compared with itself"),
        ("1 a b\n0 a speaker-brv\n", ':2: unknown file "speaker-brv" .did you mean "speaker-bravo"'),
    ],
)
def test_bad_lists_are_refused_by_line(text: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=words) as caught:
        read_trials(listed(tmp_path / "list.txt", text), ["a", "b", "c", "speaker-bravo"])
    assert "list.txt" in str(caught.value)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot read the trial list"):
        read_trials(tmp_path / "absent.txt")
    (tmp_path / "latin.txt").write_bytes("1 a é\n".encode("latin-1"))
    with pytest.raises(UserError, match="not UTF-8"):
        read_trials(tmp_path / "latin.txt")
    with pytest.raises(UserError, match=r'"a\.wav" and "a\.flac" differ only in suffix'):
        read_trials(listed(tmp_path / "list.txt", "1 a b\n"), ["a.wav", "a.flac", "b"])


def test_a_line_that_is_there_twice_stays_twice(tmp_path: Path) -> None:
    assert len(read_trials(listed(tmp_path / "list.txt", "1 a b\n1 a b\n"))) == 2


@pytest.mark.parametrize("ids", [("a", "b", "ñandú/3"), ("a file", "b", "c\u3000d")])
def test_written_lists_are_read_back(ids: tuple[str, ...], tmp_path: Path) -> None:
    trials = Trials(np.array([0, 1]), np.array([1, 2]), np.array([True, False]), ids)
    write_trials(tmp_path / "list.txt", trials)
    back = read_trials(tmp_path / "list.txt", ids)
    assert triples(back) == triples(trials)


def test_ids_that_no_line_can_hold(tmp_path: Path) -> None:
    for bad in ("a\tb", "a\nb", " a", ""):
        with pytest.raises(UserError, match="cannot stand in a list"):
            write_trials(tmp_path / "list.txt", Trials(np.array([0]), np.array([1]), np.array([True]), (bad, "c")))


def test_trials_check_themselves() -> None:
    good = np.array([0]), np.array([1]), np.array([True])
    with pytest.raises(UserError, match="id of its own"):
        Trials(*good, ("a", "a"))
    with pytest.raises(UserError, match="outside the 1 files"):
        Trials(*good, ("a",))
    with pytest.raises(UserError, match="equally long"):
        Trials(good[0], good[1], np.array([True, False]), ("a", "b"))


def assert_fair(trials: Trials, speakers: np.ndarray) -> None:
    """Every speaker is in about as many target and non-target trials as every other."""
    sides = speakers[trials.enrol], speakers[trials.test]
    for wanted in (True, False):
        kind = trials.target == wanted
        counts = np.bincount(np.concatenate([side[kind] for side in sides]), minlength=speakers.max() + 1)
        assert counts.min() > 0
        assert counts.max() <= 1.5 * counts.min() + 4


def test_a_subset_is_fair_and_the_head_of_the_list_is_not() -> None:
    """The planted bug takes the first N pairs: only the first of 40 speakers are heard."""
    speakers = np.repeat(np.arange(40), 12)
    names, ids = [f"s{one:02d}" for one in speakers], [f"f{number}" for number in range(480)]
    every = generate_trials(names, ids, np.random.default_rng(0))
    assert len(every) == 480 * 479 // 2
    some = generate_trials(names, ids, np.random.default_rng(0), maximum=2000)
    assert len(some) == 2000
    assert int(some.target.sum()) == 1000
    assert_fair(some, speakers)
    head = Trials(every.enrol[:2000], every.test[:2000], every.target[:2000], every.ids)
    with pytest.raises(AssertionError):
        assert_fair(head, speakers)


@given(
    st.lists(st.integers(0, 6), min_size=3, max_size=30).filter(lambda one: 1 < len(set(one)) < len(one)),
    st.integers(2, 500) | st.none(),
    st.integers(0, 10),
)
def test_generated_trials(speakers: list[int], maximum: int | None, seed: int) -> None:
    names, ids = [f"s{one}" for one in speakers], [f"f{number}" for number in range(len(speakers))]
    trials = generate_trials(names, ids, np.random.default_rng(seed), maximum=maximum)
    possible = len(ids) * (len(ids) - 1) // 2
    assert len(trials) == (possible if maximum is None else min(possible, maximum))
    assert (trials.enrol < trials.test).all()
    assert len(set(zip(trials.enrol.tolist(), trials.test.tolist(), strict=True))) == len(trials)
    assert trials.target.any()
    assert not trials.target.all()
    voices = np.asarray(speakers)
    assert (trials.target == (voices[trials.enrol] == voices[trials.test])).all()
    again = generate_trials(names, ids, np.random.default_rng(seed), maximum=maximum)
    assert triples(again) == triples(trials)


def test_subsets_differ_with_the_generator() -> None:
    names, ids = [f"s{number % 10}" for number in range(100)], [f"f{number}" for number in range(100)]
    one, other = (generate_trials(names, ids, np.random.default_rng(seed), maximum=50) for seed in (0, 1))
    assert triples(one) != triples(other)


def test_what_cannot_be_generated_is_said() -> None:
    random = np.random.default_rng(0)
    with pytest.raises(UserError, match="no non-target trials; at least 2 speakers"):
        generate_trials(["a", "a"], ["1", "2"], random)
    with pytest.raises(UserError, match="none of the 2 speakers has two files"):
        generate_trials(["a", "b"], ["1", "2"], random)
    with pytest.raises(UserError, match="cannot hold both kinds"):
        generate_trials(["a", "a", "b"], ["1", "2", "3"], random, maximum=1)
    with pytest.raises(UserError, match="2 speakers for 1 files"):
        generate_trials(["a", "b"], ["1"], random)
    with pytest.raises(UserError, match="id of its own"):
        generate_trials(["a", "a", "b"], ["1", "1", "3"], random)


def test_speakers_stand_before_the_separator() -> None:
    assert speakers_of_list(["id1/v/1.wav", "id2/v/2.wav"]) == ("id1", "id2")
    assert speakers_of_list(["19-198-0001"], separator="-") == ("19",)
    for bad in ("plain", "/x"):
        with pytest.raises(UserError, match="names no speaker"):
            speakers_of_list([bad])
