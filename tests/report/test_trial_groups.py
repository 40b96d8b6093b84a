from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from auscult.metrics.detection import DetectionCurve
from auscult.report import trial_groups
from auscult.report.trial_groups import TrialTable


def test_twins_are_found_to_be_confused_and_the_hoarse_speaker_to_be_missed(speakers: Any) -> None:
    table = TrialTable(speakers.trials())
    by_name = {one.speaker: one for one in table.by_speaker}
    assert by_name["v0"].confused == ("v1", 16)  # 4 recordings each, all of them too near
    assert by_name["v1"].confused == ("v0", 16)
    assert {one.speaker for one in table.by_speaker[:3]} == {"v0", "v1", "v2"}
    assert (by_name["v2"].targets, by_name["v2"].missed) == (6, 3)
    assert (by_name["v4"].missed, by_name["v4"].accepted, by_name["v4"].confused) == (0, 0, None)


def test_errors_by_speaker_are_those_of_a_plain_count(speakers: Any) -> None:
    table = TrialTable(speakers.trials())
    threshold = table.curves["score"].equal_error_threshold()
    for found in table.by_speaker:
        own = [item for item in table.items if found.speaker in (item["enrol_speaker"], item["test_speaker"])]
        assert found.targets == sum(item["target"] for item in own)
        assert found.missed == sum(item["target"] and item["score"] < threshold for item in own)
        assert found.accepted == sum(not item["target"] and item["score"] >= threshold for item in own)
        assert found.targets + found.nontargets == len(own)


def test_shares_between_speakers_count_both_directions(speakers: Any) -> None:
    names = ["v0", "v1", "v5", "nobody"]
    shares = TrialTable(speakers.trials()).shares_accepted(names)
    assert shares[0, 1] == shares[1, 0] == 1.0
    assert shares[0, 2] == 0.0
    assert shares[2, 2] == 1.0
    assert np.isnan(shares[3]).all()


def test_durations_partition_the_trials_and_are_by_the_shorter_side(speakers: Any) -> None:
    table = TrialTable(speakers.trials())
    rows = table.by_duration()
    assert sum(row["trials"] for row in rows) == len(table.items)
    assert sum(row["targets"] for row in rows) == int(table.target.sum())
    shorter = [min(item["enrol_seconds"], item["test_seconds"]) for item in table.items]
    assert {row["seconds"]: row["trials"] for row in rows} == {str(one): shorter.count(one) for one in (1, 2, 3, 4)}
    assert all(row["low"] <= row["eer"] <= row["high"] for row in rows[:3])
    assert math.isnan(rows[3]["eer"])  # a speaker has one recording of 4 s: no target trials
    halves = table.by_duration(most=2)
    assert sum(row["trials"] for row in halves) == len(table.items)
    assert [row["seconds"] for row in halves] == ["1 to 2", "2 to 4"]


def test_equal_durations_are_one_group_with_the_rate_of_all(speakers: Any) -> None:
    items = [{**item, "enrol_seconds": 3.0, "test_seconds": 3.0} for item in speakers.trials()]
    [row] = TrialTable(items).by_duration()
    assert row["eer"] == pytest.approx(TrialTable(items).curves["score"].equal_error_rate())


def test_a_group_of_one_kind_has_no_rate(speakers: Any) -> None:
    items = [{**item, "enrol_seconds": 1.0 if item["target"] else 9.0, "test_seconds": 9.0} for item in speakers.trials()]
    rows = TrialTable(items).by_duration(most=2)
    assert any(math.isnan(row["eer"]) for row in rows)


def test_large_groups_go_without_an_interval(speakers: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trial_groups, "MOST_RESAMPLED", 3)
    assert all(math.isnan(row["low"]) for row in TrialTable(speakers.trials()).by_duration())


def test_worst_trials_are_on_the_wrong_side_and_furthest_first(speakers: Any) -> None:
    table = TrialTable(speakers.trials())
    chosen = [table.items[row] for row in table.worst(10)]
    threshold = table.curves["score"].equal_error_threshold()
    assert all((item["score"] >= threshold) != item["target"] for item in chosen)
    accepted = [item["score"] for item in chosen if not item["target"]]
    rejected = [item["score"] for item in chosen if item["target"]]
    assert accepted == sorted(accepted, reverse=True)
    assert rejected == sorted(rejected)
    assert max(item["score"] for item in table.items if not item["target"]) == accepted[0]
    assert len(rejected) == 3  # all there are; the other kind takes their places
    assert len(chosen) == 10


def test_speakers_without_names_are_not_told_apart(speakers: Any) -> None:
    items = [{key: value for key, value in item.items() if "speaker" not in key} for item in speakers.trials()]
    table = TrialTable(items)
    assert not table.known
    assert table.by_speaker == []
    assert table.by_duration()[0]["low"] <= table.by_duration()[0]["high"]


def test_curves_are_those_of_the_metrics(speakers: Any) -> None:
    items = speakers.trials()
    curve = TrialTable(items).curves["untrained_score"]
    again = DetectionCurve.of([item["untrained_score"] for item in items], [item["target"] for item in items])
    assert curve.equal_error_rate() == again.equal_error_rate()
