from collections.abc import Callable
from pathlib import Path

import pytest

from auscult.report import spectrogram_analysis
from auscult.report.check_record import read_check
from auscult.report.figure import house_style


def test_time_axes_agree_within_a_column(check_run: Path) -> None:
    with house_style():
        figure, _ = spectrogram_analysis.draw(read_check(check_run))
    for column in range(3):
        for axes in figure.axes[column::3]:
            assert axes.get_xlim() == pytest.approx((0.0, [2.22, 2.44, 2.12][column]))


def test_output_frames_lie_inside_the_input() -> None:
    times = spectrogram_analysis.output_times(112, 51, 0.02, 0.04)
    assert times[0] > 0
    assert times[-1] < 111 * 0.02
    assert times[1] - times[0] == pytest.approx(0.04)


def test_targets_spell_the_reference_in_order_of_time(check_run: Path) -> None:
    with house_style():
        _, tables = spectrogram_analysis.draw(read_check(check_run))
    rows = [row for row in tables["targets"] if row["utterance"] == "3536-8226-0004"]
    assert "".join(row["symbol"] for row in rows) == "what a lovely morning"
    assert [row["seconds"] for row in rows] == sorted(row["seconds"] for row in rows)


def test_of_many_the_shortest_middle_and_longest_are_shown(check_builder: Callable[..., Path]) -> None:
    check = read_check(check_builder(count=20, model="conv_ctc"))
    shown = [utterance.number_of("input_frames") for utterance, _ in spectrogram_analysis.choose(check)]
    stored = sorted(utterance.number_of("input_frames") for utterance in check.utterances[:5])
    assert shown == [stored[0], stored[2], stored[4]]


def test_a_run_without_arrays_says_so(check_builder: Callable[..., Path]) -> None:
    run = check_builder(count=1)
    (run / "arrays" / "0.npz").unlink()
    with house_style():
        figure, _ = spectrogram_analysis.draw(read_check(run))
    assert "no arrays were stored" in figure.axes[0].texts[0].get_text()
