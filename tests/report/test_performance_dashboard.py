from collections.abc import Callable
from pathlib import Path

from auscult.report import performance_dashboard
from auscult.report.check_record import read_check
from auscult.report.figure import SMOKE, house_style


def test_summary_counts_what_truly_reached_the_threshold(check_builder: Callable[..., Path]) -> None:
    facts = dict(performance_dashboard.summary(read_check(check_builder(count=100, model="conv_ctc"))))
    assert facts["threshold reached"].startswith("98 of 100")
    assert facts["stopped by"] == "2 budget, 98 threshold"
    assert facts["batch independence"].startswith("passed")


def test_an_unfinished_check_has_no_verdict(check_builder: Callable[..., Path]) -> None:
    facts = dict(performance_dashboard.summary(read_check(check_builder(finished=False))))
    assert facts["verdict of the check"].startswith("not finished")
    assert facts["batch independence"] == "not run"


def test_r0_overfit_run_cannot_be_headlined(check_run: Path) -> None:
    check = read_check(check_run)
    with house_style():
        figure, tables = performance_dashboard.draw(check)
    texts = [text.get_text() for text in figure.texts] + [text.get_text() for axes in figure.axes for text in axes.texts]
    assert SMOKE in texts
    assert any("nothing here says how well the model recognises speech" in text for text in texts)
    said = " ".join([*texts, *(axes.get_title(loc="left") for axes in figure.axes)]).lower()
    assert not [word for word in ("production", "improvement", "99.9", "average", "best", "success") if word in said]
    assert not [row["what"] for row in tables["summary"] if row["what"].lower() in ("wer", "cer", "accuracy")]


def test_metrics_rows_state_loss_threshold_and_reason(check_run: Path) -> None:
    with house_style():
        _, tables = performance_dashboard.draw(read_check(check_run))
    row = tables["metrics"][0]
    assert row["last_loss"] < row["threshold"] == 0.001
    assert (row["stop_reason"], row["updates"]) == ("threshold", 77)
    assert row["uniform_loss"] > 4.5
