"""From the `data.batch` section of a recipe to the plan of every epoch.

One place decides which planner serves which section, so that the trainer, a federated client and a benchmark see the same batches.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from auscult.data.sampling import BatchStream, Plan, plan_batches
from auscult.data.speaker_sampling import plan_speakers
from auscult.data.strings import speaker_of

if TYPE_CHECKING:
    from lhotse.cut import Cut

    from auscult.recipe.fields import Batching
    from auscult.streams import Streams


def batch_stream(cuts: Sequence[Cut], batching: Batching, streams: Streams, rank: int = 0, world_size: int = 1) -> BatchStream:
    """Return the endless batches of one process, as positions in `cuts`.

    Raises:
        UserError: the section does not fit the cuts (fewer speakers than a batch wants, say).
    """
    plan: Plan
    if batching.speakers is not None and batching.utterances is not None:
        speakers = [speaker_of(cut) for cut in cuts]
        plan = partial(
            plan_speakers, speakers, streams=streams, speakers_per_batch=batching.speakers, utterances=batching.utterances,
            most=batching.most,
        )  # fmt: skip
        return BatchStream(len(cuts), plan, unit=batching.utterances, rank=rank, world_size=world_size)
    durations = np.array([cut.duration for cut in cuts])
    plan = partial(
        plan_batches, durations, streams=streams, seconds=batching.seconds, items=batching.items, buckets=batching.buckets,
        order=batching.order,
    )  # fmt: skip
    return BatchStream(len(cuts), plan, rank=rank, world_size=world_size)
