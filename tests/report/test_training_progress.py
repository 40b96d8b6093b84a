from pathlib import Path

import numpy as np

from auscult.report import training_progress
from auscult.report.check_record import read_check
from auscult.report.figure import house_style


def test_stability_band_finds_a_spike_and_passes_a_steady_fall() -> None:
    random = np.random.default_rng(0)
    updates = np.arange(1.0, 201.0)
    values = 1.3 - 2.0 * np.log10(updates) + 0.02 * random.standard_normal(200)
    values[50] += 0.5
    low, high = training_progress.stability_band(updates, values)
    outside = np.flatnonzero((values < low) | (values > high))
    assert 50 in outside
    assert len(outside) <= 0.06 * 200
    assert np.median(high - low) < 0.5


def test_stability_band_of_one_update_or_none_is_that_update_or_none() -> None:
    assert training_progress.stability_band(np.zeros(0), np.zeros(0))[0].size == 0
    assert training_progress.stability_band(np.ones(1), np.full(1, 7.0))[1].tolist() == [7.0]


def test_every_panel_has_rows_and_the_end_markers_carry_the_updates(check_run: Path) -> None:
    with house_style():
        figure, tables = training_progress.draw(read_check(check_run))
    assert all(tables.values())
    assert [row["updates"] for row in tables["efficiency"]] == [77, 42, 163]
    assert {"77", "42", "163"} <= {text.get_text() for text in figure.axes[0].texts}
    assert any("earlier log: 80, 77, 55" in text.get_text() for text in figure.axes[5].get_legend().get_texts())
