"""Loading gives the same bits for any number of workers, resumes anywhere, and names the file that fails."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lhotse import CutSet
from lhotse.cut import Cut

from auscult.data.loading import Loaded, Loader, Problem, evaluation_batches
from auscult.data.recognition_batch import RecognitionBatch
from auscult.data.sampling import BatchStream, plan_batches
from auscult.data.store import AudioStore
from auscult.data.strings import text_of
from auscult.errors import UserError
from auscult.streams import Streams

STREAMS = Streams(11)


@dataclass
class Collate:
    """What a task does: read, augment by a random gain, pad."""

    store: AudioStore

    def __call__(self, cuts: Sequence[Cut], random: Sequence[np.random.Generator] | None = None, update: int = 0) -> RecognitionBatch:
        samples = [self.store.samples(cut) for cut in cuts]
        if random is not None:
            samples = [one * np.float32(generator.uniform(0.5, 1.5)) for one, generator in zip(samples, random, strict=True)]
        tokens = [[ord(character) for character in text_of(cut)] for cut in cuts]
        return RecognitionBatch.pad(samples, tokens, [cut.id for cut in cuts])


@pytest.fixture
def cuts(record) -> list[Any]:  # type: ignore[no-untyped-def]
    return [record(f"u{i:02d}", samples=800 + 61 * i, text="one" * (i % 3 + 1)) for i in range(23)]


MakeLoader = Callable[..., Loader]


@pytest.fixture
def loader(cuts: list[Any]):  # type: ignore[no-untyped-def]
    made: list[Loader] = []

    def make(collate: Any = None, rank: int = 0, world_size: int = 1, seconds: float = 1.0, **arguments: Any) -> Loader:
        durations = np.array([cut.duration for cut in cuts])
        by_length = partial(plan_batches, durations, streams=STREAMS, seconds=seconds, buckets=3)
        stream = BatchStream(len(cuts), by_length, rank=rank, world_size=world_size)
        made.append(Loader(cuts, collate or Collate(AudioStore(8000, 10)), stream, streams=STREAMS, **arguments))
        return made[-1]

    yield make
    for one in made:
        one.close()


def take(source: Loader, number: int) -> list[Loaded]:
    return list(itertools.islice(source, number))


def same(one: Sequence[Loaded], other: Sequence[Loaded]) -> bool:
    return [(a.epoch, a.index, a.batch.ids) for a in one] == [(b.epoch, b.index, b.batch.ids) for b in other] and all(
        torch.equal(a.batch.samples, b.batch.samples) and torch.equal(a.batch.tokens, b.batch.tokens)
        for a, b in zip(one, other, strict=True)
    )


def test_every_utterance_once_per_epoch_and_augmented_anew(loader: MakeLoader, cuts: list[Any]) -> None:
    loaded = take(loader(), 30)
    for epoch in (0, 1):
        inside = [one for one in loaded if one.epoch == epoch]
        assert sorted(identity for one in inside for identity in one.batch.ids) == [cut.id for cut in cuts]
        assert {one.batches for one in inside} == {len(inside)}

    def peak(epoch: int) -> float:
        return next(
            float(one.batch.samples[one.batch.ids.index("u05")].abs().max())
            for one in loaded
            if one.epoch == epoch and "u05" in one.batch.ids
        )

    assert peak(0) != peak(1)
    plain = next(one for one in loader(augment=False) if "u05" in one.batch.ids)
    assert float(plain.batch.samples[plain.batch.ids.index("u05")].abs().max()) == pytest.approx(0.5, abs=0.01)


def test_worker_count_does_not_change_bits(loader: MakeLoader) -> None:
    expected = take(loader(), 25)
    for workers in (1, 2):
        assert same(take(loader(workers=workers), 25), expected)


def test_loading_leaves_the_global_random_state_alone(loader: MakeLoader) -> None:
    for workers in (0, 1):
        torch.manual_seed(5)
        state = torch.get_rng_state()
        take(loader(workers=workers), 2)
        assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("workers", [0, 2])
def test_resume_continues_after_the_last_batch_handed_out(loader: MakeLoader, workers: int) -> None:
    whole = take(loader(), 20)
    for cut in (0, 3, 13):
        interrupted = loader(workers=workers)
        head = take(interrupted, cut)
        state = interrupted.state()  # although workers are ahead
        interrupted.close()
        resumed = loader(workers=workers)
        resumed.restore(state)
        assert same(head + take(resumed, 20 - cut), whole)


def test_closing_only_pauses(loader: MakeLoader) -> None:
    source = loader(workers=1)
    with source:
        head = take(source, 4)
    assert same(head + take(source, 4), take(loader(), 8))


@pytest.mark.parametrize("workers", [0, 2])
def test_quarantine_takes_effect_at_the_next_batch(loader: MakeLoader, cuts: list[Any], workers: int) -> None:
    whole = take(loader(), 12)
    source = loader(workers=workers)
    take(source, 3)
    banned = whole[4].batch.ids[0]
    source.exclude([next(index for index, cut in enumerate(cuts) if cut.id == banned)])
    rest = take(source, 6)
    assert rest[0].batch.ids == whole[3].batch.ids
    assert rest[1].batch.ids == whole[4].batch.ids[1:]
    again = loader()
    again.restore(source.state())
    assert same(take(again, 4), take(source, 4))
    assert all(banned not in one.batch.ids for one in rest)


@dataclass
class EpochRecorder:
    """A task whose data depend on the epoch through the generators alone."""

    def __call__(
        self, cuts: Sequence[Cut], random: Sequence[np.random.Generator] | None = None, update: int = 0
    ) -> tuple[list[str], list[float], int]:
        assert random is not None
        return [cut.id for cut in cuts], [generator.uniform() for generator in random], os.getpid()


def test_r4_curriculum_with_persistent_workers(loader: MakeLoader) -> None:
    """Workers live through epochs, and what depends on the epoch still changes with it."""
    source = loader(EpochRecorder(), workers=1)
    draws: dict[int, dict[str, float]] = {}
    processes = set()
    for loaded in itertools.takewhile(lambda one: one.epoch < 3, source):
        names, values, process = loaded.batch
        draws.setdefault(loaded.epoch, {}).update(zip(names, values, strict=True))
        processes.add(process)
    assert len(processes) == 1
    for epoch in (0, 1, 2):
        assert draws[epoch] == {name: STREAMS.generator("item", epoch, name).uniform() for name in draws[epoch]}
        assert len(draws[epoch]) == 23


def damage(cut: Any) -> None:
    path = Path(cut.recording.sources[0].source)
    path.write_bytes(path.read_bytes()[:200])


@pytest.mark.parametrize("workers", [0, 2])
def test_bad_file_stops_by_name(loader: MakeLoader, cuts: list[Any], workers: int) -> None:
    damage(cuts[7])
    with pytest.raises(UserError, match=r"u07\.wav.*\(utterance u07\); 1 utterance.*error budget is 0.*raise data\.error_budget") as caught:
        take(loader(workers=workers), 20)
    assert "Traceback" not in str(caught.value)


@pytest.mark.parametrize("workers", [0, 2])
def test_bad_files_within_the_budget_are_dropped_and_told(loader: MakeLoader, cuts: list[Any], workers: int) -> None:
    whole = take(loader(), 40)
    for index in (7, 19):
        damage(cuts[index])
    told: list[Problem] = []
    source = loader(workers=workers, error_budget=2, on_problem=told.append)
    loaded = take(source, 30)
    assert {problem.id for problem in told} == {"u07", "u19"}
    assert len(told) == 2  # once each, although they return every epoch
    healthy = {(one.epoch, one.index): one for one in whole}
    for one in loaded:
        before = healthy[one.epoch, one.index].batch
        kept = [position for position, identity in enumerate(before.ids) if identity not in ("u07", "u19")]
        assert one.batch.ids == before.select(kept).ids
        assert torch.equal(one.batch.samples, before.select(kept).samples)  # neither zeros nor other draws
    state = source.state()
    assert state["dropped"] == ["u07", "u19"]
    resumed = loader(error_budget=2, on_problem=told.append)
    resumed.restore(state)
    take(resumed, 15)
    assert len(told) == 2
    with pytest.raises(UserError, match="error budget is 1"):
        take(loader(workers=workers, error_budget=1), 30)


def test_a_batch_without_readable_files_is_passed_over(loader: MakeLoader, cuts: list[Any]) -> None:
    for cut in cuts[-3:]:
        damage(cut)
    loaded = take(loader(seconds=0.2, error_budget=3), 40)  # one utterance per batch
    assert all(len(one.batch.ids) >= 1 for one in loaded)
    with pytest.raises(UserError, match="every utterance of one process's batch failed"):
        take(loader(seconds=0.2, error_budget=3, world_size=2, rank=0), 11) + take(
            loader(seconds=0.2, error_budget=3, world_size=2, rank=1), 11
        )


class Refuse:
    """A collate that fails with a bug or with a user's mistake."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def __call__(self, cuts: Sequence[Cut], random: Sequence[np.random.Generator] | None = None, update: int = 0) -> Any:
        raise self.error


@pytest.mark.parametrize("workers", [0, 1])
def test_errors_keep_their_words(loader: MakeLoader, workers: int) -> None:
    with pytest.raises(UserError, match=r'^u01: "ż" is not in the alphabet$'):
        next(loader(Refuse(UserError('u01: "ż" is not in the alphabet')), workers=workers))
    with pytest.raises(ZeroDivisionError, match="a bug of ours"):
        next(loader(Refuse(ZeroDivisionError("a bug of ours")), workers=workers))


@dataclass
class Facts:
    """Reports what a worker is."""

    def __call__(self, cuts: Sequence[Cut], random: Sequence[np.random.Generator] | None = None, update: int = 0) -> tuple[int, int, str]:
        return os.getpid(), torch.get_num_threads(), os.environ["OMP_NUM_THREADS"]


def alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


def test_workers_use_one_thread_survive_a_stop_signal_and_end_with_the_loader(loader: MakeLoader) -> None:
    source = loader(Facts(), workers=2)
    facts = [one.batch for one in take(source, 8)]
    processes = {process for process, _, _ in facts}
    assert len(processes) == 2
    assert {(threads, variable) for _, threads, variable in facts} == {(1, "1")}
    for process in sorted(processes):
        os.kill(process, signal.SIGINT)
        os.kill(process, signal.SIGTERM)  # pre-emption reaches every process of a job
    assert {one.batch[0] for one in take(source, 8)} == processes
    source.close()
    deadline = time.monotonic() + 60
    while any(map(alive, processes)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(map(alive, processes))


SCRIPT = """
import os, signal, sys, time
from functools import partial
import numpy as np
from auscult.data.loading import Loader
from auscult.data.sampling import BatchStream, plan_batches
from auscult.streams import Streams

def collate(cuts, random=None, update=0):
    return os.getpid()

streams = Streams(0)
stream = BatchStream(8, partial(plan_batches, np.ones(8), streams=streams, items=2))
loader = Loader([str(i) for i in range(8)], collate, stream, streams=streams, workers=2, augment=False)
print(next(loader).batch, next(loader).batch, flush=True)
if sys.argv[1] == "wait":
    time.sleep(30)
elif sys.argv[1] == "raise":
    raise SystemExit("on purpose")
"""


@pytest.mark.parametrize("end", ["return", "raise", "wait"])
def test_no_worker_outlives_the_program(end: str) -> None:
    """Neither when nobody closes the loader, nor on Ctrl-C (which reaches the whole process group)."""
    source = str(Path(__file__).resolve().parents[2] / "src")
    program = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, end],
        env={**os.environ, "PYTHONPATH": source},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert program.stdout is not None
    workers = [int(process) for process in program.stdout.readline().split()]
    if end == "wait":
        os.killpg(program.pid, signal.SIGINT)
    _, errors = program.communicate(timeout=20)
    assert len(workers) == 2
    assert not any(map(alive, workers))
    assert errors.count("Traceback") == (end == "wait")  # the program's own KeyboardInterrupt, nothing from workers


def test_length_mismatch_is_refused(cuts: list[Any]) -> None:
    stream = BatchStream(3, partial(plan_batches, np.ones(3), streams=STREAMS, items=2))
    with pytest.raises(UserError, match="23 utterances, but the batch stream was made for 3"):
        Loader(cuts, EpochRecorder(), stream, streams=STREAMS)


def test_evaluation_batches_are_sorted_plain_and_complete(cuts: list[Any]) -> None:
    collate = Collate(AudioStore(8000, 10))
    batches = list(evaluation_batches(CutSet.from_cuts(cuts[::-1]), collate, seconds=1.0))
    assert [identity for batch in batches for identity in batch.ids] == [cut.id for cut in cuts]
    assert all(batch.samples.shape[1] * batch.items <= 8000 or batch.items == 1 for batch in batches)
    np.testing.assert_array_equal(batches[0].samples[0, :800], cuts[0].load_audio()[0])
    assert list(evaluation_batches([], collate, items=4)) == []
    damage(cuts[3])
    with pytest.raises(UserError, match=r"u03\.wav"):
        list(evaluation_batches(cuts, Collate(AudioStore(8000, 0)), items=4))
