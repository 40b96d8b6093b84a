"""The section `data.batch` chooses the planner, refuses what does not go together, and what a plan makes of the data is said."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from auscult.data import planning
from auscult.data.planning import batch_stream, first_epoch, plan_notes
from auscult.data.speaker_sampling import PlanSummary
from auscult.errors import UserError
from auscult.recipe.fields import Batching
from auscult.streams import Streams


@dataclass
class Supervision:
    speaker: str | None


class Utterance:
    """As much of a cut as planning looks at."""

    def __init__(self, number: int, speaker: str | None, duration: float = 2.0) -> None:
        self.id, self.duration, self.supervisions = f"u{number}", duration, [Supervision(speaker)]


def corpus(speakers: int, utterances: int) -> list[Any]:
    return [Utterance(number, f"s{number % speakers}") for number in range(speakers * utterances)]


def taken(cuts: list[Any], batching: Batching, rank: int = 0, world_size: int = 1) -> list[list[int]]:
    stream = batch_stream(cuts, batching, Streams(3), rank, world_size)
    return [group[rank].tolist() for group in stream.groups(0) if group]


def test_speakers_are_planned_by_speaker() -> None:
    cuts = corpus(10, 6)
    batches = taken(cuts, Batching(speakers=4, utterances=3))
    assert sorted(index for batch in batches for index in batch) == list(range(60))
    for batch in batches:
        names = [[cuts[index].supervisions[0].speaker for index in batch[start : start + 3]] for start in range(0, len(batch), 3)]
        assert all(len(set(group)) == 1 for group in names)
        assert len({group[0] for group in names}) == len(names) <= 4


def test_other_measures_are_planned_by_length() -> None:
    cuts = corpus(10, 6)
    assert {len(batch) for batch in taken(cuts, Batching(items=7))} == {7, 4}
    assert max(len(batch) for batch in taken(cuts, Batching(seconds=6.0))) == 3


@pytest.mark.parametrize("world_size", [2, 3, 5])
def test_processes_get_whole_speakers(world_size: int) -> None:
    """B is rarely a multiple of the processes; the batch that is halved for the last update must not tear a speaker apart."""
    cuts = corpus(7, 4)
    shards = [taken(cuts, Batching(speakers=5, utterances=4), rank, world_size) for rank in range(world_size)]
    assert len({len(shard) for shard in shards}) == 1
    assert sorted(index for shard in shards for batch in shard for index in batch) == list(range(28))
    for batch in (batch for shard in shards for batch in shard):
        assert len(batch) % 4 == 0
        for start in range(0, len(batch), 4):
            assert len({cuts[index].supervisions[0].speaker for index in batch[start : start + 4]}) == 1


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"speakers": 4}, "speakers and utterances go together"),
        ({"items": 4, "utterances": 2}, "speakers and utterances go together"),
        ({"items": 4, "most": 10}, "most limits the utterances of a speaker and goes with speakers"),
        ({"speakers": 4, "utterances": 2, "items": 8}, "not several"),
        ({"utterances": 2}, "give one of seconds"),
        ({"speakers": 4, "utterances": 2, "order": "sorted"}, "remove the key order, or leave it at shuffled"),
        ({"speakers": 4, "utterances": 2, "buckets": 3}, "remove the key buckets, or leave it at 8"),
        ({"speakers": 4, "utterances": 3, "most": 2}, "most: 2 utterances of a speaker cannot fill a group of 3 without repeats; give 3"),
        ({"speakers": 0, "utterances": 2}, "greater than or equal to 1"),
    ],
)
def test_what_does_not_go_together_is_refused(section: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Batching(**section)


def test_a_resolved_section_can_be_read_back() -> None:
    section = Batching(speakers=4, utterances=2, most=10)
    assert Batching(**section.model_dump()) == section


def test_more_speakers_than_there_are_is_said_before_the_first_update() -> None:
    with pytest.raises(UserError, match=r"data\.batch\.speakers: 200 .* training has 140; set it to 140 or fewer"):
        batch_stream(corpus(140, 2), Batching(speakers=200, utterances=2), Streams(0))


def test_utterances_without_a_speaker_are_refused() -> None:
    with pytest.raises(UserError, match=r"data\.batch\.speakers: utterance \"u1\" names no speaker \(1 of 2\)"):
        batch_stream([Utterance(0, "a"), Utterance(1, None)], Batching(speakers=1, utterances=1), Streams(0))


def summary(cuts: list[Any], batching: Batching, world_size: int = 1) -> PlanSummary:
    return first_epoch(batch_stream(cuts, batching, Streams(0), world_size=world_size))


def test_a_sound_plan_is_counted_and_needs_no_note() -> None:
    batching = Batching(speakers=64, utterances=2)
    plan = summary(corpus(140, 120), batching)
    assert plan == PlanSummary(batches=132, smallest=126, largest=128, coverage=1.0, repeats=0)
    assert plan_notes(plan, batching) == []
    shared = summary(corpus(140, 120), batching, world_size=5)
    assert (shared.batches, shared.coverage, shared.repeats) == (135, 1.0, 0), "132 batches for 5 processes: the last two are halved"
    assert plan_notes(shared, batching) == []


def test_starving_is_said_unless_it_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    def starving(speakers: Any, **keys: Any) -> list[np.ndarray]:
        return [np.arange(keys["speakers_per_batch"] * keys["utterances"])]

    cuts, batching = corpus(10, 8), Batching(speakers=5, utterances=2)
    monkeypatch.setattr(planning, "plan_speakers", starving)
    [note] = plan_notes(summary(cuts, batching), batching)
    assert note.startswith("an epoch uses only 12.5% of the training utterances; ask for fewer")
    monkeypatch.undo()
    limited = Batching(speakers=5, utterances=2, most=2)
    assert summary(cuts, limited).coverage == 0.25
    assert plan_notes(summary(cuts, limited), limited) == []


def test_one_speaker_who_makes_the_batches_small_is_said() -> None:
    cuts = [*corpus(20, 2), *(Utterance(100 + number, "loud") for number in range(200))]
    batching = Batching(speakers=20, utterances=2)
    plan = summary(cuts, batching)
    assert (plan.batches, plan.coverage) == (100, 1.0)
    [note] = plan_notes(plan, batching)
    assert note.startswith("batches have 2 to 4 utterances instead of 40, because the utterances of one speaker need 100 batches")
    limited = Batching(speakers=20, utterances=2, most=2)
    assert plan_notes(summary(cuts, limited), limited) == []
