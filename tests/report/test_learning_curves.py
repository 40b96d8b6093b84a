from collections.abc import Callable
from pathlib import Path

import numpy as np

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
