"""Planned batches become tensors, in this process or in worker processes, with the same bits either way.

Problem: workers that hold a sampler, a random state or a curriculum stage go stale, duplicate items or change results with their
number. Choice: a worker holds nothing but the list of cuts; each request carries (epoch, batch index, batch number, item indices), so
a curriculum travels with the request, and every random draw for an item comes from a generator keyed by (seed, epoch, utterance id).
Order is kept, so 0, 1 or 4 workers give one stream of batches. torch's `DataLoader` runs the processes; writing our own would repeat its
watchdogs.

A file that fails at load time is dropped from its batch and counted, never replaced by zeros. With the default budget of 0 the first
one ends the run by name.
"""

from __future__ import annotations

import atexit
import os
import signal
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, get_worker_info

from auscult.audio.reading import AudioError
from auscult.data.sampling import BatchStream, plan_sorted
from auscult.data.store import paths_of
from auscult.errors import UserError

if TYPE_CHECKING:
    from lhotse.cut import Cut

    from auscult.streams import Streams

_Request = tuple[int, int, int, int, np.ndarray]


class Collate(Protocol):
    """`Task.collate`: cuts, and one generator per cut where they are to be augmented."""

    def __call__(self, cuts: Sequence[Cut], random: Sequence[np.random.Generator] | None = None) -> Any:
        """Return a batch, or raise AudioError naming the file that failed."""


class MakeBatch(Protocol):
    """`Task.training_batch`: as `Collate`, and the update that the batch is for."""

    def __call__(self, cuts: Sequence[Cut], random: Sequence[np.random.Generator] | None, update: int) -> Any:
        """Return a batch, or raise AudioError naming the file that failed."""


@dataclass(frozen=True)
class Problem:
    """One utterance whose audio failed to load.

    Attributes:
        id: utterance.
        path: audio file.
        message: what is wrong with it.
    """

    id: str
    path: str
    message: str


@dataclass(frozen=True)
class Loaded:
    """One batch and where it stands.

    Attributes:
        epoch: from 0.
        index: of the batch within its epoch.
        batches: number of batches in its epoch, for display.
        number: of the batch since the start of the run.
        batch: what `Task.collate` returned; None only where every utterance failed to load, or a stream of lots drew none.
        problems: utterances dropped from it.
    """

    epoch: int
    index: int
    batches: int
    number: int
    batch: Any
    problems: tuple[Problem, ...] = ()


@dataclass(frozen=True)
class _Failure:
    """A UserError on its way out of a worker (torch would wrap its message in a traceback)."""

    message: str


class _Reader(Dataset[Any]):
    """Turns requests into batches; stateless but for the cache inside `collate`, so copies in workers cannot go stale."""

    def __init__(self, cuts: Sequence[Cut], make_batch: MakeBatch, streams: Streams, augment: bool, accumulate: int) -> None:
        self.cuts, self.make_batch, self.streams, self.augment, self.accumulate = cuts, make_batch, streams, augment, accumulate

    def __getitem__(self, request: _Request) -> Loaded | _Failure:
        epoch, index, batches, number, indices = request
        try:
            batch, problems = self._read([self.cuts[position] for position in indices.tolist()], epoch, number // self.accumulate)
        except UserError as error:
            if get_worker_info() is None:
                raise
            return _Failure(str(error))
        return Loaded(epoch, index, batches, number, batch, tuple(problems))

    def _read(self, cuts: list[Cut], epoch: int, update: int) -> tuple[Any, list[Problem]]:
        problems: list[Problem] = []
        while cuts:
            try:
                return self.make_batch(cuts, self._generators(cuts, epoch), update), problems
            except AudioError as error:
                failed = self._failed(cuts, epoch, update, error)
                problems += [Problem(cut.id, str(error.path), str(error)) for cut in failed]
                gone = {cut.id for cut in failed}
                cuts = [cut for cut in cuts if cut.id not in gone]
        return None, problems

    def _generators(self, cuts: Sequence[Cut], epoch: int) -> list[np.random.Generator] | None:
        return [self.streams.generator("item", epoch, cut.id) for cut in cuts] if self.augment else None

    def _failed(self, cuts: list[Cut], epoch: int, update: int, error: AudioError) -> list[Cut]:
        failed = [cut for cut in cuts if Path(error.path) in map(Path, paths_of(cut))]
        if failed:
            return failed
        for cut in cuts:  # the path is not one of the manifest's (an augmentation's, say): ask one by one
            try:
                self.make_batch([cut], self._generators([cut], epoch), update)
            except AudioError:
                failed.append(cut)
        if not failed:
            raise error
        return failed


class Loader:
    """The endless stream of batches a training loop consumes; a context manager, so that workers end with the block.

    Args:
        cuts: utterances; `stream` holds their durations in this order.
        make_batch: the task's `training_batch`.
        stream: which utterances come when, by their position in `cuts`; owned by the loader from now on.
        streams: random streams of the run (stream "item", keys epoch and utterance id).
        workers: processes that load ahead; 0 loads here.
        threads: of each worker.
        prefetch: batches each worker prepares ahead.
        error_budget: most utterances (of this process) that may fail to load.
        on_problem: called once for every dropped utterance.
        augment: hand generators to `make_batch`.
        accumulate: batches that make an update, so that `make_batch` is told the update and not the batch.

    Raises:
        UserError: while iterating: audio problems beyond the budget, or what `make_batch` raises, in its own words.
    """

    def __init__(
        self,
        cuts: Iterable[Cut],
        make_batch: MakeBatch,
        stream: BatchStream,
        *,
        streams: Streams,
        workers: int = 0,
        threads: int = 1,
        prefetch: int = 2,
        error_budget: int = 0,
        on_problem: Callable[[Problem], None] | None = None,
        augment: bool = True,
        accumulate: int = 1,
    ) -> None:
        self.cuts = list(cuts)
        if len(self.cuts) != stream.count:
            raise UserError(f"loader: {len(self.cuts)} utterances, but the batch stream was made for {stream.count}")
        self.reader = _Reader(self.cuts, make_batch, streams, augment, accumulate)
        self.stream, self.workers, self.threads, self.prefetch = stream, workers, threads, prefetch
        self.error_budget, self.on_problem = error_budget, on_problem
        self._dropped: set[str] = set()
        self._position = (stream.epoch, stream.batch)
        self._number = 0
        self._iterator: Iterator[Any] | None = None

    def __iter__(self) -> Iterator[Loaded]:
        return self

    def __next__(self) -> Loaded:
        while True:
            try:
                loaded = self._next()
                self._count(loaded.problems)
            except Exception:
                self.close()
                raise
            self._position, self._number = (loaded.epoch, loaded.index + 1), loaded.number + 1
            if loaded.batch is not None or self.stream.keep_empty:
                return loaded
            if self.stream.world_size > 1:
                raise UserError(
                    f"every utterance of one process's batch failed to load, first {loaded.problems[0].message}; repair the files"
                )

    def _next(self) -> Loaded:
        if self._iterator is None:
            self._iterator = self._start()
        result: Loaded | _Failure = next(self._iterator)
        if isinstance(result, _Failure):
            raise UserError(result.message)
        return result

    def _start(self) -> Iterator[Any]:
        requests = _Requests(self.stream, self._number)
        if not self.workers:
            return (self.reader[request] for request in requests)
        loader = DataLoader(
            self.reader,
            batch_size=None,
            sampler=requests,
            num_workers=self.workers,
            collate_fn=_unchanged,
            prefetch_factor=self.prefetch,
            worker_init_fn=_Prepare(self.threads),
            generator=torch.Generator(),  # else the loader draws from, and so moves, the global random state
        )
        iterator = iter(loader)
        atexit.register(_end_at_exit, weakref.ref(iterator))
        return iterator

    def _count(self, problems: Sequence[Problem]) -> None:
        for problem in problems:
            if problem.id in self._dropped:
                continue
            self._dropped.add(problem.id)
            if self.on_problem is not None:
                self.on_problem(problem)
            if len(self._dropped) > self.error_budget:
                raise UserError(
                    f"{problem.message} (utterance {problem.id}); {len(self._dropped)} utterance(s) failed to load and the error budget is "
                    f"{self.error_budget}: repair or remove the file, or raise data.error_budget"
                )

    def exclude(self, indices: Iterable[int]) -> None:
        """Leave utterances out from the next batch on (quarantine); batches loaded ahead are loaded again without them."""
        self._move({**self.state(), "excluded": sorted({*self.stream.state()["excluded"], *map(int, indices)})})

    def state(self) -> dict[str, Any]:
        """Return the position after the last batch handed out (not after those loaded ahead), exclusions and drops; plain values."""
        epoch, batch = self._position
        return {**self.stream.state(), "epoch": epoch, "batch": batch, "number": self._number, "dropped": sorted(self._dropped)}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue at a position returned by `state`."""
        self._dropped = set(state["dropped"])
        self._move(state)

    def _move(self, state: Mapping[str, Any]) -> None:
        self.close()
        self.stream.restore(state)
        self._position, self._number = (self.stream.epoch, self.stream.batch), int(state["number"])

    def close(self) -> None:
        """End the worker processes; iterating again continues after the last batch handed out."""
        _end_workers(self._iterator)
        self._iterator = None
        epoch, batch = self._position
        self.stream.restore({**self.stream.state(), "epoch": epoch, "batch": batch})

    def __enter__(self) -> Loader:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


class _Requests:
    """The stream as a sampler for torch; a class because torch asks a sampler for an iterator, not for a generator."""

    def __init__(self, stream: BatchStream, first: int) -> None:
        self.stream, self.first = stream, first

    def __iter__(self) -> Iterator[_Request]:
        for number, (epoch, index, indices) in enumerate(self.stream, self.first):
            yield epoch, index, len(self.stream.groups(epoch)), number, indices


def _end_workers(iterator: Iterator[Any] | None) -> None:
    """End the processes of a torch loader now.

    torch does it when the iterator is collected, but a traceback keeps the iterator alive, and processes forked meanwhile inherit it.
    """
    shutdown = getattr(iterator, "_shutdown_workers", None)
    if shutdown is not None:
        shutdown()


def _end_at_exit(reference: weakref.ref[Iterator[Any]]) -> None:
    """End the workers of a loader nobody closed; multiprocessing would send one SIGTERM, which they survive, and wait for ever."""
    _end_workers(reference())


def _unchanged(value: Any) -> Any:
    return value


@dataclass(frozen=True)
class _Prepare:
    """First act of a worker: few threads, and no say in when the program ends (a stop is the training loop's decision)."""

    threads: int

    def __call__(self, worker: int) -> None:
        for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
            os.environ[variable] = str(self.threads)
        torch.set_num_threads(self.threads)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, _end_at_second)


def _end_at_second(number: int, frame: FrameType | None) -> None:
    """Survive one SIGTERM: pre-emption sends it to every process of a job, and the training loop must still save."""
    signal.signal(number, signal.SIG_DFL)


def evaluation_batches(cuts: Iterable[Cut], collate: Collate, *, seconds: float | None = None, items: int | None = None) -> Iterator[Any]:
    """Yield batches for judging: sorted by duration then id, never augmented, every utterance once.

    Args:
        cuts: utterances; none gives no batches.
        collate: the task's.
        seconds: most padded seconds in a batch.
        items: most utterances in a batch.

    Raises:
        UserError: a file cannot be read (scores over the readable rest would not be comparable), or no limit is given.
    """
    ordered = sorted(cuts, key=lambda cut: (cut.duration, cut.id))
    for batch in plan_sorted(np.array([cut.duration for cut in ordered]), seconds=seconds, items=items):
        yield collate([ordered[position] for position in batch.tolist()], None)
