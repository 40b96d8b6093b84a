"""Selections are nested, disjoint where they should be, independent of order and process, and say what exists when nothing matches."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from lhotse import CutSet, MonoCut

from auscult.data.selection import hash_place, manifest_hash, nested_subset, select
from auscult.data.strings import concatenate_words, speaker_of
from auscult.errors import UserError


@dataclass
class Chosen:
    splits: tuple[str, ...] = ("*",)
    speakers: tuple[str, ...] | None = None
    exclude_speakers: tuple[str, ...] | None = None
    seconds: tuple[float | None, float | None] = (None, None)
    fraction: tuple[float, float] | None = None
    speaker_fraction: tuple[float, float] | None = None
    items: int | None = None


@pytest.fixture
def splits(make_cut) -> dict[str, CutSet]:  # type: ignore[no-untyped-def]
    """Two splits; the train split lists its speakers one after another, as corpora do."""
    speakers = ["ann", "bob", "cid", "dot"]
    train = [make_cut(f"{speaker}-{i:03d}", samples=4000 + 80 * i, speaker=speaker) for speaker in speakers for i in range(50)]
    test = [make_cut(f"eve-{i:03d}", speaker="eve") for i in range(10)]
    return {"train-clean": CutSet.from_cuts(train), "test-clean": CutSet.from_cuts(test)}


def ids(cuts: CutSet) -> list[str]:
    return [cut.id for cut in cuts]


def test_r4_subset_not_head(splits: dict[str, CutSet]) -> None:
    subset = select(splits, Chosen(splits=("train*",), items=40))
    counts = Counter(one.split("-")[0] for one in ids(subset))
    assert len(counts) == 4  # the head would be one speaker
    assert max(counts.values()) <= 20
    assert ids(subset) != ids(splits["train-clean"])[:40]


def test_subsets_are_nested_and_independent_of_order() -> None:
    names = [f"utterance-{i}" for i in range(300)]
    full = nested_subset(names, 300)
    for size in (0, 1, 7, 150, 299):
        assert nested_subset(names[::-1], size) == full[:size]
    assert nested_subset(names, 50, salt=1) != full[:50]
    grown = nested_subset([*names, *(f"new-{i}" for i in range(10))], 50)
    assert len(set(full[:50]) - set(grown)) <= 10
    with pytest.raises(UserError, match="301 out of 300"):
        nested_subset(names, 301)


def test_subset_is_the_same_in_every_process() -> None:
    code = "from auscult.data.selection import nested_subset; print(nested_subset([str(i) for i in range(50)], 10))"
    source = str(Path(__file__).resolve().parents[2] / "src")
    outputs = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": source},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert outputs == {f"{nested_subset([str(i) for i in range(50)], 10)}\n"}


def test_fractions_are_disjoint_whatever_else_is_filtered(splits: dict[str, CutSet]) -> None:
    train = ids(select(splits, Chosen(fraction=(0.0, 0.8), seconds=(0.6, 0.9))))
    held = ids(select(splits, Chosen(splits=("train-clean",), fraction=(0.8, 1.0))))
    assert train
    assert not set(train) & set(held)
    both = ids(select(splits, Chosen(fraction=(0.0, 0.8)))) + ids(select(splits, Chosen(fraction=(0.8, 1.0))))
    assert sorted(both) == sorted(ids(select(splits, Chosen())))
    assert 25 <= len(held) <= 55
    assert np.mean([hash_place(str(i)) for i in range(2000)]) == pytest.approx(0.5, abs=0.03)


def test_speaker_fractions_share_no_speaker_and_lose_none(make_cut) -> None:  # type: ignore[no-untyped-def]
    cuts = [make_cut(f"{number:03d}-{take}", speaker=f"speaker {number}") for number in range(80) for take in range(5)]
    splits = {"all": CutSet.from_cuts(cuts)}
    train, held = (select(splits, Chosen(speaker_fraction=part)) for part in ((0.0, 0.75), (0.75, 1.0)))
    assert {speaker_of(cut) for cut in train}.isdisjoint(speaker_of(cut) for cut in held)
    assert sorted([*ids(train), *ids(held)]) == sorted(ids(splits["all"]))
    assert len(held) % 5 == 0  # whole speakers
    assert 50 <= len(held) <= 150
    # Of the planted mistake, a fraction by utterance, nearly every speaker is on both sides.
    by_utterance = [{speaker_of(cut) for cut in select(splits, Chosen(fraction=part))} for part in ((0.0, 0.75), (0.75, 1.0))]
    assert len(set.intersection(*by_utterance)) > 40
    with pytest.raises(UserError, match=r"none of the 80 speakers falls into \[0.0, 1e-09\)"):
        select(splits, Chosen(speaker_fraction=(0.0, 1e-9)))


@pytest.mark.parametrize(("speaker", "count"), [(None, "no"), ("ann", "2")])
def test_a_speaker_fraction_needs_one_speaker_per_utterance(make_cut, speaker: str | None, count: str) -> None:  # type: ignore[no-untyped-def]
    cut = make_cut("odd", speaker=speaker)
    if speaker:
        cut.supervisions = [*cut.supervisions, dataclasses.replace(cut.supervisions[0], id="odd-2", speaker="bob")]
    with pytest.raises(UserError, match=rf'speaker_fraction: utterance "odd" has {count} speakers'):
        select({"all": CutSet.from_cuts([make_cut("good"), cut])}, Chosen(speaker_fraction=(0.0, 1.0)))


def test_filters(splits: dict[str, CutSet]) -> None:
    assert len(select(splits, Chosen(splits=("test-*",)))) == 10
    assert {one[:3] for one in ids(select(splits, Chosen(speakers=("ann", "eve"))))} == {"ann", "eve"}
    assert {one[:3] for one in ids(select(splits, Chosen(exclude_speakers=("ann", "eve"))))} == {"bob", "cid", "dot"}
    assert all(0.6 <= cut.duration <= 0.8 for cut in select(splits, Chosen(seconds=(0.6, 0.8))))
    assert len(select(splits, Chosen(seconds=(None, 0.5)))) == 4 + 10
    assert len(select(splits, Chosen(items=10_000))) == 210


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        (
            Chosen(splits=("trian-clean",)),
            r'nothing matches "trian-clean" \(did you mean "train-clean"\?\); the corpus has train-clean, test-clean',
        ),
        (Chosen(speakers=("anna",)), r'no speaker "anna" \(did you mean "ann"\?\) in train-clean, test-clean; there are ann, bob'),
        (Chosen(exclude_speakers=("zed",)), 'exclude_speakers: no speaker "zed"'),
        (Chosen(speakers=("ann",), exclude_speakers=("ann",)), "every selected speaker is also excluded"),
        (Chosen(seconds=(30.0, None)), "no utterance lasts at least 30.0 s; they last 0.50 to 0.99 s"),
        (Chosen(fraction=(0.0, 1e-9)), "none of the 210 utterances"),
    ],
)
def test_nothing_selected_says_what_exists(splits: dict[str, CutSet], chosen: Chosen, message: str) -> None:
    with pytest.raises(UserError, match=message):
        select(splits, chosen)


def test_duplicate_ids_are_refused(splits: dict[str, CutSet]) -> None:
    with pytest.raises(UserError, match='"eve-000" occurs twice'):
        select({**splits, "copy": splits["test-clean"]}, Chosen())


def test_manifest_hash_ignores_folder_and_order_and_sees_content(tmp_path: Path, make_cut) -> None:  # type: ignore[no-untyped-def]
    def cuts(folder: str, **changes: object) -> list[object]:
        (tmp_path / folder).mkdir(exist_ok=True)
        made = []
        for name in ("a", "b", "c"):
            path = tmp_path / folder / f"{name}.wav"
            path.write_bytes(b"0" * 100)
            made.append(make_cut(name, str(path), **changes))
        return made

    base = manifest_hash(cuts("one"))
    assert manifest_hash(cuts("two")[::-1]) == base
    for change in ({"text": "two"}, {"speaker": "bob"}, {"samples": 4001}, {"rate": 16000}):
        assert manifest_hash(cuts("three", **change)) != base
    changed = cuts("four")
    (tmp_path / "four" / "b.wav").write_bytes(b"0" * 101)
    assert manifest_hash(changed) != base
    assert manifest_hash(cuts("one")[:2]) != base
    with pytest.raises(UserError, match=r"nowhere/gone\.wav"):
        manifest_hash([make_cut("gone")])


def test_manifest_hash_sees_turns_and_evaluated_regions(record) -> None:  # type: ignore[no-untyped-def]
    def meeting(turns: list[tuple[float, float, str]], evaluated: list[list[float]] | None = None) -> MonoCut:
        cut = record("meeting", samples=8000)
        whole = cut.supervisions[0]
        cut.supervisions = [
            dataclasses.replace(whole, id=f"meeting-{number}", start=start, duration=duration, speaker=speaker)
            for number, (start, duration, speaker) in enumerate(turns)
        ]
        cut.custom = None if evaluated is None else {"evaluated": evaluated}
        return cut

    turns = [(0.0, 0.5, "ann"), (0.25, 0.5, "bob")]
    base = manifest_hash([meeting(turns)])
    assert manifest_hash([meeting(turns[::-1])]) == base  # the order of lines in a file means nothing
    others = [
        meeting([(0.0, 0.5, "bob"), (0.25, 0.5, "ann")]),
        meeting([(0.0, 0.5, "ann"), (0.25, 0.625, "bob")]),
        meeting([(0.0, 0.5, "ann"), (0.375, 0.5, "bob")]),
        meeting([*turns, (0.75, 0.125, "ann")]),
        meeting(turns, [[0.0, 1.0]]),
        meeting(turns, [[0.0, 0.5]]),
    ]
    assert len({base, *(manifest_hash([one]) for one in others)}) == 7
    assert manifest_hash([meeting([(0.0, 0.5, "ann")])]) != manifest_hash([meeting([(0.0, 0.75, "ann")])])  # a single turn counts too


def test_manifest_hash_of_one_supervision_is_what_it_always_was(make_cut, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    """Runs are found by this value: it must not change with the package."""
    (tmp_path / "a.wav").write_bytes(b"0" * 100)
    assert manifest_hash([make_cut("a", str(tmp_path / "a.wav"))]) == "a4e3d4102271e556658c0efa58832a48"


def test_manifest_hash_of_strings_sees_their_gaps(record) -> None:  # type: ignore[no-untyped-def]
    words = CutSet.from_cuts([record(f"w{i}") for i in range(4)])
    one, same, other = (concatenate_words(words, 5, (2, 3), (0.1, 0.3), np.random.default_rng(seed)) for seed in (0, 0, 1))
    assert manifest_hash(one) == manifest_hash(same) != manifest_hash(other)
