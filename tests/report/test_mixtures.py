"""Figure and page of judged mixtures: every number beside that of the unprocessed mixture, and nothing that went wrong left out."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from auscult.report import mixture_groups, mixtures_figure, mixtures_page, write_report
from auscult.report.figure import house_style
from auscult.report.item_kinds import MIXTURES, drawings, figure_name, kind_of
from auscult.report.train_record import Judged, Training, read_training


@pytest.fixture(scope="module")
def training(separations: Any, tmp_path_factory: pytest.TempPathFactory) -> Training:
    return read_training(separations.training_run(tmp_path_factory.mktemp("runs"), listening=False))


@pytest.fixture(scope="module")
def judged(training: Training) -> Judged:
    return training.judged[0]


def _plain(source: str) -> str:
    return " ".join(re.sub(r"<[^>]*>", " ", re.sub(r"<style>.*?</style>", "", source, flags=re.DOTALL)).split())


def _said(figure: Any) -> str:
    return "\n".join(text.get_text() for axes in figure.axes for text in [*axes.texts, *axes.get_yticklabels()])


def test_mixtures_are_told_by_what_they_hold(judged: Judged) -> None:
    assert kind_of(judged) is MIXTURES
    assert figure_name(judged) == "mixtures_test"
    assert list(drawings(judged)) == ["mixtures_test"]  # no sounds, no figure of them
    without = tuple({key: value for key, value in item.items() if key != "source_si_sdr"} for item in judged.items)
    assert kind_of(replace(judged, items=without)) is not MIXTURES


def test_groups_hold_what_was_there_before(judged: Judged) -> None:
    groups = {group.name: group for group in mixture_groups.by_variant(judged)}
    assert list(groups) == ["all", "SER", "SE", "C"]  # the fullest first, the clean one last
    assert groups["C"].before == pytest.approx(0.0)
    assert groups["SER"].before < -5
    for group in groups.values():
        assert group.after - group.before == pytest.approx(group.gain)
        assert group.low < group.gain < group.high
    assert [group.failed for group in groups.values()] == [2, 2, 0, 0]
    assert (groups["all"].low, groups["all"].high) == tuple(judged.summary["intervals"]["si_sdri"])  # the task's own, not another
    assert groups["all"].count == sum(groups[name].count for name in ("SER", "SE", "C"))


def test_a_speaker_is_judged_by_their_own_source(judged: Judged) -> None:
    voices = mixture_groups.by_speaker(judged.items)
    assert voices[0].speaker == "v3"  # whose sources gain 4 dB less than whatever they are mixed with
    assert voices[1].gain - voices[0].gain > 2
    assert sum(voice.sources for voice in voices) == 2 * len(judged.items)
    nameless = [{**item, "speakers": ["unknown", "unknown"]} for item in judged.items]
    assert mixture_groups.by_speaker(nameless) == []


def test_groups_by_level_are_ordered_and_lose_nothing(judged: Judged) -> None:
    groups = mixture_groups.by_level(judged.items)
    assert len(groups) >= 3
    assert [group.before for group in groups] == sorted(group.before for group in groups)
    assert sum(group.count for group in groups) == len(judged.items)
    assert mixture_groups.by_level(judged.items[:9]) == []
    flat = [{**item, "input_si_sdr": 0.0} for item in judged.items]
    assert [group.count for group in mixture_groups.by_level(flat)] == [len(flat)]


def test_a_mixture_of_silent_sources_is_counted_apart(judged: Judged) -> None:
    silent = {**judged.items[0], "id": "silent", "si_sdri": None, "si_sdr": float("nan"), "input_si_sdr": None, "silent": [0, 1]}
    more = replace(judged, items=(*judged.items, silent))
    assert mixture_groups.by_variant(more)[0].count == len(judged.items)
    assert "1 mixtures without a level" in _plain(mixtures_page.beside(more))
    assert "silent" not in _plain(mixtures_page.worst(more)).split()
    only = replace(judged, items=(silent,))
    assert "no mixture has a level" in mixtures_page.beside(only)
    assert "no mixture has a level" in mixtures_page.worst(only)


def test_every_panel_stands_beside_the_mixture_itself(training: Training, judged: Judged) -> None:
    with house_style():
        figure, tables = mixtures_figure.draw(training, judged)
    assert all(tables.values())
    assert sum(row["mixtures"] for row in tables["gains"]) == len(judged.items)
    assert any(row["to"] == 0.0 for row in tables["gains"])  # no bar holds both better and worse
    assert sum(row["mixtures"] for row in tables["gains"] if row["to"] <= 0) == 2
    said = _said(figure)
    assert "2 of 72 below 0 dB (2.8%)" in said
    assert "one speaker twice: 3" in said
    assert "below the line: worse than the mixture" in said
    assert "SER (24)" in said
    assert {row["variant"]: row["mixture_si_sdr"] for row in tables["levels"]}["C"] == pytest.approx(0.0)


@pytest.mark.parametrize("items", ["none", "one", "one variant", "all worse"])
def test_small_and_bad_results_are_drawn_too(training: Training, judged: Judged, items: str) -> None:
    chosen = {
        "none": (), "one": judged.items[:1], "one variant": tuple(item for item in judged.items if item["variant"] == "C"),
        "all worse": tuple({**item, "si_sdri": -9.0, "si_sdr": item["input_si_sdr"] - 9.0} for item in judged.items),
    }[items]  # fmt: skip
    with house_style():
        figure, tables = mixtures_figure.draw(training, replace(judged, items=chosen, summary={}))
        figure.draw_without_rendering()
    drawn = [row["mixtures"] for row in tables["by_variant"]]
    assert drawn == {"none": [], "one": [1], "one variant": [24], "all worse": [72, 24, 24, 24]}[items]
    if items == "all worse":
        assert all(np.isfinite(figure.axes[0].get_xlim()))
        assert figure.axes[0].get_xlim()[0] < -9 < 0 < figure.axes[0].get_xlim()[1]


def test_an_alarm_is_part_of_the_picture(training: Training, judged: Judged) -> None:
    warned = replace(judged, summary={**judged.summary, "alarms": ["si_sdri 0.1 is no improvement"]})
    with house_style():
        figure, _ = mixtures_figure.draw(training, warned)
    assert "ALARM: si_sdri" in _said(figure)


def test_the_page_shows_variants_beside_doing_nothing(training: Training, judged: Judged, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("auscult.report.html.draw_training", lambda run: [])
    text = _plain(write_report(training.run.path).read_text())
    group = mixture_groups.by_variant(judged)[1]
    assert f"test SER {group.before:.2f} {group.after:.2f} +{group.gain:.2f} {group.low:.2f} to {group.high:.2f}" in text
    assert "Doing nothing is an improvement of 0 dB" in text
    assert "STOI 0.600 0.800 +0.200 72" in text
    metrics = judged.summary["metrics"]
    assert f"test si_sdri {metrics['si_sdri']:.2f} dB {metrics['si_sdri'] - 0.7:.2f} dB to" in text
    assert "failure_rate 2.78%" in text
    assert "test mixtures 72 no interval" in text
    assert "Listen:" not in text


def test_the_worst_mixtures_come_first_with_speakers_and_levels(judged: Judged, separations: Any) -> None:
    text = _plain(mixtures_page.worst(judged))
    places = [text.index(name) for name in separations.FAILED]
    assert places[1] < places[0]  # row13 is worse than row07
    assert all(place < text.index("row00@") for place in places if "row00@" in text)
    assert "2 of 72 mixtures are worse than before" in text
    row = next(item for item in judged.items if item["id"] == separations.FAILED[0])
    assert f"row07@SER SER {' + '.join(row['speakers'])} {row['input_si_sdr']:.2f} {row['si_sdr']:.2f} {row['si_sdri']:.2f}" in text
    assert "not kept" in text
    twice = replace(judged, items=tuple(item for item in judged.items if item["same_speaker"]))
    assert "(one speaker twice)" in mixtures_page.worst(twice)


def test_markup_in_names_stays_text(judged: Judged) -> None:
    odd = replace(judged, items=tuple({**item, "id": "<i>x", "speakers": ["<b>", "&"]} for item in judged.items[:1]))
    assert "<i>" not in mixtures_page.worst(odd)
    assert "&lt;b&gt; + &amp;" in mixtures_page.worst(odd)


def test_learning_curves_show_levels_beside_the_mixture(training: Training, tmp_path: Path) -> None:
    from auscult.report import learning_curves

    with house_style():
        figure, tables = learning_curves.draw(training)
    assert [row["metric"] for row in tables["validation"]].count("si_sdri") == 6
    loss, validation = figure.axes[0], figure.axes[3]
    assert loss.get_yscale() == "linear"
    assert validation.get_ylim()[0] < -2.0
    assert "SI-SDR of the mixture" in [text.get_text() for text in validation.get_legend().get_texts()]
