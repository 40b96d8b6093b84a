"""Which utterances go into which batch, as a pure function of seed and epoch.

Problem: samplers that keep hidden state replay the permutation of epoch 0 after a resume, drop the tail, show other orders to
other workers, or need their prefix replayed. Choice: the batches of an epoch are computed, not drawn one by one; a position is
two integers (epoch, batch), so resuming is O(1) and independent of workers and prefetching. Batches are filled per duration
bucket up to a limit of *padded* seconds, because padding is what a batch costs. Rejected: sorting whole epochs (neighbours never
change) and fixed batch counts over mixed lengths (most of the batch is padding).

Several processes: `world_size` consecutive batches form an update group, one batch per process, so two processes see what one
process with twice the accumulation sees. An incomplete last group is *split* until every process has work (`update_groups`):
nothing is dropped and nothing is repeated.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np

from auscult.errors import UserError

if TYPE_CHECKING:
    from auscult.streams import Streams

Order = Literal["shuffled", "sorta_grad", "sorted"]


class Plan(Protocol):
    """The batches of an epoch as a pure function of its number."""

    def __call__(self, *, epoch: int) -> list[np.ndarray]:
        """Return arrays of int64 item indices."""


def plan_batches(
    durations: np.ndarray,
    *,
    epoch: int,
    streams: Streams,
    seconds: float | None = None,
    items: int | None = None,
    buckets: int = 1,
    order: Order = "shuffled",
) -> list[np.ndarray]:
    """Return the batches of one epoch; every item is in exactly one of them.

    Args:
        durations: (items,) seconds of each utterance.
        epoch: from 0.
        streams: source of the epoch's permutation (stream "order", key epoch).
        seconds: most padded seconds in a batch (longest duration times items); a longer utterance is a batch by itself.
        items: most utterances in a batch.
        buckets: number of duration classes that are batched apart; 1 mixes all lengths.
        order: "shuffled"; "sorted" by duration every epoch; "sorta_grad" sorted in epoch 0 only (DeepSpeech 2).

    Returns:
        Arrays of int64 indices into `durations`.

    Raises:
        UserError: no limit is given, or a limit or duration is not positive.
    """
    durations = np.asarray(durations, dtype=np.float64)
    _check(durations, seconds, items, buckets)
    if order == "sorted" or (order == "sorta_grad" and epoch == 0):
        return plan_sorted(durations, seconds=seconds, items=items)
    limits = _limits(durations, seconds, items)
    random = streams.generator("order", epoch)
    batches, rest = _fill(random.permutation(len(durations)), durations, _bucket_of(durations, buckets), limits)
    leftover = np.concatenate([*rest, np.empty(0, dtype=np.int64)])  # bucket order, so lengths stay close
    merged, last = _fill(leftover, durations, np.zeros_like(leftover, shape=len(durations)), limits)
    planned = batches + merged + last
    return [planned[position] for position in random.permutation(len(planned))]


def plan_sorted(durations: np.ndarray, *, seconds: float | None = None, items: int | None = None) -> list[np.ndarray]:
    """Return batches in order of duration (ties in order of index), every item once; no items give no batches.

    >>> [batch.tolist() for batch in plan_sorted(np.array([3.0, 1.0, 1.5]), seconds=3.0)]
    [[1, 2], [0]]
    """
    if not len(durations):
        return []
    _check(durations, seconds, items, 1)
    order = np.argsort(durations, kind="stable")
    batches, rest = _fill(order, durations, np.zeros_like(order), _limits(durations, seconds, items))
    return batches + rest


def _limits(durations: np.ndarray, seconds: float | None, items: int | None) -> tuple[float, int]:
    return (np.inf if seconds is None else seconds * (1 + 1e-9)), (len(durations) if items is None else items)


def _check(durations: np.ndarray, seconds: float | None, items: int | None, buckets: int) -> None:
    if seconds is None and items is None:
        raise UserError("a batch needs a limit: give seconds (padded), items, or both")
    if durations.ndim != 1 or not len(durations):
        raise UserError(f"expected the durations of at least one utterance as (items,), got shape {durations.shape}")
    if not bool((durations > 0).all()):
        raise UserError(f"every utterance needs a duration above 0 s; {int((~(durations > 0)).sum())} of {len(durations)} have none")
    for name, value in (("seconds", seconds), ("items", items), ("buckets", buckets)):
        if value is not None and value <= 0:
            raise UserError(f"batch limit {name} must be above 0, got {value}")


def _bucket_of(durations: np.ndarray, buckets: int) -> np.ndarray:
    """Return (items,) the bucket of each utterance; buckets hold about equal total duration."""
    ranked = np.argsort(durations, kind="stable")
    share = np.cumsum(durations[ranked]) / durations.sum()
    edges = durations[ranked][np.minimum(np.searchsorted(share, np.arange(1, buckets) / buckets), len(durations) - 1)]
    return np.searchsorted(edges, durations, side="left")


def _fill(
    order: np.ndarray, durations: np.ndarray, bucket_of: np.ndarray, limits: tuple[float, int]
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Deal items into one open batch per bucket; return the full batches and, by bucket, the open ones that remain."""
    seconds, items = limits
    batches: list[np.ndarray] = []
    opened: dict[int, tuple[list[int], float]] = {}
    for index, duration, bucket in zip(order.tolist(), durations[order].tolist(), bucket_of[order].tolist(), strict=True):
        members, longest = opened.get(bucket, ([], 0.0))
        widest = max(longest, duration)
        if members and (len(members) >= items or widest * (len(members) + 1) > seconds):
            batches.append(np.array(members, dtype=np.int64))
            members, widest = [], duration
        members.append(index)
        opened[bucket] = (members, widest)
    return batches, [np.array(opened[bucket][0], dtype=np.int64) for bucket in sorted(opened)]


def update_groups(batches: Sequence[np.ndarray], world_size: int, unit: int = 1) -> list[list[np.ndarray]]:
    """Group consecutive batches so that each of `world_size` processes gets one non-empty batch per group.

    A group with fewer batches is completed by halving its largest batch. A group with fewer *units* than processes becomes an
    empty slot whose units join the next group (the last one's join the one before), so positions of other groups do not move.

    Args:
        batches: arrays of item indices.
        world_size: number of processes.
        unit: so many consecutive items, counted from the start of a batch, always stay together and in order: the utterances of a
            speaker, say, who would else be torn apart by the halving.

    Raises:
        UserError: fewer units than processes.

    >>> [part.tolist() for part in update_groups([np.arange(6)], 2, unit=2)[0]]
    [[0, 1, 2, 3], [4, 5]]
    """
    groups: list[list[np.ndarray]] = []
    carried: list[np.ndarray] = []
    for first in range(0, len(batches), world_size):
        pieces = [batch for batch in batches[first : first + world_size] if len(batch)]
        if sum(-(-len(batch) // unit) for batch in pieces) + len(carried) < world_size:
            carried += [piece for batch in pieces for piece in np.split(batch, range(unit, len(batch), unit))]
            groups.append([])
            continue
        groups.append(_spread(pieces, carried, world_size, unit))
        carried = []
    if carried:
        filled = [position for position, group in enumerate(groups) if group]
        if not filled:
            what = "utterances" if unit == 1 else f"groups of {unit} utterances"
            raise UserError(f"{len(carried)} {what} cannot feed {world_size} processes; start fewer processes or select more data")
        groups[filled[-1]] = _spread(groups[filled[-1]], carried, world_size, unit)
    return groups


def _spread(pieces: list[np.ndarray], extra: Sequence[np.ndarray], world_size: int, unit: int) -> list[np.ndarray]:
    parts = list(pieces)
    if extra and len(parts) < world_size:
        parts, extra = [*parts, np.concatenate(extra)], ()
    while len(parts) < world_size:
        largest = max(range(len(parts)), key=lambda position: len(parts[position]))
        half = unit * ((-(-len(parts[largest]) // unit) + 1) // 2)
        parts[largest : largest + 1] = [parts[largest][:half], parts[largest][half:]]
    for position, together in enumerate(extra):
        parts[position % world_size] = np.append(parts[position % world_size], together)
    return parts


def _without(batch: np.ndarray, gone: np.ndarray, unit: int) -> np.ndarray:
    """Leave items out of a batch; in a unit of several, those that stay take the places of those that go, so that units stay whole."""
    stays = ~np.isin(batch, gone)
    if unit == 1 or stays.all():
        return batch[stays]
    units = zip(np.split(batch, range(unit, len(batch), unit)), np.split(stays, range(unit, len(batch), unit)), strict=True)
    return np.concatenate([np.resize(items[kept], len(items)) for items, kept in units if kept.any()] or [batch[:0]])


class BatchStream:
    """The endless sequence of (epoch, batch index, item indices) of one process, with a position of two integers.

    Items can be excluded at any time (quarantine): they leave their batches, all other batches keep their position. Where several
    items belong together, the others of their unit fill the gap.

    Args:
        count: number of items the plan is over.
        plan: the batches of an epoch, a pure function of its number (`functools.partial` of `plan_batches`, say).
        unit: consecutive items of a batch that stay together when it is shared among processes or loses some.
        rank: this process.
        world_size: number of processes.
        start: (epoch, batch index) of the first batch to yield.
        excluded: indices never yielded.
        keep_empty: yield batches without items too, one process only; else they are passed over.
    """

    def __init__(
        self,
        count: int,
        plan: Plan,
        *,
        unit: int = 1,
        rank: int = 0,
        world_size: int = 1,
        start: tuple[int, int] = (0, 0),
        excluded: Iterable[int] = (),
        keep_empty: bool = False,
    ) -> None:
        if not 0 <= rank < world_size:
            raise UserError(f"rank must be from 0 to world_size - 1 = {world_size - 1}, got {rank}")
        if keep_empty and world_size > 1:
            raise UserError(f"batches that may be empty cannot be shared among {world_size} processes; start one")
        self.keep_empty = keep_empty
        self.count, self.plan, self.unit = count, plan, unit
        self.rank, self.world_size = rank, world_size
        self.epoch, self.batch = start
        self._excluded = {int(index) for index in excluded}
        self._planned: tuple[int, list[list[np.ndarray]]] | None = None
        self._require_items()

    def groups(self, epoch: int) -> list[list[np.ndarray]]:
        """Return the update groups of an epoch (one batch per process; an empty list is a slot emptied by quarantine)."""
        if self._planned is None or self._planned[0] != epoch:
            planned = self.plan(epoch=epoch)
            if self._excluded:
                gone = np.array(sorted(self._excluded), dtype=np.int64)
                planned = [_without(batch, gone, self.unit) for batch in planned]
            grouped = [[batch] for batch in planned] if self.keep_empty else update_groups(planned, self.world_size, self.unit)
            self._planned = (epoch, grouped)
        return self._planned[1]

    def __iter__(self) -> Iterator[tuple[int, int, np.ndarray]]:
        return self

    def __next__(self) -> tuple[int, int, np.ndarray]:
        while True:
            groups = self.groups(self.epoch)
            while self.batch < len(groups):
                index, self.batch = self.batch, self.batch + 1
                if groups[index]:
                    return self.epoch, index, groups[index][self.rank]
            self.epoch, self.batch = self.epoch + 1, 0

    def exclude(self, indices: Iterable[int]) -> None:
        """Leave items out from the next batch on.

        Raises:
            UserError: nothing would be left for some process.
        """
        self._excluded |= {int(index) for index in indices}
        self._planned = None
        self._require_items()

    def state(self) -> dict[str, Any]:
        """Return the position of the next batch and the excluded items, as plain values."""
        return {"epoch": self.epoch, "batch": self.batch, "excluded": sorted(self._excluded)}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Move to a position returned by `state`."""
        self.epoch, self.batch = int(state["epoch"]), int(state["batch"])
        self._excluded = {int(index) for index in state["excluded"]}
        self._planned = None
        self._require_items()

    def _require_items(self) -> None:
        total, gone = self.count, len(self._excluded & set(range(self.count)))
        if total - gone < self.world_size:
            raise UserError(
                f"{total - gone} of {total} utterances are left for {self.world_size} process(es) after {gone} exclusions; "
                "select more data or repair the excluded utterances"
            )
