import numpy as np
import pytest
from matplotlib.figure import Figure

from auscult.report.panels import CROWD, Line, draw_distribution, draw_lines, line_style, log_scale, rank_correlation, shorten


def _lines(count: int) -> list[Line]:
    return [Line(f"{n}", np.arange(1.0, 4.0 + n % 2), np.full(3 + n % 2, float(n))) for n in range(count)]


def test_few_lines_are_drawn_one_by_one_with_every_point_in_the_rows() -> None:
    axes = Figure().subplots()
    rows = draw_lines(axes, _lines(3), "loss")
    assert len(axes.lines) == 3
    assert len(rows) == 10
    assert rows[0] == {"utterance": "0", "update": 1, "loss": 0.0}


def test_many_lines_become_quantiles_over_those_still_running() -> None:
    axes = Figure().subplots()
    rows = draw_lines(axes, _lines(101), "loss")
    assert len(axes.lines) == 1
    assert [row["utterances_running"] for row in rows] == [101, 101, 101, 50]
    assert (rows[0]["least"], rows[0]["median"], rows[0]["most"]) == (0.0, 50.0, 100.0)


def test_a_crowd_without_a_single_number_draws_nothing() -> None:
    empty = [Line(f"{n}", np.array([1.0]), np.array([np.nan])) for n in range(CROWD + 1)]
    assert draw_lines(Figure().subplots(), empty, "cer") == []


def test_twelve_line_styles_differ() -> None:
    assert len({str(line_style(position)) for position in range(CROWD)}) == CROWD


def test_histogram_counts_every_value_once() -> None:
    values = np.random.default_rng(0).integers(0, 500, 3000).astype(float)
    rows = draw_distribution(Figure().subplots(), [str(n) for n in range(3000)], values, "frames")
    assert sum(row["utterances"] for row in rows) == 3000


@pytest.mark.parametrize("value", [0.0, 7.0, 1.4285714285714286, -3.25])
def test_histogram_of_equal_values_has_a_visible_bar(value: float) -> None:
    values = np.full(50, value)
    values[0] = np.nextafter(value, 10.0)
    rows = draw_distribution(Figure().subplots(), [str(n) for n in range(50)], values, "x")
    assert sum(row["utterances"] for row in rows) == 50


def test_unknown_values_are_counted_not_drawn_as_zero() -> None:
    axes = Figure().subplots()
    draw_distribution(axes, ["1 · a", "2 · b"], np.array([np.nan, 2.0]), "frames")
    assert "1 not known" in axes.get_xlabel()
    assert "not known" in [text.get_text() for text in axes.texts]


def test_rank_correlation_with_ties_matches_the_definition() -> None:
    x, y = np.array([1.0, 2.0, 2.0, 4.0]), np.array([4.0, 3.0, 1.0, 1.0])
    ranks_x, ranks_y = np.array([1.0, 2.5, 2.5, 4.0]), np.array([4.0, 3.0, 1.5, 1.5])
    assert rank_correlation(x, y) == pytest.approx(np.corrcoef(ranks_x, ranks_y)[0, 1])


def test_rank_correlation_is_unknown_without_spread_or_pairs() -> None:
    assert np.isnan(rank_correlation(np.array([1.0, 1.0, 1.0]), np.array([1.0, 2.0, 3.0])))
    assert np.isnan(rank_correlation(np.array([1.0, np.nan, 2.0]), np.array([1.0, 2.0, np.nan])))


def test_shorten_keeps_both_ends() -> None:
    assert shorten("abc", 3) == "abc"
    assert shorten("abcdefgh", 5) == "ab…gh"


def test_log_scale_needs_a_positive_number() -> None:
    axes = Figure().subplots()
    log_scale(axes, "y", np.array([np.nan, 0.0, -1.0]), np.nan)
    assert axes.get_yscale() == "linear"
    log_scale(axes, "y", np.array([np.nan]), 0.001)
    assert axes.get_yscale() == "log"
