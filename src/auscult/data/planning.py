"""From the `data.batch` section of a recipe to the plan of every epoch.

One place decides which planner serves which section, so that the trainer, a federated client and a benchmark see the same batches; and
what the plan makes of the data is said before training, because a sampler that loses some of it leaves no trace in a loss curve.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from auscult.data.poisson_sampling import Lots, plan_poisson
from auscult.data.sampling import BatchStream, Plan, plan_batches
from auscult.data.speaker_sampling import PlanSummary, describe_plan, plan_speakers
from auscult.data.strings import UNKNOWN_SPEAKER, speaker_of
from auscult.errors import UserError

if TYPE_CHECKING:
    from lhotse.cut import Cut

    from auscult.recipe.fields import Batching
    from auscult.streams import Streams

LEAST_COVERAGE = 0.99
"""Share of the training utterances below which an epoch is worth a sentence."""


def batch_stream(
    cuts: Sequence[Cut], batching: Batching, streams: Streams, rank: int = 0, world_size: int = 1, lots: Lots | None = None
) -> BatchStream:
    """Return the endless batches of one process, as positions in `cuts`.

    Args:
        cuts: training utterances.
        batching: the section of the recipe.
        streams: of the run.
        rank: of the process.
        world_size: processes.
        lots: draws batches by lot, and lets empty ones count as updates, for differential privacy; None draws them from `streams`.

    Raises:
        UserError: the section does not fit the cuts: fewer speakers than a batch wants, say, or utterances that name none.
    """
    plan: Plan
    if batching.speakers is not None and batching.utterances is not None:
        numbers = _speaker_numbers(cuts)  # once, not in every epoch
        plan = partial(
            plan_speakers, numbers, streams=streams, speakers_per_batch=batching.speakers, utterances=batching.utterances,
            most=batching.most,
        )  # fmt: skip
        stream = BatchStream(len(cuts), plan, unit=batching.utterances, rank=rank, world_size=world_size)
        stream.groups(stream.epoch)  # what does not fit is said here, not in the first update
        return stream
    if batching.poisson is not None:
        plan = partial(plan_poisson, len(cuts), batching.poisson, lots or partial(_drawn, streams))
        plan(epoch=0)
        return BatchStream(len(cuts), plan, rank=rank, world_size=world_size, keep_empty=lots is not None)
    durations = np.array([cut.duration for cut in cuts])
    plan = partial(
        plan_batches, durations, streams=streams, seconds=batching.seconds, items=batching.items, buckets=batching.buckets,
        order=batching.order,
    )  # fmt: skip
    return BatchStream(len(cuts), plan, rank=rank, world_size=world_size)


def _drawn(streams: Streams, epoch: int, batch: int, count: int) -> NDArray[np.float64]:
    return streams.generator("lots", epoch, batch).random(count)


def _speaker_numbers(cuts: Sequence[Cut]) -> NDArray[np.int64]:
    names = [speaker_of(cut) for cut in cuts]
    nameless = [cut.id for cut, name in zip(cuts, names, strict=True) if name == UNKNOWN_SPEAKER]
    if nameless:  # together they would pass for one person
        raise UserError(
            f'data.batch.speakers: utterance "{nameless[0]}" names no speaker ({len(nameless)} of {len(cuts)}); name them in the corpus, '
            "leave them out of data.train, or give items or seconds instead"
        )
    return np.unique(names, return_inverse=True)[1].astype(np.int64)


def first_epoch(stream: BatchStream) -> PlanSummary:
    """Return what the first epoch of a stream makes of the data, over all processes."""
    return describe_plan([batch for group in stream.groups(0) for batch in group], stream.count)


def plan_notes(plan: PlanSummary, batching: Batching) -> list[str]:
    """Return sentences about what a user would not expect of a plan; usually none."""
    notes = []
    if plan.coverage < LEAST_COVERAGE and batching.most is None and batching.poisson is None:
        notes.append(f"an epoch uses only {plan.coverage:.1%} of the training utterances; ask for fewer speakers or utterances per batch")
    wanted = batching.judged_items
    if batching.speakers is not None and wanted is not None and 2 * plan.largest < wanted:
        notes.append(
            f"batches have {plan.smallest} to {plan.largest} utterances instead of {wanted}, because the utterances of one speaker need "
            f"{plan.batches} batches; limit them with data.batch.most"
        )
    return notes
