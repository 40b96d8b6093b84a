"""Scores of recordings: beside the systems that do not listen, in the regions that were asked for, recordings found by name."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from auscult.errors import UserError
from auscult.metrics.diarization import FULL, PROTOCOLS, diarization_errors
from auscult.metrics.segments import Turn
from auscult.serving.diarization_evaluation import DiarizationEvaluation, evaluate_diarization, find_audio
from auscult.serving.diarization_files import check_names, diarize_files, read_evaluated, read_references, recording_name
from auscult.serving.diarizer import Diarization, Diarizer
from auscult.serving.diarizer_settings import DiarizerSettings
from auscult.testing.known_conversations import RATE, KnownSegmenter, KnownVoices, encode_turns, known_conversation

LENGTHS = {"long": 31.0, "short": 4.0}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for seed, (name, seconds) in enumerate(LENGTHS.items()):
        samples = encode_turns(known_conversation(seed, seconds, 3), seconds)
        soundfile.write(tmp_path / f"{name}.wav", samples, RATE, subtype="FLOAT")
    return tmp_path


def reference() -> dict[str, list[Turn]]:
    return {name: known_conversation(seed, seconds, 3) for seed, (name, seconds) in enumerate(LENGTHS.items())}


def evaluate(folder: Path, evaluated: dict[str, list[tuple[float, float]]] | None = None) -> DiarizationEvaluation:
    diarizer = Diarizer(KnownSegmenter(), KnownVoices(), DiarizerSettings(shortest_pause=0.0, shortest_turn=0.0))
    return evaluate_diarization(diarizer.diarize, reference(), find_audio(folder), evaluated)


def test_known_networks_score_zero_and_trivial_systems_what_they_deserve(folder: Path) -> None:
    result = evaluate(folder)
    assert all(result.systems["system"][f"der_{protocol.name}"] == pytest.approx(0.0, abs=1e-6) for protocol in PROTOCOLS)
    assert result.systems["all silence"]["der_full"] == 1.0
    assert result.systems["all silence"]["miss_full"] == 1.0
    assert result.systems["all silence"]["jer"] == 1.0
    everywhere = {name: [Turn(0.0, seconds, "x")] for name, seconds in LENGTHS.items()}
    regions = {name: [(0.0, seconds)] for name, seconds in LENGTHS.items()}
    assert result.systems["one speaker everywhere"]["der_full"] == diarization_errors(reference(), everywhere, regions, FULL).total.rate
    assert {name: row["speakers_found"] for name, row in result.per_file.items()} == {
        name: row["speakers_reference"] for name, row in result.per_file.items()
    }
    assert result.real_time_factor is not None
    assert "regions: whole recordings" in result.protocol


def test_regions_hold_for_every_system(folder: Path) -> None:
    """Planted: a baseline scored in other regions than the system looks better or worse for no reason."""
    regions = {"long": [(2.0, 9.0)], "short": [(0.0, 4.0)], "not judged": [(0.0, 1.0)]}
    result = evaluate(folder, regions)
    everywhere = {name: [Turn(0.0, seconds, "x")] for name, seconds in LENGTHS.items()}
    expected = diarization_errors(reference(), everywhere, {name: regions[name] for name in LENGTHS}, FULL).total.rate
    assert result.systems["one speaker everywhere"]["der_full"] == expected
    assert "regions: UEM" in result.protocol
    with pytest.raises(UserError, match='no region for "short"'):
        evaluate(folder, {"long": [(0.0, 1.0)]})


def test_recordings_are_pooled_not_averaged(folder: Path) -> None:
    seconds = {name: sum(turn.duration for turn in turns) for name, turns in reference().items()}
    silent_on_short = evaluate_diarization(
        lambda path: Diarization(reference()["long"] if path.stem == "long" else [], None, 1.0), reference(), find_audio(folder)
    )
    assert silent_on_short.systems["system"]["der_full"] == pytest.approx(seconds["short"] / sum(seconds.values()), abs=1e-6)
    assert silent_on_short.per_file["short"]["der_full"] == 1.0


def test_recordings_are_found_by_name(folder: Path) -> None:
    with pytest.raises(UserError, match=r'no audio for 1 of 2 .*"shorty" .did you mean "short"'):
        evaluate_diarization(
            lambda path: Diarization([], None, 1.0), {"long": reference()["long"], "shorty": reference()["short"]}, find_audio(folder)
        )
    (folder / "again").mkdir()
    soundfile.write(folder / "again" / "long.wav", np.zeros(10), RATE)
    with pytest.raises(UserError, match='both "long"'):
        find_audio(folder)
    with pytest.raises(UserError, match="no such folder"):
        find_audio(folder / "gone")


def test_names_of_any_unicode_form_are_one(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "cafe\u0301.wav", np.zeros(100), RATE)
    assert list(find_audio(tmp_path)) == ["caf\u00e9"]
    assert recording_name("x/cafe\u0301 1.wav") == "caf\u00e9_1"
    with pytest.raises(UserError, match="in RTTM"):
        check_names([Path("a/caf\u00e9.wav"), Path("b/cafe\u0301.flac")])


def test_references_of_a_folder_belong_to_the_file_of_their_name(tmp_path: Path) -> None:
    (tmp_path / "talk.rttm").write_text("SPEAKER other 1 0.5 1.5 <NA> <NA> anna <NA> <NA>\n")
    (tmp_path / "talk.uem").write_text("other 1 0.0 2.0\n")
    assert list(read_references(tmp_path)) == ["talk"]
    assert read_evaluated(tmp_path) == {"talk": [(0.0, 2.0)]}
    assert list(read_references(tmp_path / "talk.rttm")) == ["other"]


def test_files_as_streams_have_no_more_speakers_than_allowed(folder: Path) -> None:
    diarizer = Diarizer(KnownSegmenter(), KnownVoices(), DiarizerSettings(shortest_pause=0.0, shortest_turn=0.0))
    found = diarize_files(diarizer, find_audio(folder).values(), maximum=2, stream=True)
    assert len(found[folder / "long.wav"].speakers) == 2
    assert all(len(one.speakers) <= 2 for one in found.values())
    assert all(one.frames is None for one in found.values())
    missing = diarize_files(diarizer, [folder / "short.wav"], speakers=5, stream=True)
    assert any("5 speakers were asked for" in note for one in missing.values() for note in one.notes)
