from __future__ import annotations

import wave
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from auscult.audio.reading import read_audio
from auscult.corpora.base import Corpus, Utterance
from auscult.corpora.folder import Folder
from auscult.testing.corpora import LETTERS, check_corpus, tone_utterance, toy_corpus


class Third(Corpus):
    """A corpus as somebody else would write it."""

    name = "third"

    def __init__(self, source: str) -> None:
        super().__init__()
        self.source = source

    def utterances(self) -> Iterable[Utterance]:
        return Folder(self.source).utterances()


def test_a_corpus_of_somebody_else_passes(tmp_path: Path) -> None:
    check_corpus(Third(str(toy_corpus(tmp_path))))


class Forgetful(Third):
    def __init__(self, source: str) -> None:
        super().__init__(source)
        del self.source
        self.elsewhere = source

    def utterances(self) -> Iterable[Utterance]:
        return Folder(self.elsewhere).utterances()


class Relative(Third):
    def utterances(self) -> Iterable[Utterance]:
        return [replace(row, audio=Path(row.audio.name), samples=100, sample_rate=16000, duration=None) for row in super().utterances()]


class Wrong(Third):
    def utterances(self) -> Iterable[Utterance]:
        return [replace(row, samples=100, sample_rate=16000, duration=None) for row in super().utterances()]


class Unwritable(Third):
    def utterances(self) -> Iterable[Utterance]:
        return [replace(row, custom={"array": np.zeros(2)}) for row in super().utterances()]


class Restless(Third):
    calls = 0

    def splits(self) -> dict:
        self.calls += 1
        splits = super().splits()
        return splits if self.calls == 1 else {split: cuts.subset(first=1) for split, cuts in splits.items()}


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        (Forgetful, "plain attribute of the same name"),
        (Relative, "not an existing file by absolute path"),
        (Wrong, r"states \(16000, 100\)"),
        (Unwritable, "cannot be written to a manifest"),
        (Restless, "gives other cuts"),
    ],
)
def test_each_broken_promise_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: type[Third], reason: str) -> None:
    manifest = toy_corpus(tmp_path)
    monkeypatch.chdir(tmp_path / "s0")
    for path in tmp_path.glob("s[12]/*.wav"):
        (tmp_path / "s0" / path.name).write_bytes(path.read_bytes())
    with pytest.raises(AssertionError, match=reason):
        check_corpus(kind(str(manifest)))


def test_the_toy_corpus_is_reproducible_and_small(tmp_path: Path) -> None:
    first, second = toy_corpus(tmp_path / "a"), toy_corpus(tmp_path / "b")
    assert first.read_bytes() == second.read_bytes()
    for path in sorted((tmp_path / "a").rglob("*.wav")):
        assert path.read_bytes() == (tmp_path / "b" / path.relative_to(tmp_path / "a")).read_bytes()
    with wave.open(str(tmp_path / "a" / "s0" / "s0_000.wav")) as file:
        assert (file.getframerate(), file.getsampwidth(), file.getnchannels()) == (16000, 2, 1)
    assert sum(path.stat().st_size for path in tmp_path.rglob("*.wav")) < 1_000_000


def test_letters_can_be_told_apart_by_their_tone() -> None:
    peaks = [int(np.abs(np.fft.rfft(tone_utterance(letter, 16000))).argmax()) for letter in LETTERS]
    assert peaks == sorted(peaks)
    assert min(np.diff(peaks)) > 5


def test_the_toy_corpus_can_speak(tmp_path: Path) -> None:
    pytest.importorskip("espeakng_loader", reason="needs the extra synth")
    corpus = Folder(str(toy_corpus(tmp_path, speakers=2, utterances=3, sample_rate=8000, speech=True)))
    check_corpus(corpus)
    cut = corpus.splits()["train"][0]
    assert cut.sampling_rate == 8000
    assert np.abs(read_audio(cut.recording.sources[0].source)[0]).max() > 0.05


def test_too_few_utterances_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="at least 3"):
        toy_corpus(tmp_path, utterances=2)
