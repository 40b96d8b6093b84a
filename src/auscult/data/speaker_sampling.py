"""Batches of P speakers with K utterances each, every utterance once per epoch.

Problem: the usual sampler (voxceleb_trainer) shuffles groups of K utterances and skips a group whose speaker is in the batch already;
what is skipped is lost for the epoch. With 140 speakers it starves: 24 % of the data unseen at P = 64, 83 % at P = 140, no batch at all at
P = 200. Choice: lay the groups out speaker by speaker, in random order, and deal them to B batches in turn. A speaker's groups then lie in
different batches as long as there are not more of them than batches, batch sizes differ by at most one, nothing is skipped, and an
epoch is one permutation and a few sorts in NumPy. A speaker with more groups than ceil(groups / P) makes more and smaller batches.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from auscult.errors import UserError

if TYPE_CHECKING:
    from auscult.streams import Streams


def plan_speakers(
    speakers: Sequence[str] | NDArray[np.int64],
    *,
    epoch: int,
    streams: Streams,
    speakers_per_batch: int,
    utterances: int,
    most: int | None = None,
) -> list[NDArray[np.int64]]:
    """Return the batches of one epoch.

    Args:
        speakers: (items,) who speaks in each utterance, as names or numbers.
        epoch: from 0.
        streams: source of chance (stream "order", key epoch).
        speakers_per_batch: P, most different speakers in a batch.
        utterances: K, of each speaker in a batch.
        most: most utterances of a speaker in an epoch, drawn anew each epoch; None takes all.

    Returns:
        Arrays of int64 indices, speaker-major: K consecutive ones of each speaker. A speaker whose utterances do not fill their last
        group repeats some (all, with fewer than K).

    Raises:
        UserError: P exceeds the number of speakers, or a number is not positive.

    >>> from auscult.streams import Streams
    >>> [len(batch) for batch in plan_speakers(["a", "a", "b", "b"], epoch=0, streams=Streams(0), speakers_per_batch=2, utterances=2)]
    [4]
    """
    codes, counts = _coded(speakers)
    _check(counts, speakers_per_batch, utterances, most)
    random = streams.generator("order", epoch)
    groups = _groups(codes, counts, utterances, most, random)  # (groups, K), a speaker's groups side by side
    per_speaker = -(-(np.minimum(counts, most) if most is not None else counts) // utterances)
    batches = max(-(-len(groups) // speakers_per_batch), int(per_speaker.max()))
    order = random.permutation(batches)
    return [np.ascontiguousarray(groups[order[number] :: batches].reshape(-1)) for number in range(batches)]


def _coded(speakers: Sequence[str] | NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    if not len(speakers):
        raise UserError("batches of speakers: no utterances; change the selection of the training split")
    _, codes, counts = np.unique(np.asarray(speakers), return_inverse=True, return_counts=True)
    return codes.astype(np.int64), counts.astype(np.int64)


def _check(counts: NDArray[np.int64], speakers_per_batch: int, utterances: int, most: int | None) -> None:
    for name, value in (("speakers", speakers_per_batch), ("utterances", utterances), ("most", 1 if most is None else most)):
        if value < 1:
            raise UserError(f"data.batch.{name}: {value} is not possible; give 1 or more")
    if speakers_per_batch > len(counts):
        raise UserError(
            f"data.batch.speakers: {speakers_per_batch} different speakers per batch were asked for and training has {len(counts)}; "
            f"set it to {len(counts)} or fewer (with more utterances of each, if batches should stay as large), or select more speakers"
        )


def _groups(
    codes: NDArray[np.int64], counts: NDArray[np.int64], utterances: int, most: int | None, random: np.random.Generator
) -> NDArray[np.int64]:
    """Return (groups, K) indices: each speaker's utterances shuffled, cut into groups, the last one filled from the first."""
    place = random.permutation(len(counts))  # of each speaker in the layout
    shuffled = random.permutation(len(codes))
    shuffled = shuffled[np.argsort(place[codes[shuffled]], kind="stable")]
    laid_out = np.empty_like(counts)
    laid_out[place] = counts
    starts = np.concatenate([[0], np.cumsum(laid_out)[:-1]])
    taken = laid_out if most is None else np.minimum(laid_out, most)
    rows = -(-taken // utterances)
    owner = np.repeat(np.arange(len(counts)), rows)  # of each group
    first = (np.arange(len(owner)) - np.repeat(np.cumsum(rows) - rows, rows)) * utterances
    within = (first[:, None] + np.arange(utterances)) % taken[owner][:, None]
    return np.asarray(shuffled[starts[owner][:, None] + within], dtype=np.int64)


@dataclass(frozen=True)
class PlanSummary:
    """What a plan makes of the data.

    Attributes:
        batches: in an epoch.
        smallest: utterances in the smallest batch.
        largest: utterances in the largest batch.
        coverage: share of the utterances that an epoch uses.
        repeats: utterances used more than once, to fill groups.
    """

    batches: int
    smallest: int
    largest: int
    coverage: float
    repeats: int


def describe_plan(planned: Sequence[NDArray[np.int64]], items: int) -> PlanSummary:
    """Return what planned batches make of so many utterances.

    Raises:
        UserError: there are no batches; a loop over them would end, or divide by zero, without having trained.

    >>> describe_plan([np.array([0, 1]), np.array([2, 2])], 4)
    PlanSummary(batches=2, smallest=2, largest=2, coverage=0.75, repeats=1)
    """
    if not planned:
        raise UserError(f"the plan makes no batch of {items} utterances; ask for fewer speakers or utterances per batch")
    used = np.concatenate(planned)
    different = len(np.unique(used))
    sizes = [len(batch) for batch in planned]
    return PlanSummary(len(planned), min(sizes), max(sizes), different / items, len(used) - different)
