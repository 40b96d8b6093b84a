from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from auscult.report import learning_curves
from auscult.report.figure import house_style
from auscult.report.train_record import read_training


def test_refused_steps_and_the_kept_checkpoint_are_marked(training_run: Path) -> None:
    with house_style():
        figure, tables = learning_curves.draw(read_training(training_run))
    legend = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    assert "3 refused" in legend
    assert "resumed" in legend
    marked = [(row["update"], row["metric"]) for row in tables["validation"] if row["best_checkpoint"]]
    assert marked == [(1000, "wer"), (1000, "cer")]


def test_running_median_ignores_a_spike_and_unknown_values() -> None:
    values = np.ones(21)
    values[10], values[5] = 1e6, np.nan
    assert (learning_curves.running_median(values, 2) == 1.0).all()


def test_a_run_without_validation_says_not_run(training_builder: Callable[..., Path]) -> None:
    with house_style():
        figure, tables = learning_curves.draw(read_training(training_builder(judged=False, updates=20)))
    assert tables["validation"] == []
    assert "not run" in figure.axes[3].texts[0].get_text()


def test_a_long_run_is_thinned(training_builder: Callable[..., Path]) -> None:
    with house_style():
        _, tables = learning_curves.draw(read_training(training_builder(judged=False, updates=12_500)))
    assert len(tables["loss"]) <= learning_curves.MOST_POINTS * 1.5


def test_what_a_loss_logs_has_a_panel_and_costs_have_another(speakers: Any, tmp_path: Path) -> None:
    with house_style():
        figure, tables = learning_curves.draw(read_training(speakers.verification_run(tmp_path)))
    titles = [axes.get_title(loc="left") for axes in figure.axes]
    assert titles[4:] == ["e  Right answers on training batches", "f  Validation costs"]
    assert [row["value"] for row in tables["terms"]] == pytest.approx([0.1 * update for update in range(1, 9)])
    assert {row["metric"] for row in tables["costs"]} == {"min_dcf_p01", "min_cllr"}
    legend = [text.get_text() for text in figure.axes[3].get_legend().get_texts()]
    assert legend == ["EER, 3.8% at ★", "EER untrained"]


def test_parts_of_a_loss_are_not_drawn_as_shares(speakers: Any, tmp_path: Path) -> None:
    events = [{"event": "step", "update": update, "loss": 3.0, "softmax": 2.0, "batch_accuracy": 0.5} for update in range(1, 9)]
    with house_style():
        figure, tables = learning_curves.draw(read_training(speakers.verification_run(tmp_path, events=events)))
    assert {row["name"] for row in tables["terms"]} == {"batch_accuracy"}
    assert {row["name"] for row in tables["parts"]} == {"softmax"}
    assert figure.axes[4].get_ylim()[1] < 1.1


def test_theory_is_marked_where_the_loss_starts(speakers: Any, tmp_path: Path) -> None:
    event = {"event": "initial_loss", "update": 1, "loss": 5.0, "expected": 4.9, "formula": "ln 134", "holds": True}
    for holds, said in ((True, "theory at the start: 4.900"), (False, "theory at the start: 4.900, NOT the 5.000 found")):
        run = speakers.verification_run(tmp_path / str(holds), events=[{**event, "holds": holds}])
        with house_style():
            figure, _ = learning_curves.draw(read_training(run))
        assert said in [text.get_text() for text in figure.axes[0].get_legend().get_texts()]


def test_a_metric_nobody_knows_is_drawn_under_its_name(speakers: Any, tmp_path: Path) -> None:
    evaluated = {"event": "evaluation", "update": 8, "split": "validation", "metrics": {"strangeness": 0.5}}
    with house_style():
        figure, tables = learning_curves.draw(read_training(speakers.build_run(tmp_path, "other", {}, [evaluated])))
    assert [(row["metric"], row["value"]) for row in tables["validation"]] == [("strangeness", 0.5)]
    assert figure.axes[3].get_ylabel() == "strangeness"
