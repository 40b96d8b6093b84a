"""Figures of sweeps: what is drawn stands in the tables, whatever axes there are and whatever is missing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure

from auscult.report.figure import house_style
from auscult.report.sweep_figure import FLOOR, MOST_SETTINGS, TOP, draw_curves, draw_map
from auscult.report.sweep_record import SweepRun, context, defence
from auscult.runs.directory import RunDirectory


def estimate(value: float) -> dict[str, float]:
    return {"value": value, "low": value - 1, "high": value + 1}


def cell(labels: dict[str, str], snr: float | None = 10.0, fall: float = 0.9, state: str = "done", gave_up: int = 0) -> dict[str, Any]:
    family, _, strength = labels.get("defence", "none").partition(" ")
    row: dict[str, Any] = {
        "id": ", ".join(labels.values()), "labels": labels, "defence": {"family": family, "strength": strength}, "state": state,
        "runs": [], "failures": [],
    }  # fmt: skip
    if state != "done":
        return row
    features = {} if snr is None else {"attack": {"snr": estimate(snr)}, "random_other": {"snr": estimate(-3.0)}}
    utility = {"loss_fall": estimate(fall), "cosine": estimate(0.5)}
    return {**row, "scores": features, "utility": utility, "utterances": 4, "gave_up": {"messages": gave_up, "of": 4, "reasons": {}}}


def sweep(cells: list[dict[str, Any]]) -> SweepRun:
    start = {"recipe": {"attack": {"name": "first_layer_span"}}, "model": "deepspeech1"}
    return SweepRun(RunDirectory(Path("nowhere")), start, {"seeds": [0]}, tuple(cells), {})


def texts(figure: Figure) -> list[str]:
    return [text.get_text() for axes in figure.axes for text in axes.texts]


DEFENCES = ("none", "gaussian_noise sigma 0.001", "gaussian_noise sigma 0.1", "sign")


def test_curves_show_the_settings_that_give_most_away_and_end_at_their_limits() -> None:
    made = [
        cell({"utterances.seconds": f"{place}", "defence": name}, snr=200.0 * place - 400, fall=1.2 - 0.3 * number)
        for place in range(MOST_SETTINGS + 1)
        for number, name in enumerate(DEFENCES)
    ]
    with house_style():
        figure, tables = draw_curves(sweep(made))
    assert {row["setting"] for row in tables["curves"]} == {"seconds 1", "seconds 2", "seconds 3"}
    assert len(tables["curves"]) == 2 * MOST_SETTINGS * len(DEFENCES)
    assert f"the {MOST_SETTINGS} of {MOST_SETTINGS + 1} settings" in figure.texts[1].get_text()
    heights = np.concatenate([line.get_ydata() for axes in figure.axes for line in axes.lines if len(line.get_ydata()) > 1])
    assert FLOOR <= heights.min() <= heights.max() <= TOP
    assert {row["snr"] for row in tables["curves"]} == {-200.0, 0.0, 200.0}, "the table keeps what the figure cuts"
    noise = [row["is"] for row in tables["curves"] if row["defence"].startswith("gaussian") and row["cost"] == "loss_fall"]
    assert noise[:2] == sorted(noise[:2])
    assert {"0.001", "0.1"} <= set(texts(figure))
    assert [text.get_text() for text in figure.legends[0].texts].count("gaussian_noise (sigma)") == 1


@pytest.mark.parametrize("cells", [[], [cell({"defence": "none"})], [cell({"leak.batch": "1"}), cell({"leak.batch": "2"})]])
def test_curves_need_two_defences(cells: list[dict[str, Any]]) -> None:
    with house_style():
        figure, tables = draw_curves(sweep(cells))
    assert tables == {"curves": []}
    assert "nothing to compare" in texts(figure)[0]


def test_the_map_says_what_gave_up_failed_or_is_to_come() -> None:
    made = [
        cell({"leak.batch": "1", "defence": "none"}, snr=99.96), cell({"leak.batch": "1", "defence": "sign"}, snr=-0.01, gave_up=3),
        cell({"leak.batch": "4", "defence": "none"}, state="failed"), cell({"leak.batch": "4", "defence": "sign"}, state="pending"),
    ]  # fmt: skip
    with house_style():
        figure, tables = draw_map(sweep(made))
    assert texts(figure) == ["100.0", "0.0   × 3/4", "failed", "pending"]
    assert [row["gave_up"] for row in tables["map"]] == ["0 of 4", "3 of 4", "", ""]
    axes = figure.axes[0]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["batch 1", "batch 4"]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["none", "sign"]


def test_a_map_without_defences_has_the_last_axis_down() -> None:
    made = [cell({"utterances.seconds": seconds, "leak.batch": batch}) for seconds in ("1", "2", "3") for batch in ("1", "4")]
    with house_style():
        figure, _ = draw_map(sweep(made))
    axes = figure.axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["batch 1", "batch 4"]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["seconds 1", "seconds 2", "seconds 3"]


def test_an_attack_without_features_has_no_map() -> None:
    with house_style():
        figure, tables = draw_map(sweep([cell({"leak.batch": "1"}, snr=None)]))
    assert tables == {"map": []}
    assert "no cell with features" in texts(figure)[0]


def test_words_of_a_cell() -> None:
    row = cell({"leak.batch": "4", "defence.0.sigma": "0.1", "defence": "gaussian_noise sigma 0.1"})
    assert context(row) == "batch 4"
    assert defence(row) == "gaussian_noise sigma 0.1"
