"""A stream: how it is cut into chunks changes nothing, names never move, and the state does not grow."""

from __future__ import annotations

import pickle
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from auscult.errors import UserError
from auscult.metrics.diarization import diarization_errors
from auscult.metrics.segments import Turn
from auscult.serving.diarizer import Diarizer
from auscult.serving.diarizer_settings import DiarizerSettings
from auscult.serving.diarizer_stream import DiarizerStream
from auscult.serving.online_speakers import OnlineRules, OnlineSpeakers
from auscult.serving.speaker_assignment import UNASSIGNED
from auscult.serving.windows import cut_windows
from auscult.testing.known_conversations import RATE, STEP, KnownSegmenter, KnownVoices, encode_turns, known_conversation

EXACT = DiarizerSettings(shortest_pause=0.0, shortest_turn=0.0)
SECONDS = 40.013


def listener(latency: float | None = None, settings: DiarizerSettings = EXACT) -> DiarizerStream:
    return DiarizerStream(Diarizer(KnownSegmenter(), KnownVoices(), settings), latency=latency)


def whole(stream: DiarizerStream, turns: list[Turn], seconds: float = SECONDS) -> list[Turn]:
    return [*stream.push(encode_turns(turns, seconds)), *stream.finish()]


@given(st.lists(st.integers(0, 3000), min_size=1, max_size=30), st.sampled_from([None, 1.0, 5.0]))
@settings(max_examples=20)
def test_chunks_of_any_size_give_what_the_whole_gives(sizes: list[int], latency: float | None) -> None:
    turns = known_conversation(2, SECONDS, 3)
    samples = encode_turns(turns, SECONDS)
    stream, found, place = listener(latency), [], 0
    for size in [*sizes, len(samples)]:
        found += stream.push(samples[place : place + size])
        place += size
    assert [*found, *stream.finish()] == whole(listener(latency), turns)


def test_the_windows_of_a_stream_are_those_of_the_recording_cut_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every look is the last window of samples, on the step grid; nothing else of the past is used."""
    seen: list[np.ndarray] = []
    stream = listener()
    segment = stream.diarizer.segmenter.segment
    monkeypatch.setattr(
        stream.diarizer.segmenter, "segment", lambda windows, lengths: (seen.append(windows[0]), segment(windows, lengths))[1]
    )
    samples = encode_turns(known_conversation(4, 12.0, 3), 12.0)
    for chunk in np.array_split(samples, 37):
        stream.push(chunk)
    size = stream.diarizer.segmenter.window_samples
    ends = np.arange(size, len(samples) + 1, RATE // 2)
    expected, _ = cut_windows(samples, (ends - size) // STEP, size, STEP)
    assert len(seen) == 24
    assert all(np.array_equal(one, other) for one, other in zip(seen[9:], expected, strict=True))


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("latency", [None, 2.0, 5.0])
def test_names_never_move_and_only_beginnings_are_missed(seed: int, latency: float | None) -> None:
    """With known networks nothing is confused or made up; a new voice is missed until it has been heard for long enough."""
    turns = known_conversation(seed, SECONDS, 3)
    counts = diarization_errors({"talk": turns}, {"talk": whole(listener(latency), turns)}, {"talk": [(0.0, SECONDS)]}).total
    assert counts.confusion == pytest.approx(0.0, abs=1e-6)
    assert counts.false_alarm == pytest.approx(0.0, abs=1e-6)
    assert counts.miss < 3 * 1.6


def test_a_speaker_who_comes_back_after_a_minute_has_the_same_name() -> None:
    turns = [Turn(0.01, 6.01, "0"), Turn(7.01, 70.01, "1"), Turn(71.01, 78.01, "0"), Turn(78.01, 84.01, "1")]
    found = whole(listener(), turns, 84.0)
    names = [[turn.speaker for turn in found if turn.start < moment < turn.end] for moment in (3.0, 40.0, 75.0, 83.0)]
    assert names == [["speaker1"], ["speaker2"], ["speaker1"], ["speaker2"]]


def test_the_state_does_not_grow() -> None:
    """Planted: a list of all embeddings, or of all frames, grows with every minute."""
    stream = listener()
    samples = encode_turns(known_conversation(0, 60.0, 3), 60.0)
    sizes = []
    for _ in range(6):
        stream.push(samples)
        sizes.append(len(pickle.dumps({key: value for key, value in vars(stream).items() if key not in ("diarizer", "grid")})))
    assert max(sizes[1:]) - min(sizes[1:]) < 500


def test_turns_come_in_order_and_do_not_overlap_themselves() -> None:
    found = whole(listener(), known_conversation(3, SECONDS, 3))
    for name in {turn.speaker for turn in found}:
        own = sorted((turn for turn in found if turn.speaker == name), key=lambda turn: turn.start)
        assert all(one.end <= other.start for one, other in pairwise(own))
    assert all(turn.confidence is not None and 0.9 < turn.confidence <= 1 for turn in found)


def test_pauses_and_short_turns_as_offline() -> None:
    turns = [Turn(1.01, 4.01, "0"), Turn(4.09, 8.01, "0"), Turn(9.01, 9.05, "0"), Turn(11.01, 15.01, "0")]
    found = whole(listener(settings=DiarizerSettings(shortest_pause=0.1, shortest_turn=0.1)), turns, 20.0)
    assert [(turn.start, turn.end) for turn in found] == [(1.01, 8.01), (11.01, 15.01)]


@pytest.mark.parametrize("count", [0, 1, STEP, 300])
def test_streams_of_nothing_and_of_very_little(count: int) -> None:
    stream = listener()
    assert stream.push(np.zeros(count, np.float32)) == []
    assert stream.finish() == []


def test_a_turn_until_the_end_ends_with_the_stream() -> None:
    found = whole(listener(), [Turn(0.0, 3.3, "1")], 3.3)
    assert [(turn.start, turn.end) for turn in found] == [(0.0, 3.3)]


@pytest.mark.parametrize(("step", "latency"), [(6.0, None), (0.5, 0.2), (0.5, 7.0)])
def test_steps_and_latencies_that_do_not_fit_are_refused(step: float, latency: float | None) -> None:
    with pytest.raises(UserError, match="each must be at most the next"):
        DiarizerStream(Diarizer(KnownSegmenter(), KnownVoices()), step, latency)


def test_a_stream_needs_voices_and_samples_that_are_some() -> None:
    with pytest.raises(UserError, match="--embedding RUN"):
        DiarizerStream(Diarizer(KnownSegmenter()))
    with pytest.raises(UserError, match="one channel, finite"):
        listener().push(np.full(10, np.inf, np.float32))


def known_speakers(rules: OnlineRules | None = None) -> OnlineSpeakers:
    """Two people are known: along the first and the second axis."""
    speakers = OnlineSpeakers(rules or OnlineRules(), delta=0.5)
    for row in (0, 1):
        assert speakers.assign(np.eye(3)[row : row + 1], np.ones((10, 1)), 10).tolist() == [row]
    return speakers


def test_a_far_voice_opens_a_name_only_when_heard_for_long() -> None:
    speakers = known_speakers()
    briefly = np.zeros((10, 1))
    briefly[:2] = 0.9
    assert speakers.assign(np.eye(3)[2:], briefly, 10).tolist() == [0]  # the nearest free one
    assert speakers.assign(np.eye(3)[2:], np.ones((10, 1)), 10).tolist() == [2]


def test_a_faint_voice_is_nobody_and_a_short_one_moves_no_centroid() -> None:
    speakers = known_speakers()
    assert speakers.assign(np.eye(3)[:1], np.full((10, 1), 0.5), 10).tolist() == [UNASSIGNED]
    before = speakers.sums.copy()
    briefly = np.zeros((10, 1))
    briefly[:2] = 0.9
    assert speakers.assign(np.array([[0.9, 0.3, 0.0]]), briefly, 10).tolist() == [0]
    assert np.array_equal(speakers.sums, before)
    speakers.assign(np.array([[0.9, 0.3, 0.0]]), np.ones((10, 1)), 10)
    assert not np.array_equal(speakers.sums, before)


def test_two_voices_of_a_window_never_share_a_name_and_there_are_no_more_than_allowed() -> None:
    speakers = known_speakers(OnlineRules(most=2))
    labels = speakers.assign(np.array([[1.0, 0.1, 0.0], [1.0, 0.2, 0.0], [0.0, 0.0, 1.0]]), np.ones((10, 3)), 10)
    assert sorted(labels.tolist()) == [UNASSIGNED, 0, 1]
    assert len(speakers.sums) == 2
