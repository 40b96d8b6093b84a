"""Batches of P speakers with K utterances: nothing is lost, nobody is in a batch twice, and samplers that do either are caught."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from auscult.data.sampling import BatchStream
from auscult.data.speaker_sampling import describe_plan, plan_speakers
from auscult.errors import UserError
from auscult.streams import Streams

Batches = list[NDArray[np.int64]]
MINI = [f"id{speaker:05d}" for speaker in range(140) for _ in range(120)]
"""The reference experiment's training set: 140 speakers of 120 utterances."""


def plan(speakers: Sequence[str], wanted: int, utterances: int, epoch: int = 0, seed: int = 5, most: int | None = None) -> Batches:
    return plan_speakers(
        speakers, epoch=epoch, streams=Streams(seed), speakers_per_batch=wanted, utterances=utterances, most=most
    )  # fmt: skip


def listed(batches: Batches) -> list[list[int]]:
    return [batch.tolist() for batch in batches]


def faults(batches: Batches, speakers: Sequence[str], wanted: int, utterances: int) -> list[str]:
    """What is wrong with the batches of an epoch, by definitions that share nothing with the planner."""
    found: list[str] = []
    uses = dict.fromkeys(range(len(speakers)), 0)
    for batch in batches:
        groups = [batch[start : start + utterances].tolist() for start in range(0, len(batch), utterances)]
        present = [{speakers[index] for index in group} for group in groups]
        if any(len(group) != utterances or len(names) != 1 for group, names in zip(groups, present, strict=True)):
            found.append("a group is not K utterances of one speaker")
        if len({min(names) for names in present}) != len(groups):
            found.append("a speaker is in a batch twice")
        if not 1 <= len(groups) <= wanted:
            found.append(f"{len(groups)} speakers in a batch")
        for index in batch.tolist():
            uses[index] += 1
    if not all(uses.values()):
        found.append(f"{sum(not count for count in uses.values())} utterances are lost")
    for name in sorted(set(speakers)):
        own = [uses[index] for index, other in enumerate(speakers) if other == name]
        if sum(own) - len(own) >= utterances or max(own) - min(own) > 1:
            found.append(f"{name} is repeated more than the last group needs")
    if batches and max(map(len, batches)) - min(map(len, batches)) > utterances:
        found.append("batches differ by more than one speaker")
    return found


def starving(speakers: Sequence[str], wanted: int, utterances: int, seed: int = 0) -> Batches:
    """The sampler of voxceleb_trainer, in words of its own: whole groups, shuffled; a group whose speaker is there already is dropped."""
    random = np.random.default_rng(seed)
    own: dict[str, list[int]] = {}
    for index in random.permutation(len(speakers)).tolist():
        own.setdefault(speakers[index], []).append(index)
    groups = [
        members[start : start + utterances]
        for members in own.values()
        for start in range(0, len(members) - utterances + 1, utterances)
    ]  # fmt: skip
    kept: list[list[int]] = []
    present: list[str] = []
    for number in random.permutation(len(groups)).tolist():
        group = groups[number]
        if len(present) == wanted:
            present = []
        if speakers[group[0]] not in present:
            present.append(speakers[group[0]])
            kept.append(group)
    whole = len(kept) // wanted * wanted
    return [np.concatenate(kept[start : start + wanted]) for start in range(0, whole, wanted)]


@settings(max_examples=150, deadline=None)
@given(counts=st.lists(st.integers(1, 9), min_size=1, max_size=12), data=st.data(), utterances=st.integers(1, 4))
def test_any_set_of_speakers_is_used_up(counts: list[int], data: st.DataObject, utterances: int) -> None:
    speakers = [f"s{number}" for number, count in enumerate(counts) for _ in range(count)]
    speakers = [speakers[place] for place in data.draw(st.permutations(range(len(speakers))))]
    wanted = data.draw(st.integers(1, len(counts)))
    batches = plan(speakers, wanted, utterances, epoch=data.draw(st.integers(0, 3)))
    assert not faults(batches, speakers, wanted, utterances)
    groups = [-(-count // utterances) for count in counts]
    assert len(batches) == max(-(-sum(groups) // wanted), max(groups)), "no more batches than needed"
    assert describe_plan(batches, len(speakers)).coverage == 1.0
    assert all(batch.dtype == np.int64 for batch in batches)


@settings(max_examples=60, deadline=None)
@given(counts=st.lists(st.integers(1, 30), min_size=2, max_size=8), most=st.integers(2, 12))
def test_a_limit_takes_so_many_of_each_speaker(counts: list[int], most: int) -> None:
    speakers = [f"s{number}" for number, count in enumerate(counts) for _ in range(count)]
    used = np.unique(np.concatenate(plan(speakers, 2, 2, most=most))).tolist()
    for number, count in enumerate(counts):
        assert sum(speakers[index] == f"s{number}" for index in used) == min(count, most)


def test_a_limit_draws_others_in_other_epochs() -> None:
    speakers = ["a", "b"] * 100
    drawn = [set(np.concatenate(plan(speakers, 2, 2, epoch=epoch, most=20)).tolist()) for epoch in range(40)]
    assert drawn[0] != drawn[1]
    assert set.union(*drawn) == set(range(200)), "in the long run all of them"


@pytest.mark.parametrize("wanted", [64, 100, 128, 140])
def test_the_mini_set_is_used_whole(wanted: int) -> None:
    batches = plan(MINI, wanted, 2)
    assert not faults(batches, MINI, wanted, 2)
    summary = describe_plan(batches, len(MINI))
    assert (summary.coverage, summary.repeats) == (1.0, 0)


@pytest.mark.parametrize(("wanted", "lost"), [(64, 0.24), (100, 0.43), (128, 0.63), (140, 0.83)])
def test_the_sampler_this_replaces_is_caught_dropping_data(wanted: int, lost: float) -> None:
    batches = starving(MINI, wanted, 2)
    assert 1 - describe_plan(batches, len(MINI)).coverage == pytest.approx(lost, abs=0.03)
    assert any("utterances are lost" in fault for fault in faults(batches, MINI, wanted, 2))


def test_r3_more_speakers_per_batch_than_there_are() -> None:
    """200 of 140 speakers: the sampler of the reference experiment makes no batch at all and says nothing; here that is an error."""
    silent = starving(MINI, 200, 2)
    assert silent == []
    with pytest.raises(UserError, match="no batch"):
        describe_plan(silent, len(MINI))
    with pytest.raises(UserError, match=r"data\.batch\.speakers: 200 different speakers .* training has 140; set it to 140 or fewer"):
        plan(MINI, 200, 2)


def test_other_planted_faults_are_caught() -> None:
    speakers = ["a"] * 4 + ["b"] * 4 + ["c"] * 4
    sound = plan(speakers, 3, 2)
    assert not faults(sound, speakers, 3, 2)
    assert "a speaker is in a batch twice" in faults([np.arange(4), np.arange(4, 12)], speakers, 3, 2)
    assert "a group is not K utterances of one speaker" in faults([np.roll(np.arange(12), 1)], speakers, 6, 2)
    assert "b is repeated more than the last group needs" in faults([*sound, np.array([4, 5])], speakers, 3, 2)
    assert "batches differ by more than one speaker" in faults([sound[0], sound[1][:2], sound[1][2:4]], speakers, 3, 2)
    utterance_major = [batch.reshape(-1, 2).T.flatten() for batch in sound]
    assert "a group is not K utterances of one speaker" in faults(utterance_major, speakers, 3, 2)


def test_seed_and_epoch_alone_decide() -> None:
    assert listed(plan(MINI, 64, 2, epoch=3)) == listed(plan(MINI, 64, 2, epoch=3))
    assert listed(plan(MINI, 64, 2, epoch=3)) != listed(plan(MINI, 64, 2, epoch=4))
    assert listed(plan(MINI, 64, 2, epoch=3)) != listed(plan(MINI, 64, 2, epoch=3, seed=6))
    numbers = np.array([int(name[2:]) for name in MINI])
    assert listed(plan(numbers, 64, 2, epoch=3)) == listed(plan(MINI, 64, 2, epoch=3)), "names or numbers"  # type: ignore[arg-type]


def test_smaller_batches_come_at_any_place() -> None:
    speakers = [f"s{number}" for number in range(9) for _ in range(5)]
    sizes = [tuple(map(len, plan(speakers, 4, 1, epoch=epoch))) for epoch in range(20)]
    assert {size for one in sizes for size in one} == {3, 4}
    assert len(set(sizes)) > 10


def test_partners_change_between_epochs() -> None:
    """A speaker's utterances meet others, and speakers meet others, in the next epoch."""

    def pairs(epoch: int, of: Sequence[int] | None) -> set[tuple[int, int]]:
        found: set[tuple[int, int]] = set()
        for batch in plan(MINI, 10, 2, epoch=epoch):
            rows = batch.reshape(-1, 2)
            if of is None:
                found |= {(min(row), max(row)) for row in rows.tolist()}
            else:
                names = sorted(of[index] for index in rows[:, 0].tolist())
                found |= {(one, other) for place, one in enumerate(names) for other in names[place + 1 :]}
        return found

    number = [int(name[2:]) for name in MINI]
    assert len(pairs(0, None) & pairs(1, None)) < 0.05 * len(pairs(0, None)), "two of 120: chance alone is 1 in 119"
    one, other = pairs(0, number), pairs(1, number)
    assert len(one | other) > 1.3 * len(one)


def test_one_speaker_with_most_of_the_data_is_spread() -> None:
    speakers = ["loud"] * 40 + [f"quiet{number}" for number in range(8) for _ in range(4)]
    batches = plan(speakers, 6, 2)
    assert not faults(batches, speakers, 6, 2)
    summary = describe_plan(batches, len(speakers))
    assert summary.batches == 20, "as many batches as the speaker has groups, not the 6 that P asks for"
    assert (summary.smallest, summary.largest) == (2, 4)


def test_a_speaker_with_few_utterances_repeats_them() -> None:
    batches = plan(["a", "b", "b", "b", "b"], 2, 4)
    assert sorted(batches[0].tolist()) == [0, 0, 0, 0, 1, 2, 3, 4]
    assert describe_plan(batches, 5).repeats == 3


@pytest.mark.parametrize(
    ("speakers", "wanted", "utterances", "most", "message"),
    [
        ([], 1, 1, None, "no utterances; change the selection"),
        (["a", "b"], 0, 1, None, r"data\.batch\.speakers: 0 is not possible"),
        (["a", "b"], 1, 0, None, r"data\.batch\.utterances: 0 is not possible"),
        (["a", "b"], 1, 1, 0, r"data\.batch\.most: 0 is not possible"),
        (["a", "b"], 3, 1, None, "set it to 2 or fewer"),
    ],
)
def test_what_cannot_be_planned_is_refused(speakers: list[str], wanted: int, utterances: int, most: int | None, message: str) -> None:
    with pytest.raises(UserError, match=message):
        plan(speakers, wanted, utterances, most=most)


@pytest.mark.parametrize("world_size", [2, 4, 5])
@pytest.mark.parametrize("gone", [(), (0, 1, 2, 7, 40, 41, 42, 43, 44, 45)])
def test_processes_and_quarantine_never_tear_a_speaker_apart(world_size: int, gone: tuple[int, ...]) -> None:
    """Three utterances of each speaker, so that halving a batch by items would cut through one."""
    speakers = [f"s{number}" for number in range(13) for _ in range(6)]
    streams = [
        BatchStream(len(speakers), lambda epoch: plan(speakers, 5, 3, epoch=epoch), unit=3, rank=rank, world_size=world_size, excluded=gone)
        for rank in range(world_size)
    ]
    updates = sum(map(bool, streams[0].groups(0)))
    seen: list[int] = []
    for stream in streams:
        for epoch, _, batch in (next(stream) for _ in range(updates)):
            assert epoch == 0
            assert len(batch)
            assert all(len({speakers[index] for index in row}) == 1 for row in batch.reshape(-1, 3).tolist())
            seen += batch.tolist()
    assert set(seen) == set(range(len(speakers))) - set(gone)
