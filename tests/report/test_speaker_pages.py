"""Pages of verification and diarization runs, and of tasks that nobody has written a page for."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from auscult.report import draw_training, write_report
from auscult.report.train_record import read_training
from auscult.runs.directory import RunDirectory

SYSTEMS = {
    name: {**{f"der_{protocol}": rate for protocol in ("full", "fair", "forgiving")}, "miss_full": 0.1, "false_alarm_full": 0.05,
           "confusion_full": 0.02, "jer": 0.3}
    for name, rate in (("system", 0.17), ("one speaker everywhere", 0.86), ("all silence", 1.0))
}  # fmt: skip


@pytest.fixture(autouse=True)
def _undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Draw nothing: these tests are about words."""
    monkeypatch.setattr("auscult.report.html.draw_training", lambda run: [])


def _text(page: Path) -> str:
    source = re.sub(r"<style>.*?</style>", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    return " ".join(re.sub(r"<[^>]*>", " ", source).split())


def _recordings(run: Path, **changes: Any) -> None:
    files = {"a": {**SYSTEMS["system"], "speakers_found": 3, "speakers_reference": 4}, "<b>": {**SYSTEMS["all silence"], "jer": None}}
    found = {"systems": SYSTEMS, "per_file": files, "protocol": ["full: no collar", "regions: UEM"], "real_time_factor": 0.01, "notes": []}
    RunDirectory.open(run).write_summary("recordings", {**found, "checkpoint": "best", "figures": [], **changes})


def test_alarms_stand_before_the_first_number(speakers: Any, tmp_path: Path) -> None:
    page = write_report(speakers.verification_run(tmp_path, alarms=[speakers.ALARM, "<i>another</i>"]))
    text = _text(page)
    assert text.index(f"ALARM, test: {speakers.ALARM}") < text.index("Results")
    assert page.read_text().count('<p class="banner">ALARM') == 2
    assert "<i>another" not in page.read_text()


def test_a_run_without_alarms_has_no_banner(speakers: Any, tmp_path: Path) -> None:
    assert "banner" not in write_report(speakers.verification_run(tmp_path)).read_text().split("</style>")[1]


def test_a_first_loss_beside_theory_is_said_and_one_off_theory_is_an_alarm(speakers: Any, tmp_path: Path) -> None:
    event = {"event": "initial_loss", "update": 1, "loss": 11.7, "expected": 11.78, "formula": "ln 140 + ...", "holds": True}
    good = _text(write_report(speakers.verification_run(tmp_path / "good", events=[event])))
    assert "the first loss is 11.700, theory says 11.780 (ln 140 + ...): as it should be" in good
    assert "ALARM" not in good
    bad = _text(write_report(speakers.verification_run(tmp_path / "bad", events=[{**event, "loss": 4.9, "holds": False}])))
    assert bad.index("ALARM: the first loss is 4.900, theory says 11.780") < bad.index("Results")
    assert "no closed form" in _text(write_report(speakers.verification_run(tmp_path / "none")))


def test_the_plan_of_the_batches_is_said(speakers: Any, tmp_path: Path) -> None:
    plan = {"event": "plan", "batches": 12, "smallest": 60, "largest": 64, "coverage": 0.76, "repeats": 3}
    text = _text(write_report(speakers.verification_run(tmp_path, events=[plan])))
    assert "12 an epoch of 60 to 64 utterances; an epoch uses 76.0% of the utterances, 3 of them more than once" in text


def test_verification_page_has_the_untrained_row_the_worst_trials_and_the_worst_speakers(speakers: Any, tmp_path: Path) -> None:
    text = _text(write_report(speakers.verification_run(tmp_path)))
    assert "test eer 4.00% 1.00% to 9.00%" in text
    assert "test trials 276 no interval" in text
    baselines = text.split("Baselines")[1].split("What this run can")[0]
    rows = re.findall(r"test (trained|untrained) (\d+\.\d+)% (\S+% to \S+%)", baselines)
    assert [row[0] for row in rows] == ["trained", "untrained"]
    assert rows[1][2] == "20.00% to 40.00%"
    worst = text.split("Worst trials and speakers of test")[1]
    assert re.search(r"v0-\d v1-\d v0 / v1 non-target, accepted", worst)
    assert re.search(r"v2-\d v2-3 v2 target, rejected", worst)
    assert "v1 (16 accepted)" in worst
    assert "transcript" not in text.lower()


def test_the_figures_of_a_run_are_those_of_its_records(speakers: Any, tmp_path: Path) -> None:
    names = [path.name for path in draw_training(speakers.verification_run(tmp_path / "a"), formats=("svg",))]
    assert names == ["learning_curves.svg", "trials_validation.svg", "trials_test.svg"]
    assert [path.name for path in draw_training(speakers.diarization_run(tmp_path / "b"), formats=("pdf",))][1] == "windows_test.pdf"
    assert (tmp_path / "a" / "verification-small-0f3a" / "figures" / "trials_test.det.csv").exists()


def test_diarization_page_stands_beside_answers_without_audio_and_lists_the_worst_windows(speakers: Any, tmp_path: Path) -> None:
    text = _text(write_report(speakers.diarization_run(tmp_path)))
    assert re.search(r"test frame_error \d+\.\d+% 10.00% to 65.00% 60.00% same class always \+\d+\.\d+%, inside the interval", text)
    worst = text.split("Worst windows of test")[1]
    assert worst.index("meeting2@5.000") == min(worst.index(f"meeting{one}@") for one in range(3) if f"meeting{one}@" in worst)
    assert "not run: auscult evaluate diarization-small-0f3a --reference" in text
    assert "The error rate of a recording" in text


def test_whole_recordings_come_with_three_protocols_and_what_does_not_listen(speakers: Any, tmp_path: Path) -> None:
    run = speakers.diarization_run(tmp_path)
    _recordings(run)
    page = write_report(run)
    text = _text(page)
    assert "system 17.00 10.00 5.00 2.00 17.00 17.00 30.00" in text
    assert "all silence 100.00" in text
    assert text.index("&lt;b&gt; 100.00") < text.index("a 17.00")  # largest error first, and no markup from a name
    assert "full: no collar" in text
    assert "<a href" not in page.read_text()


def test_pictures_are_linked_where_they_belong_to_these_scores(speakers: Any, tmp_path: Path) -> None:
    run = speakers.diarization_run(tmp_path)
    (run / "figures").mkdir(exist_ok=True)
    Image.new("RGB", (40, 20)).save(run / "figures" / "timeline.a.png")
    _recordings(run, figures=[])
    assert "<a href" not in write_report(run).read_text()  # a picture of an earlier evaluation
    _recordings(run, figures=["timeline.a.png"])
    source = write_report(run).read_text()
    assert '<a href="figures/timeline.a.png">' in source
    assert "Who spoke when in a:" in source


def test_records_of_an_unknown_kind_get_metrics_alarms_and_a_listing(speakers: Any, tmp_path: Path) -> None:
    items = [{"id": f"item{n}", "chosen": "<x>", "error": float(n % 7), "nested": {"a": 1}} for n in range(40)]
    summary = {"metrics": {"strangeness": 0.5, "error_rate": 0.25}, "alarms": ["odd"]}
    evaluated = {"event": "evaluation", "update": 8, "split": "validation", "metrics": {"strangeness": 0.5}}
    run = speakers.build_run(tmp_path, "speaker_choice", {"test": (items, summary), "empty": ([], {"metrics": {}})}, [evaluated])
    assert [path.name for path in draw_training(run, formats=("svg",))] == ["learning_curves.svg"]
    page = write_report(run)
    text = _text(page)
    assert "ALARM, test: odd" in text
    assert "test strangeness 0.5" in text
    assert "test error_rate 25.00%" in text
    assert "30 of 40, largest error first" in text
    assert "item6 " in text.split("Records of test")[1]
    assert "no figure is known" in text
    assert "<x>" not in page.read_text()


def test_a_verification_run_of_one_kind_of_trials_has_a_page(speakers: Any, tmp_path: Path) -> None:
    items = [item for item in speakers.trials() if item["target"]]
    run = speakers.build_run(tmp_path, "verification", {"test": (items, {"metrics": {"trials": 36.0}})})
    assert "trials of one kind only" in _text(write_report(run))


def test_what_a_loss_logs_is_read_under_its_own_name(speakers: Any, tmp_path: Path) -> None:
    training = read_training(speakers.verification_run(tmp_path))
    assert training.terms == ["accuracy"]
    assert training.steps["accuracy"].tolist() == pytest.approx([0.1 * update for update in range(1, 9)])


def test_a_report_is_drawn_again_when_a_split_is_judged_again(speakers: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run, drawn = speakers.verification_run(tmp_path), []

    def draw(path: Path) -> list[Path]:
        drawn.append(path)
        for name in ("learning_curves", "trials_validation", "trials_test"):
            Image.new("RGB", (40, 20)).save(path / "figures" / f"{name}.png")
        return []

    (run / "figures").mkdir(exist_ok=True)
    monkeypatch.setattr("auscult.report.html.draw_training", draw)
    write_report(run)
    write_report(run)
    assert len(drawn) == 1
    path = run / "summary" / "test.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "alarms": ["late"]}))
    assert "ALARM, test: late" in _text(write_report(run))
    assert len(drawn) == 2
