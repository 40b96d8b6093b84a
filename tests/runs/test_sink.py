from __future__ import annotations

import pytest

from auscult.registry import registered
from auscult.runs.sink import Sink, SinkGroup
from auscult.testing.sinks import check_sink, first_session


class Recorder(Sink):
    """Remembers its calls and fails at the ones it is told to."""

    def __init__(self, *failing: str) -> None:
        self.failing = failing
        self.calls: list[str] = []

    def _call(self, what):
        self.calls.append(what)
        if what in self.failing:
            raise ConnectionError(f"no server at {what}")

    def open(self, run_path, recipe):
        self._call("open")

    def write(self, event):
        self._call("write")

    def close(self):
        self._call("close")


def play(group, tmp_path):
    group.open(tmp_path, {})
    for event in first_session()[:3]:
        group.write(event)
    group.close()


@pytest.mark.parametrize(
    ("failing", "calls"), [("open", ["open", "close"]), ("write", ["open", "write", "close"]), ("close", ["open", *["write"] * 3, "close"])]
)
def test_failing_sink_is_reported_once_and_dropped_and_the_others_go_on(tmp_path, failing, calls):
    failures = []
    bad, good = Recorder(failing), Recorder()
    play(SinkGroup([bad, good], failures.append), tmp_path)
    assert bad.calls == calls
    assert good.calls == ["open", "write", "write", "write", "close"]
    (failure,) = failures
    assert f"sink Recorder failed to {failing} and was dropped; training goes on (ConnectionError: no server at {failing})" in failure


def test_sink_that_cannot_even_be_closed_is_reported_once(tmp_path):
    failures = []
    play(SinkGroup([Recorder("write", "close")], failures.append), tmp_path)
    (failure,) = failures
    assert "no server at write; then ConnectionError: no server at close" in failure


def test_interrupt_is_not_swallowed(tmp_path):
    class Interrupted(Recorder):
        def write(self, event):
            raise KeyboardInterrupt

    group = SinkGroup([Interrupted()], lambda failure: None)
    with pytest.raises(KeyboardInterrupt):
        group.write({"event": "step"})


def test_built_in_sinks_are_registered():
    assert {"csv", "tensorboard"} <= set(registered("sink"))


def test_conformance_suite_accepts_a_good_sink(tmp_path):
    check_sink(Recorder, tmp_path)


class _ChangesTheEvent(Recorder):
    def write(self, event):
        event.pop("update", None)


class _ChangesTheRecipe(Recorder):
    def open(self, run_path, recipe):
        recipe["seed"] = 0


class _NeedsKnownEvents(Recorder):
    def write(self, event):
        {"start": 1, "model": 1, "step": 1}[event["event"]]


class _ClosesOnce(Recorder):
    def close(self):
        assert "close" not in self.calls
        super().close()


@pytest.mark.parametrize("bad", [_ChangesTheEvent, _ChangesTheRecipe, _NeedsKnownEvents, _ClosesOnce])
def test_conformance_suite_finds_a_bad_sink(bad, tmp_path):
    with pytest.raises((AssertionError, KeyError)):
        check_sink(bad, tmp_path)


def test_conformance_suite_refuses_what_is_no_sink(tmp_path):
    with pytest.raises(AssertionError, match="must be a subclass"):
        check_sink(dict, tmp_path)
