"""Sinks are a convenience: they get every event, and one that fails never stops training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from auscult.recipe import Recipe
from auscult.registry import register, scope
from auscult.runs.directory import RunDirectory
from auscult.runs.sink import Sink
from auscult.testing.recipes import toy_recipe
from auscult.training.train import train


def run(folder: Path, *sinks: dict[str, Any]) -> RunDirectory:
    values = {**toy_recipe(folder / "corpus"), "sinks": list(sinks)}
    return RunDirectory.open(train(Recipe.from_dict(values), root=folder / "runs").run)


@pytest.mark.parametrize("moment", ["open", "write", "close"])
def test_a_failing_sink_is_dropped_and_named(moment: str, tmp_path: Path) -> None:
    with scope():

        @register("sink", "failing")
        class Failing(Sink):
            def __init__(self, moment: str) -> None:
                self.moment = moment

            def _fail(self, moment: str) -> None:
                if moment == self.moment:
                    raise ConnectionError("tracker unreachable")

            def open(self, run_path: Path, recipe: dict[str, Any]) -> None:
                self._fail("open")

            def write(self, event: dict[str, Any]) -> None:
                self._fail("write")

            def close(self) -> None:
                self._fail("close")

        directory = run(tmp_path, {"name": "failing", "moment": moment})
    assert directory.state == "COMPLETE"
    notes = [event["text"] for event in directory.events.read() if event["event"] == "note"]
    assert any("tracker unreachable" in note for note in notes)
    assert sum(event["event"] == "step" for event in directory.events.read()) == 6


def test_csv_sink_holds_every_step(tmp_path: Path) -> None:
    directory = run(tmp_path, {"name": "csv"})
    [steps] = [path for path in directory.path.rglob("*.csv") if "step" in path.name]
    assert len(steps.read_text().splitlines()) == 1 + 6
