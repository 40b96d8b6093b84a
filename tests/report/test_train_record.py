import json
import math
from collections.abc import Callable
from pathlib import Path

import pytest

from auscult.errors import UserError
from auscult.report.train_record import read_training


def test_curves_metrics_and_splits_come_from_the_store(training_run: Path) -> None:
    training = read_training(training_run)
    assert len(training.steps["loss"]) == 1197
    assert training.best_update == 1000
    updates, values = training.metric("wer")
    assert updates.tolist() == list(range(100, 1300, 100))
    assert values[0] > values[-1]
    assert [judged.split for judged in training.judged] == ["validation", "test"]
    assert len(training.refused) == 3


def test_an_update_logged_twice_counts_once_with_its_later_value(training_builder: Callable[..., Path]) -> None:
    run = training_builder(judged=False, updates=20)
    with (run / "events.jsonl").open("a") as log:
        log.write(json.dumps({"event": "step", "time": 0, "update": 20, "loss": 9.0}) + "\n")
    training = read_training(run)
    assert training.steps["update"].tolist() == list(range(1, 21))
    assert training.steps["loss"][-1] == 9.0
    assert math.isnan(training.steps["lr"][-1])


def test_an_unjudged_run_has_no_splits_and_no_best(training_builder: Callable[..., Path]) -> None:
    training = read_training(training_builder(judged=False, updates=20))
    assert training.judged == ()
    assert math.isnan(training.best_update)


def test_a_check_is_not_a_training_run(check_run: Path) -> None:
    with pytest.raises(UserError, match="expected a run of `auscult train`"):
        read_training(check_run)
