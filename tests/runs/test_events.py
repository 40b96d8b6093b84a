from __future__ import annotations

import json
import math
import textwrap
import threading
import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from auscult.errors import UserError
from auscult.runs import events as events_module
from auscult.runs.events import EventLog


@pytest.fixture
def log(tmp_path):
    return EventLog(tmp_path / "events.jsonl")


def updates(log):
    return [event.get("update") for event in log.read()]


def test_events_come_back_in_order_with_the_time(log):
    before = time.time()
    returned = log.append("start", verb="train")
    log.append("step", update=1, loss=2.5)
    first, second = log.read()
    assert first == returned
    assert (second["event"], second["update"], second["loss"]) == ("step", 1, 2.5)
    assert before <= first["time"] <= second["time"] <= time.time()


def test_absent_log_has_no_events(log):
    assert log.read() == []
    log.truncate(3)
    assert not log.path.exists()


def test_non_finite_loss_is_valid_json_and_comes_back(log):
    log.append("step", update=1, loss=math.nan, gradient_norm=math.inf)
    line = json.loads(log.path.read_text(), parse_constant=lambda word: pytest.fail(f"{word} is not JSON"))
    assert (line["loss"], line["gradient_norm"]) == ("nan", "inf")
    (event,) = log.read()
    assert math.isnan(event["loss"])
    assert event["gradient_norm"] == math.inf


def test_line_separators_inside_text_do_not_split_events(log):
    log.append("note", text="one\u2028two\nthree\r\u0085")
    assert [event["text"] for event in log.read()] == ["one\u2028two\nthree\r\u0085"]


def test_torn_last_line_is_ignored_and_replaced_by_the_next_event(log):
    log.append("step", update=1)
    whole = log.path.read_bytes()
    for size in range(len(whole) + 1, 2 * len(whole) - 1):  # all of a second line but its brace and newline, at most
        log.path.write_bytes((whole * 2)[:size])
        assert updates(log) == [1]
    log.append("step", update=3)
    assert updates(log) == [1, 3]


def test_last_event_that_lacks_only_its_newline_is_kept(log):
    log.append("step", update=1)
    log.path.write_bytes(log.path.read_bytes().rstrip(b"\n"))
    assert updates(log) == [1]
    log.append("step", update=2)
    assert updates(log) == [1, 2]


def test_damage_in_the_middle_is_named_not_skipped(log):
    log.append("step", update=1)
    log.path.write_bytes(log.path.read_bytes() + b"garbage\n")
    log.append("step", update=2)
    with pytest.raises(UserError, match=r"events\.jsonl, line 2: expected one JSON event a line"):
        log.read()


def test_truncate_drops_later_updates_and_the_torn_line_only(log):
    log.append("start", verb="train")
    for update in range(1, 6):
        log.append("step", update=update)
    log.append("note", text="kept")
    with log.path.open("ab") as stream:
        stream.write(b'{"event": "st')
    log.truncate(3)
    assert updates(log) == [None, 1, 2, 3, None]
    assert log.path.read_bytes().endswith(b"}\n")
    log.append("resumed", update=3)
    assert updates(log) == [None, 1, 2, 3, None, 3]


def test_truncate_leaves_kept_lines_byte_for_byte(log):
    for update in range(1, 4):
        log.append("step", update=update, loss=0.1 + 0.2)
    lines = log.path.read_bytes().splitlines(keepends=True)
    log.truncate(2)
    assert log.path.read_bytes() == b"".join(lines[:2])


def test_full_disk_leaves_no_part_of_the_line(log, monkeypatch):
    log.append("step", update=1)
    before = log.path.read_bytes()
    really_write = events_module.os.write

    def write_half(descriptor, data):
        if len(data) < 20:
            raise OSError(28, "No space left on device")
        return really_write(descriptor, data[: len(data) - 10])

    with monkeypatch.context() as patch:
        patch.setattr(events_module.os, "write", write_half)
        with pytest.raises(UserError, match=r"events\.jsonl: cannot be written \(no space left on device\); free some space"):
            log.append("step", update=2)
    assert log.path.read_bytes() == before
    log.append("step", update=2)
    assert updates(log) == [1, 2]


def test_events_of_many_threads_and_a_truncation_are_all_whole(log):
    def append(worker):
        for number in range(40):
            log.append("note", worker=worker, number=number)

    threads = [threading.Thread(target=append, args=(worker,)) for worker in range(4)]
    for thread in threads:
        thread.start()
    for _ in range(10):
        log.append("step", update=9)
        log.truncate(5)
    for thread in threads:
        thread.join()
    notes = [(event["worker"], event["number"]) for event in log.read() if event["event"] == "note"]
    assert sorted(notes) == [(worker, number) for worker in range(4) for number in range(40)]


@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.one_of(st.none(), st.integers(0, 20)), max_size=15), st.integers(0, 20), st.integers(0, 60))
def test_truncate_after_any_cut_keeps_exactly_the_whole_events_up_to_the_update(log, recorded, update, cut):
    log.path.write_bytes(b"")
    for value in recorded:
        log.append("step", **({} if value is None else {"update": value}))
    content = log.path.read_bytes()
    log.path.write_bytes(content[: max(0, len(content) - cut)])
    survivors = updates(log)
    assert survivors == recorded[: len(survivors)]
    log.truncate(update)
    assert updates(log) == [value for value in survivors if value is None or value <= update]


def test_log_killed_at_any_moment_stays_readable(log, kill_after):
    program = textwrap.dedent(
        """
        import sys
        from pathlib import Path
        from auscult.runs.events import EventLog
        log = EventLog(Path(sys.argv[1]))
        done = max((event["update"] for event in log.read()), default=0)
        log.truncate(done)
        print(done, flush=True)
        for update in range(done + 1, 10**9):
            log.append("step", update=update, loss=1 / update, filler="x" * 3000)
            if update % 50 == 0:
                log.truncate(update)
        """
    )
    for seconds in (0.01, 0.023, 0.041, 0.06, 0.1):
        kill_after(program, [str(log.path)], seconds)
        recorded = updates(log)
        assert recorded == list(range(1, len(recorded) + 1))
    assert len(recorded) > 50
