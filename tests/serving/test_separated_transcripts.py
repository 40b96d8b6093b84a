"""Separation before recognition: what the recogniser hears, how shares are scored, and references of any person's making."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from numpy.typing import NDArray

from auscult.audio.reading import read_audio
from auscult.audio.resampling import resample
from auscult.errors import UserError
from auscult.metrics.edit_distance import EditCounts
from auscult.serving.recognizer import Recognizer
from auscult.serving.separated_transcripts import check_shares, read_speaker_texts, score_shares, transcribe_separated
from auscult.serving.separator import RunSeparator
from auscult.specification import Specification
from auscult.testing.known_separation import RATE, KnownSeparator, known_voices


class Listener(Recognizer):
    """Keeps what it hears."""

    def __init__(self, sample_rate: int) -> None:
        super().__init__(torch.nn.Linear(1, 1), Specification("recognition", sample_rate, ("a", "b"), blank=0), None)
        self.heard: list[NDArray[np.float32]] = []

    def text(self, samples: NDArray[np.float32], name: Any = "") -> str:
        self.heard.append(samples)
        return f"word {len(self.heard)}"


@pytest.fixture(scope="module")
def talk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("talk") / "talk.wav"
    soundfile.write(path, known_voices(9.01, 1).sum(axis=0), RATE, subtype="FLOAT")
    return path


def separator() -> RunSeparator:
    return RunSeparator(KnownSeparator(), 2, RATE)


def test_shares_go_from_the_separated_voice_to_the_mixture(talk: Path) -> None:
    """A share of 1 is transcribing without separation, bit by bit; 0 is the separated voice at the level it has in the mixture."""
    listener, voices = Listener(RATE), known_voices(9.01, 1)
    records = transcribe_separated(listener, separator(), [talk], [1.0, 0.0, 0.3])
    assert [(one["speaker"], one["observation_mix"]) for one in records] == [
        (speaker, share) for speaker in ("speaker1", "speaker2") for share in (0.0, 0.3, 1.0)
    ]
    alone, some, whole = listener.heard[:3]
    mixture = read_audio(talk)[0]
    assert np.array_equal(whole, mixture)
    voice = min(voices, key=lambda one: float(np.abs(one - alone).max()))
    assert np.abs(alone - voice).max() < 1e-5
    assert np.abs(some - (0.7 * voice + 0.3 * mixture)).max() < 1e-5
    assert {one["recording"] for one in records} == {"talk"}


@pytest.mark.parametrize("rate", [16_000, 11_025])
def test_a_recogniser_of_another_rate_hears_its_own(talk: Path, rate: int) -> None:
    listener = Listener(rate)
    records = transcribe_separated(listener, separator(), [talk], [0.0, 1.0])
    mixture = resample(*read_audio(talk), rate)
    assert np.array_equal(listener.heard[1], mixture)
    assert [len(one) for one in listener.heard] == [len(mixture)] * 4
    assert records[0]["seconds"] == pytest.approx(9.01, abs=0.001)
    both = listener.heard[0] + listener.heard[2]
    assert np.abs(both - mixture)[200:-200].max() < 0.01


def record(name: str, speaker: str, share: float, text: str) -> dict[str, Any]:
    return {"recording": name, "speaker": speaker, "observation_mix": share, "text": text}


def test_scores_add_up_over_recordings_and_do_not_care_for_names() -> None:
    references = {"one": {"A": "a b c", "B": "d"}, "two": {"A": "e f"}}
    records = [
        record("one", "speaker1", 0.0, "d"), record("one", "speaker2", 0.0, "a b x"), record("two", "speaker1", 0.0, "e f"),
        record("two", "speaker2", 0.0, "ghost"), record("one", "speaker1", 0.3, "a b c"), record("one", "speaker2", 0.3, "d"),
        record("two", "speaker1", 0.3, ""), record("two", "speaker2", 0.3, "e f"),
    ]  # fmt: skip
    first, second = score_shares(records, references)
    assert (first.share, first.counts) == (0.0, EditCounts(1, 1, 0, 6))
    assert first.cpwer == pytest.approx(2 / 6)
    assert (second.share, second.counts.errors) == (0.3, 0)


def test_recordings_without_reference_are_named() -> None:
    with pytest.raises(UserError, match='"one"'):
        score_shares([record("one", "speaker1", 0.0, "a")], {"two": {"A": "b"}})
    with pytest.raises(UserError, match="no words"):
        score_shares([record("one", "speaker1", 0.0, "a")], {"one": {"A": ""}})


def test_references_are_lines_or_json(tmp_path: Path) -> None:
    lines, values = tmp_path / "said.tsv", tmp_path / "said.json"
    lines.write_text("Café 1\tAnna\tdzień dobry\nCafé 1\tBo\thello\n\nCafé 1\tAnna\tjak się masz\n", encoding="utf-8")
    values.write_text('{"Café 1": {"Anna": "dzień dobry jak się masz", "Bo": "hello"}}', encoding="utf-8")
    assert read_speaker_texts(lines) == read_speaker_texts(values)
    assert read_speaker_texts(lines) == {"Café_1": {"Anna": "dzień dobry jak się masz", "Bo": "hello"}}


@pytest.mark.parametrize(
    ("content", "message"),
    [("a\tb\n", "line 1: 2 columns"), ("x\ty\tz\na b c\n", "line 2: 1 columns"), ("", "no references"), ('{"a": 1}', '"a"'), ("{", "JSON")],
)
def test_references_of_another_form_are_refused(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "said").write_text(content)
    with pytest.raises(UserError, match=message):
        read_speaker_texts(tmp_path / "said")
    with pytest.raises(UserError, match="cannot be read"):
        read_speaker_texts(tmp_path / "gone")


@pytest.mark.parametrize("shares", [[], [-0.1], [0.0, 1.1], [float("nan")]])
def test_shares_outside_0_to_1_are_refused(shares: list[float]) -> None:
    with pytest.raises(UserError, match="0 to 1"):
        check_shares(shares)
