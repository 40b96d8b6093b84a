from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from auscult.data.loading import Loader
from auscult.data.planning import batch_stream, first_epoch, plan_notes
from auscult.data.poisson_sampling import plan_poisson, sample_rate
from auscult.data.sampling import BatchStream
from auscult.errors import UserError
from auscult.recipe.fields import Batching
from auscult.streams import Streams


def lots(epoch: int, batch: int, count: int) -> np.ndarray:
    return Streams(5).generator("lots", epoch, batch).random(count)


def drawn(count: int, expected: int, epochs: int) -> np.ndarray:
    """(batches, utterances) bool."""
    batches = [batch for epoch in range(epochs) for batch in plan_poisson(count, expected, lots, epoch=epoch)]
    return np.array([np.isin(np.arange(count), batch) for batch in batches])


def test_every_utterance_joins_every_batch_by_itself_at_the_accounted_rate() -> None:
    count, expected, batches = 50, 10, 2000
    table = drawn(count, expected, batches // 5)
    rate = sample_rate(count, expected)
    assert table.shape == (batches, count)
    deviation = np.sqrt(rate * (1 - rate) / batches)
    assert np.abs(table.mean(0) - rate).max() < 4.5 * deviation, "of each utterance"
    sizes = table.sum(1)
    assert abs(sizes.mean() - expected) < 4.5 * np.sqrt(count * rate * (1 - rate) / batches)
    assert sizes.var() == pytest.approx(count * rate * (1 - rate), rel=0.15), "sizes of shuffled batches do not vary"
    together = np.corrcoef(table.T)[~np.eye(count, dtype=bool)]
    assert np.abs(together).max() < 5 / np.sqrt(batches), "utterances do not know of one another"
    after = np.array([np.corrcoef(table[:-1, one], table[1:, one])[0, 1] for one in range(count)])
    assert np.abs(after).max() < 5 / np.sqrt(batches), "batches do not know of one another; in a shuffled epoch they do"
    assert sizes.min() < expected < sizes.max()


def test_a_shuffled_epoch_would_fail_that_test() -> None:
    random = np.random.default_rng(0)
    table = np.concatenate([np.eye(5, dtype=bool)[:, random.permutation(np.arange(50) % 5)] for _ in range(400)])
    assert table.sum(1).var() == 0
    assert np.corrcoef(table[:-1, 0], table[1:, 0])[0, 1] < -5 / np.sqrt(2000)


def test_a_plan_depends_on_the_epoch_alone() -> None:
    first, again, other = (plan_poisson(40, 4, lots, epoch=epoch) for epoch in (3, 3, 4))
    assert len(first) == 10
    assert all(np.array_equal(one, two) for one, two in zip(first, again, strict=True))
    assert not all(np.array_equal(one, two) for one, two in zip(first, other, strict=True))


@pytest.mark.parametrize(("count", "expected"), [(3, 4), (0, 1)])
def test_more_than_there_are_cannot_be_expected(count: int, expected: int) -> None:
    with pytest.raises(UserError, match=r"data\.batch\.poisson"):
        sample_rate(count, expected)


class Cut:
    def __init__(self, number: int) -> None:
        self.id, self.duration = f"cut-{number}", 1.0


def collate(cuts: list[Any], random: Any, update: int) -> list[str]:
    return [cut.id for cut in cuts]


def private(count: int, expected: int) -> tuple[list[Any], BatchStream]:
    cuts = [Cut(number) for number in range(count)]
    return cuts, batch_stream(cuts, Batching(poisson=expected), Streams(0), lots=lots)


def test_empty_batches_are_updates_for_the_private_and_passed_over_for_others() -> None:
    cuts, stream = private(6, 1)
    planned = [batch for epoch in range(20) for batch in plan_poisson(6, 1, lots, epoch=epoch)]
    empty = [number for number, batch in enumerate(planned) if not len(batch)]
    assert empty
    with Loader(cuts, collate, stream, streams=Streams(0)) as loader:
        loaded = [next(loader) for _ in range(len(planned))]
    assert [number for number, one in enumerate(loaded) if one.batch is None] == empty
    assert [one.number for one in loaded] == list(range(len(planned)))
    public = batch_stream(cuts, Batching(poisson=1), Streams(0))
    assert all(len(next(public)[2]) for _ in range(50))


def test_resuming_draws_what_was_not_drawn_yet() -> None:
    cuts, stream = private(6, 1)
    with Loader(cuts, collate, stream, streams=Streams(0)) as loader:
        for _ in range(7):
            next(loader)
        state = loader.state()
        rest = [next(loader).batch for _ in range(20)]
    cuts, stream = private(6, 1)
    with Loader(cuts, collate, stream, streams=Streams(0)) as loader:
        loader.restore(state)
        assert [next(loader).batch for _ in range(20)] == rest


def test_lots_cannot_be_shared_among_processes() -> None:
    with pytest.raises(UserError, match="start one"):
        batch_stream([Cut(0), Cut(1)], Batching(poisson=1), Streams(0), 0, 2, lots)  # type: ignore[list-item]


def test_an_epoch_that_leaves_utterances_out_is_no_surprise() -> None:
    _, stream = private(40, 4)
    plan = first_epoch(stream)
    assert plan.batches == 10
    assert plan.coverage < 0.9
    assert plan_notes(plan, Batching(poisson=4)) == []
