"""Which records of an evaluation count as the worst, and what a terminal shows of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from auscult.cli.evaluate import _table
from auscult.training.evaluate import Evaluation

SUMMARY: dict[str, Any] = {"metrics": {"si_sdri": 4.0}, "intervals": {"si_sdri": [3.0, 5.0]}, "protocol": {"over": "a test"}, "alarms": []}


def _mixture(name: str, gain: float | None) -> dict[str, Any]:
    spoken = {"speakers": ["anna", "bo"], "variant": "SER", "input_si_sdr": -2.5, "si_sdr": None if gain is None else gain - 2.5}
    return {"id": name, "si_sdri": gain, **spoken}


@pytest.fixture
def mixtures() -> Evaluation:
    gains = {"c": 7.0, "a": -1.5, "b": 7.0, "silent": None, "d": float("nan"), "e": 12.0}
    return Evaluation(Path("runs/one"), SUMMARY, [_mixture(*pair) for pair in gains.items()], [], Path("runs/one/listening/test.json"))


def test_the_mixtures_that_gained_least_come_first_and_those_without_a_gain_last(mixtures: Evaluation) -> None:
    assert [item["id"] for item in mixtures.worst(6)] == ["a", "b", "c", "e", "d", "silent"]
    assert [item["id"] for item in mixtures.worst(1)] == ["a"]


def test_other_records_keep_their_order() -> None:
    transcripts = [{"id": str(n), "substitutions": n, "insertions": 0, "deletions": 1} for n in range(3)]
    assert [item["id"] for item in Evaluation(Path("x"), {}, transcripts, []).worst()] == ["2", "1", "0"]
    trials = [
        {"id": "a", "target": True, "score": 0.1},
        {"id": "b", "target": False, "score": 0.9},
        {"id": "c", "target": True, "score": 0.9},
    ]
    assert [item["id"] for item in Evaluation(Path("x"), {}, trials, []).worst()] == ["b", "a", "c"]


def test_a_terminal_shows_who_was_mixed_and_what_was_gained(mixtures: Evaluation, capsys: pytest.CaptureFixture[str]) -> None:
    _table(mixtures, mixtures.worst(2), "test", "best")
    shown = capsys.readouterr().out
    assert "worst mixtures, by SI-SDR improvement in dB" in shown
    first = next(line for line in shown.splitlines() if line.startswith("a "))
    assert first.split() == ["a", "anna,", "bo", "SER", "-2.5", "-4", "-1.5"]
    assert "to listen to: runs/one/listening/test.json" in shown
