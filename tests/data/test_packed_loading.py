"""Loading from a pack gives what loading from its files gives, in this process and in workers, and says where the pack has gone."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lhotse.cut import Cut

from auscult.corpora.folder import Folder
from auscult.corpora.manifests import Manifests
from auscult.corpora.prepare import prepare
from auscult.data.loading import Loader
from auscult.data.sampling import BatchStream, plan_batches
from auscult.data.store import AudioStore
from auscult.data.verification_batch import VerificationBatch
from auscult.errors import UserError
from auscult.streams import Streams
from auscult.testing.corpora import toy_corpus

STREAMS = Streams(3)


@dataclass
class Crops:
    """What verification does: a random stretch of every utterance."""

    store: AudioStore

    def __call__(self, cuts: Sequence[Cut], random: Sequence[np.random.Generator] | None = None, update: int = 0) -> VerificationBatch:
        assert random is not None
        crops = [[self.store.stretch(cut, int(one.integers(2000)), 3000)] for cut, one in zip(cuts, random, strict=True)]
        return VerificationBatch.pad(crops, [0] * len(crops), [cut.id for cut in cuts])


@pytest.fixture
def corpus(tmp_path: Path) -> Folder:
    return Folder(str(toy_corpus(tmp_path / "toy", speakers=4, utterances=6)))


def batches(cuts: list[Any], workers: int, rate: int, store: AudioStore | None = None, count: int = 9) -> list[VerificationBatch]:
    plan = partial(plan_batches, np.array([cut.duration for cut in cuts]), streams=STREAMS, items=5)
    collate = Crops(store or AudioStore(rate, 1))
    with Loader(cuts, collate, BatchStream(len(cuts), plan), streams=STREAMS, workers=workers) as loader:
        return [next(loader).batch for _ in range(count)]


@pytest.mark.parametrize("rate", [8000, 16000])
def test_batches_are_those_of_the_files_for_any_number_of_workers(tmp_path: Path, corpus: Folder, rate: int) -> None:
    folder = prepare(corpus, tmp_path / "packed", pack=True).folder
    expected = batches(list(corpus.splits()["train"]), 0, rate)
    for workers in (0, 1, 2):
        found = batches(list(Manifests(str(folder)).splits()["train"]), workers, rate)
        for one, other in zip(expected, found, strict=True):
            assert one.ids == other.ids
            assert torch.equal(one.samples, other.samples)


def test_workers_that_start_after_the_pack_was_mapped_read_the_same(tmp_path: Path, corpus: Folder) -> None:
    cuts = list(Manifests(str(prepare(corpus, tmp_path / "packed", pack=True).folder)).splits()["train"])
    first = batches(cuts, 0, 16000)
    assert all(torch.equal(one.samples, other.samples) for one, other in zip(first, batches(cuts, 2, 16000), strict=True))


@pytest.mark.parametrize("workers", [0, 1])
def test_a_pack_that_changed_ends_the_run_by_name(tmp_path: Path, corpus: Folder, workers: int) -> None:
    folder = prepare(corpus, tmp_path / "packed", pack=True).folder
    cuts = list(Manifests(str(folder)).splits()["train"])
    os.utime(folder / "audio.int16", (1, 1))
    with pytest.raises(UserError, match=r"audio\.int16 has changed since its manifests were read"):
        batches(cuts, workers, 16000)
