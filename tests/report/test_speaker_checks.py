"""The five figures and the page of a check that learned no transcript: what is there is named rightly, what is not is left out by name."""

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
from auscult.report.check_words import caption_of, words_of
from auscult.report.figure import house_style

TASKS = ("verification", "diarization", "speaker_choice")
FALSE = re.compile(r"CTC|symbol|transcript|\bCER\b|\bWER\b|recognises speech")


@pytest.fixture(scope="module", params=TASKS)
def check(request: pytest.FixtureRequest, speakers: Any, tmp_path_factory: pytest.TempPathFactory) -> Check:
    return read_check(speakers.check_run(tmp_path_factory.mktemp("check"), request.param))


def _said(figure: Figure) -> str:
    parts = [text.get_text() for text in figure.texts]
    for axes in figure.axes:
        parts += [axes.get_title(loc="left"), axes.get_xlabel(), axes.get_ylabel(), *(text.get_text() for text in axes.texts)]
    return "\n".join(parts)


@pytest.mark.parametrize("draw", [training_progress.draw, spectrogram_analysis.draw, data_flow.draw, performance_dashboard.draw])
def test_no_figure_speaks_of_transcripts(check: Check, draw: Callable[[Check], tuple[Figure, dict[str, Any]]]) -> None:
    with house_style():
        figure, _ = draw(check)
    assert not FALSE.search(_said(figure))


def test_measures_have_panels_under_their_names(check: Check) -> None:
    with house_style():
        figure, tables = training_progress.draw(check)
    said = _said(figure)
    expected = {
        "verification": ("Loss per crop", "Accuracy without the margin", "Similarity to the own speaker"),
        "diarization": ("Loss per frame", "Frame error", "Local error rate"),
        "speaker_choice": ("Loss per item", "Measures of the output", "the task logs none"),
    }[str(check.start["task"])]
    assert all(words in said for words in expected)
    assert all(tables[one.key] for one in words_of(check).curves)


def test_sizes_that_are_not_in_the_log_are_named_and_leave_no_empty_panel(check: Check) -> None:
    with house_style():
        figure, tables = data_flow.draw(check)
    said = _said(figure)
    if check.start["task"] == "speaker_choice":
        assert set(tables) == {"pipeline", "seconds"}
        return
    assert "not in the log" not in said
    assert ("reduction" in tables) == (check.start["task"] == "diarization")
    assert "192 dimensions" in said or "251" in said


def test_right_and_wrong_outputs_are_counted(check: Check) -> None:
    facts = dict(performance_dashboard.summary(check))
    words = words_of(check)
    stated = facts[f"{words.output} right"]
    assert stated.startswith("1 of 2") if check.start["task"] != "speaker_choice" else stated == "the task cannot tell"
    with house_style():
        _, tables = performance_dashboard.draw(check)
    assert [row["right"] for row in tables["metrics"]] == ([True, False] if check.start["task"] != "speaker_choice" else [None, None])


def test_what_came_out_stands_beside_what_is_true(check: Check) -> None:
    with house_style():
        figure, tables = spectrogram_analysis.draw(check)
    task = check.start["task"]
    if task == "verification":
        rows = [row for row in tables["nearest"] if row["utterance"] == "item1"]
        assert [row["rank"] for row in rows if row["own"]] == [2]
        assert "own speaker, rank 2" in _said(figure)
    elif task == "diarization":
        wrong = sum(row["true"] != row["found"] for row in tables["classes"] if row["window"] == "item1")
        assert wrong == 10
    else:
        assert "no arrays were stored" in _said(figure)


def test_the_page_claims_what_the_task_learned(check: Check, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("auscult.report.html.draw_check", lambda run: [])
    source = write_report(check.run.path).read_text()
    text = " ".join(re.sub(r"<[^>]*>", " ", re.sub(r"<style>.*?</style>", "", source, flags=re.DOTALL)).split())
    assert not FALSE.search(text.split("Identity")[0])
    assert "Smoke run: memorised, not a result" in text
    outputs = text.split("Outputs")[1]
    if check.start["task"] == "speaker_choice":
        assert "the task cannot tell" in outputs
    else:
        assert outputs.index("2 · item1") < outputs.index("1 · item0")  # wrong first


def test_every_figure_has_a_caption_for_every_task(check: Check) -> None:
    names = ("training_progress", "spectrogram_analysis", "model_architecture", "data_flow", "performance_dashboard")
    assert all(caption_of(words_of(check), name).endswith(".") for name in names)


def test_a_loss_without_classes_says_why_it_shows_no_speakers(speakers: Any, tmp_path: Path) -> None:
    run = speakers.check_run(tmp_path, "verification")
    for path in run.glob("arrays/*.npz"):
        with np.load(path) as held:
            kept = {name: held[name] for name in ("waveform", "sample_rate", "waveform_log_mel", "features")}
        np.savez(path, **kept)
    with house_style():
        figure, tables = spectrogram_analysis.draw(read_check(run))
    assert "keeps no speakers" in _said(figure)
    assert tables["nearest"] == []


def test_logs_of_transcripts_from_before_the_field_still_count_right_ones(check_run: Path) -> None:
    check = read_check(check_run)
    assert all("right" not in one.end for one in check.utterances)
    assert [one.right for one in check.utterances] == [True, True, True]
    assert dict(performance_dashboard.summary(check))["transcripts right"].startswith("3 of 3")
