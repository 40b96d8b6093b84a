"""What the batches make of the data is an event at the start of a run, and a note where a user would not expect it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from auscult.data import planning
from auscult.recipe import Recipe
from auscult.runs.directory import RunDirectory
from auscult.training.train import TrainResult, train

Values = Callable[..., dict[str, Any]]
SHORT = {"updates": 2, "evaluate_every": 2, "checkpoint_every": 2, "log_every": 1}


def trained(values: Values, root: Path, batch: dict[str, Any]) -> tuple[TrainResult, list[dict[str, Any]]]:
    result = train(Recipe.from_dict(values(data={"batch": batch}, budget=SHORT)), root=root)
    return result, RunDirectory.open(result.run).events.read()


@pytest.mark.parametrize(
    ("batch", "planned"),
    [
        ({"items": 4, "buckets": 1}, {"batches": 5, "smallest": 2, "largest": 4, "coverage": 1.0, "repeats": 0}),
        ({"speakers": 3, "utterances": 4}, {"batches": 2, "smallest": 12, "largest": 12, "coverage": 1.0, "repeats": 6}),
        ({"speakers": 3, "utterances": 2, "most": 2}, {"batches": 1, "smallest": 6, "largest": 6, "coverage": 1 / 3, "repeats": 0}),
    ],
)
def test_the_plan_is_an_event(values: Values, tmp_path: Path, batch: dict[str, Any], planned: dict[str, Any]) -> None:
    result, events = trained(values, tmp_path, batch)
    [event] = [one for one in events if one["event"] == "plan"]
    assert {key: value for key, value in event.items() if key not in ("event", "time")} == pytest.approx(planned)
    assert result.notes == []


def test_lost_utterances_are_said(values: Values, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planning, "plan_speakers", lambda speakers, **_: [np.arange(4)])
    result, events = trained(values, tmp_path, {"speakers": 2, "utterances": 2})
    [note] = result.notes
    assert note.startswith("an epoch uses only 22.2% of the training utterances")
    assert note in [one["text"] for one in events if one["event"] == "note"]
