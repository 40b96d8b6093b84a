"""Strings are of one speaker, balanced, deterministic, fast to make, and sound like their parts."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from lhotse import CutSet

from auscult.data.store import AudioStore
from auscult.data.strings import concatenate_words, speaker_of, text_of
from auscult.errors import UserError

DIGITS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]


@pytest.fixture
def words(make_cut) -> CutSet:  # type: ignore[no-untyped-def]
    rng = np.random.default_rng(0)
    return CutSet.from_cuts(
        [
            make_cut(f"{digit}-{speaker}-{take}", samples=int(rng.integers(2000, 9000)), text=digit, speaker=speaker)
            for speaker in ("ann", "bob", "cid")
            for digit in DIGITS
            for take in range(4)
        ]
    )


def join(words: CutSet, number: int = 60, seed: int = 0) -> CutSet:
    return concatenate_words(words, number, (3, 5), (0.05, 0.2), np.random.default_rng(seed))


def parts(string) -> list[str]:  # type: ignore[no-untyped-def]
    return [track.cut.id for track in string.tracks]


def test_text_speaker_and_gaps(words: CutSet) -> None:
    by_id = {cut.id: cut for cut in words}
    for string in join(words):
        chosen = [by_id[one] for one in parts(string)]
        assert 3 <= len(chosen) <= 5
        assert text_of(string) == " ".join(text_of(one) for one in chosen)
        assert {speaker_of(one) for one in chosen} == {speaker_of(string)}
        assert len(set(parts(string))) == len(chosen)
        for track, after in zip(string.tracks, string.tracks[1:], strict=False):
            assert 0.05 - 1e-9 <= after.offset - track.offset - track.cut.duration <= 0.2 + 1e-9


def test_recordings_are_used_equally(words: CutSet) -> None:
    used = Counter(one for string in join(words, 90) for one in parts(string))
    assert set(used) == {cut.id for cut in words}
    assert max(used.values()) - min(used.values()) <= 2
    for speaker in ("ann", "bob", "cid"):
        own = [count for one, count in used.items() if speaker in one]
        assert max(own) - min(own) <= 1


def test_same_seed_same_strings_whatever_the_order(words: CutSet) -> None:
    first, again, other = join(words), join(CutSet.from_cuts(list(words)[::-1])), join(words, seed=1)
    assert [cut.id for cut in first] == [cut.id for cut in again]
    assert [cut.to_dict() for cut in first] == [cut.to_dict() for cut in again]
    assert not {cut.id for cut in first} & {cut.id for cut in other}
    assert len({cut.id for cut in first}) == 60


def test_helpers_on_single_cuts(make_cut) -> None:  # type: ignore[no-untyped-def]
    assert text_of(make_cut("a", text=None)) == ""
    assert speaker_of(make_cut("a", speaker=None)) == "unknown"


def test_bad_input_is_named(words: CutSet, make_cut) -> None:  # type: ignore[no-untyped-def]
    random = np.random.default_rng(0)
    for arguments, message in (
        ((0, (3, 5), (0.1, 0.2)), "strings: expected at least 1"),
        ((5, (0, 5), (0.1, 0.2)), "words: expected"),
        ((5, (3, 5), (0.2, 0.1)), "gap: expected"),
    ):
        with pytest.raises(UserError, match=message):
            concatenate_words(words, *arguments, random)
    with pytest.raises(UserError, match="nobody: strings join words of one speaker"):
        concatenate_words(CutSet.from_cuts([make_cut("nobody", speaker=None)]), 1, (1, 1), (0, 0), random)
    with pytest.raises(UserError, match=r"8000 Hz \(a\), 16000 Hz \(b\)"):
        concatenate_words(CutSet.from_cuts([make_cut("a"), make_cut("b", rate=16000)]), 1, (1, 1), (0, 0), random)
    with pytest.raises(UserError, match="MixedCut"):
        concatenate_words(join(words), 1, (1, 1), (0, 0), random)


def test_strings_survive_a_manifest_file(words: CutSet, tmp_path) -> None:  # type: ignore[no-untyped-def]
    strings = join(words, 5)
    strings.to_file(tmp_path / "strings.jsonl.gz")
    again = CutSet.from_file(tmp_path / "strings.jsonl.gz")
    assert [(cut.id, text_of(cut), cut.duration) for cut in again] == [(cut.id, text_of(cut), cut.duration) for cut in strings]


def test_samples_are_the_words_and_silence(record) -> None:  # type: ignore[no-untyped-def]
    words = CutSet.from_cuts([record(f"w{i}", samples=1000 + 13 * i) for i in range(5)])
    store = AudioStore(8000, 10)
    for string in concatenate_words(words, 6, (2, 3), (0.01, 0.05), np.random.default_rng(0)):
        samples = store.samples(string)
        assert len(samples) == string.num_samples
        np.testing.assert_array_equal(samples, string.load_audio()[0])
        silent = np.ones(len(samples), dtype=bool)
        for track in string.tracks:
            start = round(track.offset * 8000)
            np.testing.assert_array_equal(samples[start : start + track.cut.num_samples], store.samples(track.cut))
            silent[start : start + track.cut.num_samples] = False
        assert silent.any()
        assert not samples[silent].any()
