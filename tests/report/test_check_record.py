import json
import math
from collections.abc import Callable
from pathlib import Path

import pytest

from auscult.errors import UserError
from auscult.report.check_record import read_check


def _append(run: Path, **event: object) -> None:
    with (run / "events.jsonl").open("a") as log:
        log.write(json.dumps({"time": 0.0, **event}) + "\n")


def test_numbers_come_from_the_log(check_run: Path) -> None:
    check = read_check(check_run)
    assert check.column("output_frames").tolist() == [51, 57, 49]
    assert check.results("update").tolist() == [77, 42, 163]
    assert check.utterances[0].number_of("uniform_loss") == pytest.approx(4.51, abs=0.005)  # (T', L) = (51, 28) of R0
    assert len(check.utterances[2].steps["loss"]) == 163
    assert check.stop_reasons() == {"threshold": 3}
    assert check.frame_step == 0.04


def test_absent_numbers_are_nan_not_zero(check_builder: Callable[..., Path]) -> None:
    run = check_builder(finished=False)
    _append(run, event="utterance", index=3, id="late", reference="x")
    last = read_check(run).utterances[3]
    assert math.isnan(last.number_of("output_frames"))
    assert math.isnan(last.updates_per_second)
    assert (last.stop_reason, last.reached) == ("not finished", False)


def test_an_utterance_begun_again_forgets_its_first_attempt(check_builder: Callable[..., Path]) -> None:
    run = check_builder(finished=False)
    _append(run, event="utterance", index=0, id="2277-149896-0012", reference="x", threshold=0.001)
    _append(run, event="step", index=0, update=1, loss=4.0)
    first = read_check(run).utterances[0]
    assert first.steps["loss"].tolist() == [4.0]
    assert first.end == {}


def test_reached_needs_the_loss_of_the_last_update_below_the_threshold(check_builder: Callable[..., Path]) -> None:
    run = check_builder(finished=False)
    _append(run, event="utterance_end", index=1, update=77, loss=0.00117, stop_reason="threshold")  # what R0 logged
    assert not read_check(run).utterances[1].reached


def test_other_runs_and_empty_checks_are_user_errors(training_run: Path, check_builder: Callable[..., Path], tmp_path: Path) -> None:
    with pytest.raises(UserError, match="expected a run of `auscult check`"):
        read_check(training_run)
    with pytest.raises(UserError, match="no such run"):
        read_check(tmp_path / "nothing")
    run = check_builder(count=1)
    (run / "events.jsonl").write_text('{"event": "start", "time": 0, "verb": "check"}\n')
    with pytest.raises(UserError, match="no utterance has been checked yet"):
        read_check(run)


def test_damaged_arrays_are_named(check_builder: Callable[..., Path]) -> None:
    run = check_builder(count=1)
    (run / "arrays" / "0.npz").write_bytes(b"not an archive")
    check = read_check(run)
    with pytest.raises(UserError, match=r"0\.npz"):
        check.arrays(check.utterances[0])
