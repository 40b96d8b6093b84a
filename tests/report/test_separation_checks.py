"""The five figures and the page of a check of separation, whose losses are levels in dB that pass through 0."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure

from auscult.report import data_flow, performance_dashboard, spectrogram_analysis, training_progress, write_report
from auscult.report.check_record import Check, read_check
from auscult.report.check_words import words_of
from auscult.report.figure import house_style
from auscult.report.spectrogram_sources import level, nearest

Draw = Callable[[Check], tuple[Figure, dict[str, Any]]]


@pytest.fixture(scope="module")
def check(separations: Any, tmp_path_factory: pytest.TempPathFactory) -> Check:
    return read_check(separations.check_run(tmp_path_factory.mktemp("check")))


@pytest.fixture(scope="module")
def crowd(separations: Any, tmp_path_factory: pytest.TempPathFactory) -> Check:
    return read_check(separations.check_run(tmp_path_factory.mktemp("crowd"), count=20, arrays=False))


def _drawn(draw: Draw, check: Check) -> tuple[Figure, dict[str, Any]]:
    with house_style():
        return draw(check)


def _said(figure: Figure) -> str:
    parts = [text.get_text() for text in figure.texts]
    for axes in figure.axes:
        parts += [axes.get_title(loc="left"), axes.get_xlabel(), axes.get_ylabel(), *(text.get_text() for text in axes.texts)]
    return "\n".join(parts)


def test_a_threshold_below_0_is_reached_from_above(check: Check, crowd: Check) -> None:
    assert check.signed
    assert [one.reached for one in check.utterances] == [True, False, True]
    assert dict(performance_dashboard.summary(crowd))["threshold reached"].startswith("13 of 20")


def test_losses_of_other_tasks_keep_their_logarithms(check_run: Path) -> None:
    plain = read_check(check_run)
    assert not plain.signed
    figure, _ = _drawn(training_progress.draw, plain)
    assert figure.axes[0].get_yscale() == "log"


@pytest.mark.parametrize("which", ["check", "crowd"])
def test_every_loss_is_on_the_axis_also_below_0(which: str, request: pytest.FixtureRequest) -> None:
    found: Check = request.getfixturevalue(which)
    figure, tables = _drawn(training_progress.draw, found)
    loss, correlation = figure.axes[0], figure.axes[4]
    assert loss.get_yscale() == correlation.get_xscale() == "linear"
    low, high = loss.get_ylim()
    lasts = [float(one.result("loss")) for one in found.utterances]
    assert low < min(lasts) < 0 < high
    assert any(line.get_ydata()[0] == -10.0 for line in loss.lines)  # the threshold
    key = "loss" if which == "check" else "median"
    assert min(row[key] for row in tables["loss"]) < -9
    assert all(np.isfinite(row[key]) for row in tables["loss"])


def test_measures_below_0_are_not_cut_off(check: Check) -> None:
    figure, tables = _drawn(training_progress.draw, check)
    assert min(row["si_sdri"] for row in tables["si_sdri"] if np.isfinite(row["si_sdri"])) < -5
    assert figure.axes[2].get_ylim()[0] < -5


@pytest.mark.parametrize("which", ["check", "crowd"])
@pytest.mark.parametrize("draw", [training_progress.draw, spectrogram_analysis.draw, data_flow.draw, performance_dashboard.draw])
def test_nothing_is_said_in_the_words_of_another_task(draw: Draw, which: str, request: pytest.FixtureRequest) -> None:
    figure, _ = _drawn(draw, request.getfixturevalue(which))
    assert not re.search(r"nats|CTC|symbol|transcript|utterance|mel band|log10 of the last", _said(figure))


def test_the_dashboard_shows_losses_in_db(check: Check, crowd: Check) -> None:
    figure, tables = _drawn(performance_dashboard.draw, check)
    said = _said(figure)
    assert "loss in dB per mixture" in said
    assert "-3.99" in said
    assert "theory" not in said
    assert [row["reached"] for row in tables["convergence"]] == [True, False, True]
    crowded, _ = _drawn(performance_dashboard.draw, crowd)
    low, high = crowded.axes[1].get_xlim()
    assert low < -10 < high  # all last losses, not the logarithms of those above 0
    assert "median -10" in _said(crowded)


def test_the_way_of_the_data_goes_from_samples_to_sources(check: Check) -> None:
    stages = data_flow.pipeline(check)
    assert [stage[0].split("\n")[0] for stage in stages] == ["samples", "encoder", "sources"]
    assert stages[0][1:] == ("32,000", "8,000 Hz")
    assert stages[2][1] == "2 signals"
    _, tables = _drawn(data_flow.draw, check)
    assert set(tables) == {"pipeline", "samples", "input_si_sdr", "si_sdri"}


def test_every_source_stands_above_its_estimate(check: Check) -> None:
    figure, tables = _drawn(spectrogram_analysis.draw, check)
    assert len(figure.axes) == 15
    rows = tables["estimates"]
    assert [(row["mixture"], row["source"]) for row in rows] == [(f"row{one:02d}@C", number) for one in range(3) for number in (1, 2)]
    # 0.5 of the other voice leaks in the second mixture, 0.1 in the others: 14 dB between them
    assert rows[0]["si_sdr"] - rows[2]["si_sdr"] == pytest.approx(14.0, abs=1.5)
    assert rows[0]["estimate_db"] - rows[0]["source_db"] == pytest.approx(17.0, abs=0.5)  # stored seven times as loud


def test_an_estimate_is_drawn_at_its_best_gain() -> None:
    random = np.random.default_rng(0)
    source, noise = random.standard_normal(8000), random.standard_normal(8000)
    noise -= source * (noise @ source) / (source @ source)
    shown, distance = nearest(source, -40.0 * (source + 0.1 * noise) + 3.0)
    assert distance == pytest.approx(20.0, abs=0.2)
    assert level(shown) == pytest.approx(level(source - source.mean()), abs=0.1)
    wrong, far = nearest(source, noise)
    assert level(wrong) < level(source) - 30
    assert far < -30
    assert nearest(source, np.zeros(8000))[1] == -np.inf


def test_arrays_of_a_silent_source_are_drawn(separations: Any, tmp_path: Path) -> None:
    run = separations.check_run(tmp_path, count=1)
    path = run / "arrays" / "0.npz"
    with np.load(path) as held:
        kept = dict(held)
    kept["sources"][1] = 0.0
    np.savez(path, **kept)
    figure, tables = _drawn(spectrogram_analysis.draw, read_check(run))
    assert "silent" in _said(figure)
    assert tables["estimates"][1]["si_sdr"] is None


def test_the_page_of_a_check_states_db(check: Check, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("auscult.report.html.draw_check", lambda run: [])
    source = write_report(check.run.path).read_text()
    text = " ".join(re.sub(r"<[^>]*>", " ", re.sub(r"<style>.*?</style>", "", source, flags=re.DOTALL)).split())
    assert "Fresh weights were driven to a loss per mixture below -10 on 2 of 3 single mixtures." in text
    assert "Loss in dB per mixture." in text
    assert "nats" not in text
    assert text.split("Outputs")[1].index("2 · row01@C no 3.99") < text.split("Outputs")[1].index("1 · row00@C yes")
    assert words_of(check).quality in text
