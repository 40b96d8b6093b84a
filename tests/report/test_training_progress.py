from pathlib import Path

import numpy as np

from auscult.report import training_progress
from auscult.report.check_record import read_check
from auscult.report.figure import house_style


def test_stability_band_finds_a_spike_and_passes_a_steady_trend() -> None:
    random = np.random.default_rng(0)
    values = -0.02 * np.arange(100) + 0.05 * random.standard_normal(100)
    values[50] += 1.0
    low, high = training_progress.stability_band(values)
    outside = np.flatnonzero((values < low) | (values > high))
    assert 50 in outside
    assert len(outside) <= 8


def test_stability_band_of_nothing_is_nothing() -> None:
    low, high = training_progress.stability_band(np.zeros(0))
    assert low.size == high.size == 0


def test_every_panel_has_rows_and_the_end_markers_carry_the_updates(check_run: Path) -> None:
    with house_style():
        figure, tables = training_progress.draw(read_check(check_run))
    assert all(tables.values())
    assert [row["updates"] for row in tables["efficiency"]] == [77, 42, 163]
    assert {"77", "42", "163"} <= {text.get_text() for text in figure.axes[0].texts}
    assert any("R0 log" in text.get_text() for text in figure.axes[5].get_legend().get_texts())
