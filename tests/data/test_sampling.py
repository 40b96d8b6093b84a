"""Batches are complete, deterministic, within limits, resumable anywhere and the same work for any number of processes."""

from __future__ import annotations

import itertools
from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from auscult.data.sampling import BatchStream, plan_batches, plan_sorted, update_groups
from auscult.errors import UserError
from auscult.streams import Streams
from auscult.testing.sampling import check_sampler

DURATIONS = np.random.default_rng(0).gamma(4.0, 0.7, 203) + 0.1


def plan(epoch: int, seed: int = 3, **settings: object) -> list[np.ndarray]:
    rule = {"seconds": 20.0, "buckets": 5, **settings}
    return plan_batches(DURATIONS, epoch=epoch, streams=Streams(seed), **rule)  # type: ignore[arg-type]


def listed(batches: list[np.ndarray]) -> list[list[int]]:
    return [batch.tolist() for batch in batches]


@pytest.mark.parametrize(
    "rule",
    [
        {"seconds": 20.0, "items": None, "buckets": 5},
        {"seconds": None, "items": 16, "buckets": 1},
        {"seconds": 15.0, "items": 4, "buckets": 8},
        {"seconds": 0.5, "items": None, "buckets": 3},
    ],
)
def test_plan_conforms(rule: dict[str, object]) -> None:
    check_sampler(lambda epoch: plan(epoch, **rule), DURATIONS, seconds=rule["seconds"], items=rule["items"])  # type: ignore[arg-type]


def test_order_changes_with_epoch_and_seed() -> None:
    assert listed(plan(0)) != listed(plan(1))
    assert listed(plan(0)) != listed(plan(0, seed=4))
    assert listed(plan(7)) == listed(plan(7))


def test_batches_mix_neighbours_between_epochs() -> None:
    def pairs(epoch: int) -> set[tuple[int, int]]:
        return {pair for batch in plan(epoch) for pair in itertools.combinations(sorted(batch.tolist()), 2)}

    assert len(pairs(0) & pairs(1)) < 0.5 * len(pairs(0))


def test_buckets_save_padding() -> None:
    def padded(buckets: int) -> float:
        return sum(DURATIONS[batch].max() * len(batch) for batch in plan(0, buckets=buckets))

    assert padded(8) < 1.25 * DURATIONS.sum() < padded(1)


def test_items_without_buckets_fill_every_batch_but_one() -> None:
    sizes = sorted(len(batch) for batch in plan(0, seconds=None, items=16, buckets=1))
    assert sizes == [203 % 16] + [16] * (203 // 16)


def test_sorta_grad_sorts_the_first_epoch_only() -> None:
    first = np.concatenate(plan(0, order="sorta_grad"))
    assert (np.diff(DURATIONS[first]) >= 0).all()
    assert listed(plan(1, order="sorta_grad")) == listed(plan(1))
    assert listed(plan(5, order="sorted")) == listed(plan(0, order="sorted")) == listed(plan_sorted(DURATIONS, seconds=20.0))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"seconds": None, "items": None}, "a batch needs a limit"),
        ({"seconds": -1.0}, "seconds must be above 0"),
        ({"seconds": 1.0, "buckets": 0}, "buckets must be above 0"),
    ],
)
def test_bad_limits_are_refused(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        plan(0, **arguments)
    with pytest.raises(UserError, match="1 of 2 have none"):
        plan_batches(np.array([1.0, 0.0]), epoch=0, streams=Streams(0), items=2)


@settings(max_examples=60, deadline=None)
@given(
    sizes=st.lists(st.integers(0, 5), min_size=1, max_size=25),
    world_size=st.integers(1, 5),
)
def test_shards_are_equal_and_complete(sizes: list[int], world_size: int) -> None:
    numbers = iter(range(sum(sizes)))
    batches = [np.array(list(itertools.islice(numbers, size)), dtype=np.int64) for size in sizes]
    if sum(sizes) < world_size:
        if sum(sizes):
            with pytest.raises(UserError, match="processes"):
                update_groups(batches, world_size)
        return
    groups = [group for group in update_groups(batches, world_size) if group]
    shards = [[group[rank] for group in groups] for rank in range(world_size)]
    assert len({len(part) for part in shards}) == 1
    assert all(len(batch) for part in shards for batch in part)
    assert sorted(int(index) for part in shards for batch in part for index in batch) == list(range(sum(sizes)))


def test_processes_together_see_the_batches_of_one() -> None:
    batches = plan(0)
    groups = update_groups(batches, 2)
    for position in range(len(batches) // 2):
        assert listed(groups[position]) == listed(batches[2 * position : 2 * position + 2])
    with pytest.raises(UserError, match="rank must be from 0 to world_size - 1 = 1, got 2"):
        stream(rank=2, world_size=2)


@settings(max_examples=80, deadline=None)
@given(
    sizes=st.lists(st.integers(0, 5), min_size=1, max_size=20),
    world_size=st.integers(1, 5),
    unit=st.integers(1, 4),
)
def test_units_are_never_torn_apart(sizes: list[int], world_size: int, unit: int) -> None:
    """Item k belongs to unit k // `unit`; batches hold whole units, as batches of speakers do."""
    numbers = iter(range(sum(sizes)))
    batches = [
        np.array([unit * one + place for one in itertools.islice(numbers, size) for place in range(unit)], dtype=np.int64) for size in sizes
    ]
    if sum(sizes) < world_size:
        if sum(sizes):
            with pytest.raises(UserError, match="processes"):
                update_groups(batches, world_size, unit)
        return
    groups = [group for group in update_groups(batches, world_size, unit) if group]
    parts = [part for group in groups for part in group]
    assert all(len(group) == world_size for group in groups)
    assert all(len(part) and len(part) % unit == 0 for part in parts)
    for part in parts:
        rows = part.reshape(-1, unit)
        assert (rows == rows[:, :1] + np.arange(unit)).all()
    assert sorted(int(index) for part in parts for index in part) == list(range(unit * sum(sizes)))


def test_without_units_a_pair_is_torn_apart() -> None:
    """What the rule above guards against: three pairs on two processes, halved by items."""
    [torn] = update_groups([np.arange(6)], 2)
    assert listed(torn) == [[0, 1, 2], [3, 4, 5]]
    [whole] = update_groups([np.arange(6)], 2, unit=2)
    assert listed(whole) == [[0, 1, 2, 3], [4, 5]]
    with pytest.raises(UserError, match="1 groups of 2 utterances cannot feed 2 processes"):
        update_groups([np.arange(2)], 2, unit=2)


@settings(max_examples=60, deadline=None)
@given(unit=st.integers(2, 4), world_size=st.integers(1, 3), data=st.data())
def test_what_stays_of_a_unit_fills_the_place_of_what_goes(unit: int, world_size: int, data: st.DataObject) -> None:
    count = 8 * unit
    gone = data.draw(st.sets(st.integers(0, count - 1), max_size=count - 4 * unit))
    source = BatchStream(count, lambda epoch: np.split(np.arange(count), 2), unit=unit, world_size=world_size, excluded=gone)
    parts = [part for group in source.groups(0) for part in group]
    for part in parts:
        assert len(part) % unit == 0
        assert all(len(set((row // unit).tolist())) == 1 for row in part.reshape(-1, unit)), "a place was filled from another unit"
    assert {int(index) for part in parts for index in part} == set(range(count)) - gone


def stream(**settings: object) -> BatchStream:
    by_length = partial(plan_batches, DURATIONS, streams=Streams(3), seconds=20.0, buckets=5)
    return BatchStream(len(DURATIONS), by_length, **settings)  # type: ignore[arg-type]


def take(source: BatchStream, number: int) -> list[tuple[int, int, tuple[int, ...]]]:
    return [(epoch, index, tuple(batch.tolist())) for epoch, index, batch in itertools.islice(source, number)]


@pytest.mark.parametrize("world_size", [1, 3])
def test_every_position_can_be_resumed(world_size: int) -> None:
    whole = take(stream(world_size=world_size, rank=world_size - 1), 90)
    assert {epoch for epoch, _, _ in whole} >= {0, 1}
    for cut in range(0, 90, 7):
        source = stream(world_size=world_size, rank=world_size - 1)
        head = take(source, cut)
        resumed = stream(world_size=world_size, rank=world_size - 1)
        resumed.restore(source.state())
        assert head + take(resumed, 90 - cut) == whole
    assert take(stream(world_size=world_size, rank=world_size - 1, start=whole[40][:2]), 3) == whole[40:43]


def test_an_epoch_of_the_stream_is_its_plan() -> None:
    assert [batch for epoch, _, batch in take(stream(), 90) if epoch == 0] == [tuple(batch) for batch in listed(plan(0))]


def test_excluded_items_leave_and_other_batches_stay() -> None:
    whole = take(stream(), 60)
    gone = set(whole[30][2][:1]) | set(whole[31][2])  # one item of a batch, all items of another
    source = stream()
    assert take(source, 20) == whole[:20]
    source.exclude(gone)
    rest = take(source, 39)
    assert not gone & {index for _, _, batch in rest for index in batch}
    by_position = {(epoch, index): batch for epoch, index, batch in rest}
    for epoch, index, batch in whole[20:59]:
        expected = tuple(one for one in batch if one not in gone)
        if expected:
            assert by_position[epoch, index] == expected
        else:
            assert (epoch, index) not in by_position
    resumed = stream()
    resumed.restore(source.state())
    assert take(resumed, 5) == take(source, 5)


def test_excluding_everything_is_refused() -> None:
    with pytest.raises(UserError, match="0 of 203 utterances are left"):
        stream().exclude(range(203))
