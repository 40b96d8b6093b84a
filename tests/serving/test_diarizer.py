"""The pipeline around known networks must be exactly right; every planted shift, hop and permutation must show."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from auscult.errors import UserError
from auscult.metrics.diarization import diarization_errors
from auscult.metrics.segments import Turn
from auscult.serving import diarizer as pipeline
from auscult.serving import speaker_clustering as clustering
from auscult.serving.diarizer import Diarization, Diarizer
from auscult.serving.diarizer_settings import DiarizerSettings
from auscult.testing.known_conversations import RATE, STEP, KnownSegmenter, KnownVoices, encode_turns, known_conversation

EXACT = DiarizerSettings(hop=0.1, shortest_pause=0.0, shortest_turn=0.0)
CASES = [(seed, seconds, people) for seed in range(4) for seconds, people in ((4.4, 2), (23.0, 2), (31.013, 3), (60.5, 3))]


def errors(turns: list[Turn], found: Diarization, seconds: float) -> float:
    counts = diarization_errors({"talk": turns}, {"talk": found.turns}, {"talk": [(0.0, seconds)]}).total
    return counts.errors


@pytest.mark.parametrize(("seed", "seconds", "people"), CASES)
@pytest.mark.parametrize("clustering", ["agglomerative", "spectral", "vbx"])
def test_known_networks_give_no_error(seed: int, seconds: float, people: int, clustering: str) -> None:
    turns = known_conversation(seed, seconds, people)
    diarizer = Diarizer(KnownSegmenter(), KnownVoices(), replace(EXACT, clustering=clustering))
    found = diarizer.diarize(encode_turns(turns, seconds))
    assert errors(turns, found, seconds) == pytest.approx(0.0, abs=1e-6)
    assert found.turns[0].speaker == "speaker1"
    assert len(found.speakers) == len({turn.speaker for turn in turns})
    assert all(turn.confidence == pytest.approx(0.98, abs=1e-6) for turn in found.turns)


BUGS = {
    "windows are cut a frame late": (
        "cut_windows",
        lambda cut: lambda samples, starts, *sizes: cut(np.roll(samples, -STEP), starts, *sizes),
    ),
    "the hop is off by one": (
        "cut_windows",
        lambda cut: lambda samples, starts, *sizes: cut(samples, np.minimum(starts + np.arange(len(starts)), starts[-1]), *sizes),
    ),
    "labels are those of the next window": (
        "cluster_values",
        lambda values: lambda local, labels, count: values(local, np.roll(labels, 1, axis=0), count),
    ),
    "local numbers are taken for speakers": (
        "cluster_values",
        lambda values: lambda local, labels, count: values(local, np.broadcast_to(np.arange(3), labels.shape), 3),
    ),
}  # fmt: skip


@pytest.mark.parametrize("bug", BUGS)
def test_planted_bugs_show(bug: str, monkeypatch: pytest.MonkeyPatch) -> None:
    turns = known_conversation(3, 60.5, 3)
    name, plant = BUGS[bug]
    monkeypatch.setattr(pipeline, name, plant(getattr(pipeline, name)))
    found = Diarizer(KnownSegmenter(), KnownVoices(), EXACT).diarize(encode_turns(turns, 60.5))
    assert errors(turns, found, 60.5) > 0.5


def test_a_segmentation_that_looks_a_frame_aside_shows() -> None:
    turns = known_conversation(3, 60.5, 3)
    found = Diarizer(KnownSegmenter(shift=STEP), KnownVoices(), EXACT).diarize(encode_turns(turns, 60.5))
    assert errors(turns, found, 60.5) > 0.5


def test_embeddings_are_of_the_frames_in_which_a_speaker_is_alone() -> None:
    seen: list[NDArray[np.float32]] = []

    class Listening(KnownVoices):
        def embed(
            self, samples: NDArray[np.float32], starts: NDArray[np.int64], weights: NDArray[np.float32], grid: object
        ) -> NDArray[np.float32]:
            found = super().embed(samples, starts, weights, grid)  # type: ignore[arg-type]
            seen.append(found[np.isfinite(found).all(axis=1)])
            return found

    turns = known_conversation(5, 40.0, 3)
    Diarizer(KnownSegmenter(), Listening(), EXACT).diarize(encode_turns(turns, 40.0))
    alone = np.concatenate(seen)
    assert (alone.max(axis=1) == 1.0).all()
    assert (alone.sum(axis=1) == 1.0).mean() > 0.9  # the others were too short alone, and take their overlapped frames


@pytest.mark.parametrize("number", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("seconds", [4.4, 45.0])
def test_a_forced_number_of_speakers_is_met_or_missing_is_said(number: int, seconds: float) -> None:
    turns = known_conversation(1, seconds, 3)
    people = len({turn.speaker for turn in turns})
    found = Diarizer(KnownSegmenter(), KnownVoices(), EXACT).diarize(encode_turns(turns, seconds), speakers=number)
    if number <= people:
        assert len(found.speakers) == number
        assert not found.notes
    else:
        assert len(found.speakers) == number or any("can be told apart" in note for note in found.notes)


def test_bounds_hold() -> None:
    samples = encode_turns(known_conversation(1, 45.0, 3), 45.0)
    diarizer = Diarizer(KnownSegmenter(), KnownVoices(), EXACT)
    assert len(diarizer.diarize(samples, maximum=2).speakers) == 2
    assert len(diarizer.diarize(samples, minimum=2, maximum=7).speakers) == 3
    assert max(diarizer.diarize(samples, maximum=1).frames.active.sum(axis=1)) == 1  # type: ignore[union-attr]


@pytest.mark.parametrize(("speakers", "minimum", "maximum"), [(0, 1, None), (None, 0, None), (None, 3, 2), (2, 3, None), (5, 1, 4)])
def test_numbers_that_contradict_one_another_are_refused(speakers: int | None, minimum: int, maximum: int | None) -> None:
    with pytest.raises(UserError, match=r"speaker"):
        Diarizer(KnownSegmenter(), KnownVoices()).diarize(np.zeros(3000, np.float32), speakers, minimum, maximum)


@pytest.mark.parametrize("seconds", [0.3, 4.0, 30.0])
def test_silence_and_one_speaker(seconds: float) -> None:
    diarizer = Diarizer(KnownSegmenter(), KnownVoices())
    silence = diarizer.diarize(np.zeros(round(seconds * RATE), np.float32))
    assert silence.turns == []
    assert silence.speakers == ()
    assert silence.notes == []
    alone = diarizer.diarize(encode_turns([Turn(0.0, seconds, "2")], seconds))
    assert [(turn.start, turn.end, turn.speaker) for turn in alone.turns] == [(0.0, seconds, "speaker1")]
    assert diarizer.diarize(np.zeros(round(seconds * RATE), np.float32), speakers=2).turns == []


def test_without_voices_a_window_is_enough_and_more_is_refused_with_the_remedy() -> None:
    turns = known_conversation(1, 4.9, 2)
    diarizer = Diarizer(KnownSegmenter(), None, EXACT)
    assert errors(turns, diarizer.diarize(encode_turns(turns, 4.9)), 4.9) == pytest.approx(0.0, abs=1e-6)
    assert len(diarizer.diarize(encode_turns(turns, 4.9), speakers=1).speakers) == 1
    with pytest.raises(UserError, match="--embedding RUN"):
        diarizer.diarize(np.zeros(round(5.2 * RATE), np.float32))


def test_too_little_audio_is_refused_with_the_length_that_is_needed(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"0\.001 s of audio, the model needs at least 0\.020 s"):
        Diarizer(KnownSegmenter()).diarize(np.zeros(1, np.float32))
    soundfile.write(tmp_path / "nothing.wav", np.zeros(0, np.float32), RATE)
    with pytest.raises(UserError, match=r"nothing\.wav"):
        Diarizer(KnownSegmenter()).diarize(tmp_path / "nothing.wav")


@pytest.mark.parametrize("samples", [np.zeros((2, 500), np.float32), np.full(500, np.nan, np.float32)])
def test_samples_that_are_none_are_refused(samples: NDArray[np.float32]) -> None:
    with pytest.raises(UserError, match="one channel, finite"):
        Diarizer(KnownSegmenter()).diarize(samples)


def test_stereo_and_a_unicode_name_and_a_lower_rate(tmp_path: Path) -> None:
    turns = [Turn(0.0, 2.01, "0")]
    path = tmp_path / "ñandú café.wav"
    samples = encode_turns(turns, 4.0)
    soundfile.write(path, np.stack([samples, samples], axis=1), RATE, subtype="FLOAT")
    found = Diarizer(KnownSegmenter()).diarize(path)
    assert [(turn.start, turn.end) for turn in found.turns] == [(0.0, 2.01)]
    low = tmp_path / "low.wav"
    soundfile.write(low, samples[::2], RATE // 2, subtype="FLOAT")
    assert any("nothing above" in note for note in Diarizer(KnownSegmenter()).diarize(low).notes)


def test_somebody_who_only_ever_speaks_together_with_others_is_found() -> None:
    """Nobody's clean speech makes a cluster for the second voice; planted: the nearest cluster calls both the same."""
    turns = [Turn(0.0, 30.0, "0"), Turn(4.01, 5.01, "1"), Turn(11.01, 12.01, "1"), Turn(20.01, 21.01, "1")]
    samples = encode_turns(turns, 30.0)
    diarizer = Diarizer(KnownSegmenter(), KnownVoices(), EXACT)
    found = diarizer.diarize(samples)
    assert len(found.speakers) == 2
    assert errors(turns, found, 30.0) == pytest.approx(0.0, abs=1e-6)
    assert len(diarizer.diarize(samples, maximum=1).speakers) == 1


def test_people_who_all_speak_too_briefly_are_not_lost() -> None:
    """Nobody reaches a fifth of a window alone: all embeddings decide, and two people stay two."""
    turns = [Turn(0.01 + 2 * k, 0.41 + 2 * k, str(k % 2)) for k in range(10)]
    found = Diarizer(KnownSegmenter(), KnownVoices(), EXACT).diarize(encode_turns(turns, 20.0))
    assert errors(turns, found, 20.0) == pytest.approx(0.0, abs=1e-6)


def test_a_recording_of_an_hour_clusters_a_sample_of_its_windows() -> None:
    turns = [turn for part in range(30) for turn in shifted(known_conversation(part, 119.0, 3), 120.0 * part)]
    clustered: list[int] = []
    cluster = clustering._cluster

    def counting(embeddings: NDArray[np.float64], *arguments: Any) -> NDArray[np.int64]:
        clustered.append(len(embeddings))
        return cluster(embeddings, *arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(clustering, "_cluster", counting)
        found = Diarizer(KnownSegmenter(), KnownVoices(), EXACT).diarize(encode_turns(turns, 3600.0))
    assert errors(turns, found, 3600.0) == pytest.approx(0.0, abs=1e-6)
    assert 1000 < clustered[0] <= 2000


def shifted(turns: list[Turn], seconds: float) -> list[Turn]:
    return [Turn(turn.start + seconds, turn.end + seconds, turn.speaker) for turn in turns]
