import json
import re
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from pathlib import Path

import pytest

from auscult.errors import UserError
from auscult.report import data_flow, draw_check, draw_training, write_report
from auscult.report.html_parts import escape, table, transcripts

VOID = {"meta", "img", "br", "link"}


class _Balance(HTMLParser):
    """Fails on tags that do not close in order, and collects visible text."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: object) -> None:
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style":
            self.text.append(data)


def _text(path: Path) -> str:
    parser = _Balance()
    parser.feed(path.read_text(encoding="utf-8"))
    assert parser.open == []
    return " ".join(" ".join(parser.text).split())


@pytest.fixture(scope="module", autouse=True)
def _quick_drawing() -> Iterator[None]:
    """Draw small PNGs only: these tests are about the page."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("auscult.report.figure.DOTS_PER_INCH", 40)
        patch.setattr("auscult.report.html.draw_check", lambda run: draw_check(run, formats=("png",)))
        patch.setattr("auscult.report.html.draw_training", lambda run: draw_training(run, formats=("png",)))
        yield


@pytest.fixture
def _one_figure(monkeypatch: pytest.MonkeyPatch) -> None:
    only = {"data_flow": data_flow.draw}
    monkeypatch.setattr("auscult.report.draw.CHECK_FIGURES", only)
    monkeypatch.setattr("auscult.report.html.CHECK_FIGURES", only)


@pytest.fixture(scope="module")
def check_page(check_run: Path) -> Path:
    return write_report(check_run)


@pytest.fixture(scope="module")
def training_page(training_run: Path) -> Path:
    return write_report(training_run)


@pytest.mark.parametrize("which", ["check_page", "training_page"])
def test_page_is_one_file_without_scripts_or_network(which: str, request: pytest.FixtureRequest) -> None:
    source = request.getfixturevalue(which).read_text(encoding="utf-8")
    assert not re.search(r"<script|https?://|url\(|<link|@import", source)
    assert all(address.startswith("data:image/") for address in re.findall(r'src="([^"]{0,20})', source))
    assert "prefers-color-scheme:dark" in source
    assert "@media print" in source
    assert len(source) < 3_000_000


def test_r0_overfit_run_cannot_be_headlined(check_page: Path) -> None:
    text = _text(check_page)
    assert text.index("Smoke run: memorised, not a result") < text.index("Verdict")
    assert "no utterance was held out" in text
    assert not re.search(r"production|improvement|accuracy|state of the art|99\.9|success", text, re.IGNORECASE)
    assert "Results" not in text


def test_check_page_shows_true_losses_beside_the_baseline_and_the_earlier_log(check_page: Path) -> None:
    text = _text(check_page)
    assert "4.5143" in text
    assert "0.000950" in text
    assert "earlier log, updates" in text
    assert "don't be angry mister holmes" in text
    assert check_page.read_text().count("data:image/") == 5


def test_training_page_shows_intervals_protocol_baselines_and_refusals(training_page: Path, training_run: Path) -> None:
    text = _text(training_page)
    summary = json.loads((training_run / "summary" / "test.json").read_text())
    low, high = summary["intervals"]["wer"]
    assert f"{summary['metrics']['wer']:.2%} {low:.2%} to {high:.2%}" in text
    assert "decoder: greedy" in text
    assert "an empty transcript for every utterance 100.00%" in text
    assert "Refused steps: 3." in text
    assert "150 gradient skip utt-9" in text
    assert "the checkpoint was chosen there" in text
    assert "aaaaaaaaaaaaaaaa" in text  # recipe hash


def test_worst_utterances_come_first(training_page: Path) -> None:
    source = training_page.read_text().split("Worst utterances of test")[1]
    counts = [sum(map(int, row)) for row in re.findall(r"<td>(\d+)</td><td>(\d+)</td><td>(\d+)</td><td>\d+</td></tr>", source)]
    assert len(counts) == 30
    assert counts == sorted(counts, reverse=True)


def test_what_was_not_run_is_said_to_be_not_run(training_builder: Callable[..., Path]) -> None:
    text = _text(write_report(training_builder(judged=False, updates=20)))
    assert "validation not run" in text
    assert "test not run" in text
    assert "no split has been judged" in text
    assert "Nothing about accuracy yet" in text
    assert "the run is QUEUED" in text


@pytest.mark.usefixtures("_one_figure")
def test_report_is_redrawn_only_when_the_log_grew(check_builder: Callable[..., Path]) -> None:
    run = check_builder(count=1, model="conv_ctc")
    write_report(run)
    picture = run / "figures" / "data_flow.png"
    drawn = picture.stat().st_mtime_ns
    write_report(run)
    assert picture.stat().st_mtime_ns == drawn
    with (run / "events.jsonl").open("a") as log:
        log.write(json.dumps({"event": "end", "time": 0, "state": "COMPLETE", "verdict": "failed", "reasons": ["too slow"]}) + "\n")
    text = _text(write_report(run))
    assert "failed; too slow" in text
    assert "training_progress.png: not drawn" in text
    assert picture.stat().st_mtime_ns > drawn


@pytest.mark.usefixtures("_one_figure")
def test_text_from_the_store_cannot_become_markup(check_builder: Callable[..., Path]) -> None:
    run = check_builder(count=1, model="conv_ctc")
    log = run / "events.jsonl"
    log.write_text(log.read_text().replace("2277-149896-0012", "<img src=x onerror=alert(1)>").replace("angry", "<b>&angry"))
    source = write_report(run).read_text()
    assert "<img src=x" not in source
    assert "<b>&angry" not in source
    assert "&lt;img src=x" in source


def test_a_run_without_events_is_a_user_error(check_builder: Callable[..., Path]) -> None:
    run = check_builder(count=1)
    (run / "events.jsonl").unlink()
    with pytest.raises(UserError, match="nothing to report yet"):
        write_report(run)


def test_marks_of_each_kind() -> None:
    assert transcripts("a b c", "a c d") == "a <del>b</del> c <ins>d</ins>"
    assert transcripts("", "<x>") == "<ins>&lt;x&gt;</ins>"
    assert transcripts("a", "a") == "a"


def test_table_escapes_plain_columns_only() -> None:
    assert "<td>&lt;i&gt;</td>" in table(("a", "b"), [("<i>", "<b>x</b>")], markup=(1,))
    assert '<td class="text"><b>x</b></td>' in table(("a", "b"), [("<i>", "<b>x</b>")], markup=(1,))
    assert escape('"<&') == "&quot;&lt;&amp;"
