from __future__ import annotations

import sys

import numpy as np
import pytest

from auscult.audio.synthesis import ACCENTS, FEMALE, MALE, Voice, espeak_version, synthesise
from auscult.errors import MissingExtra, UserError


def test_a_missing_extra_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "espeakng_loader", None)
    with pytest.raises(MissingExtra, match=r"speech synthesis needs an extra: pip install 'auscult\[synth\]'"):
        synthesise(Voice("en"), ["a"])


@pytest.fixture(autouse=True)
def _needs_the_library(request: pytest.FixtureRequest) -> None:
    if "missing_extra" not in request.node.name:
        pytest.importorskip("espeakng_loader", reason="needs the extra synth")


def test_speech_is_float32_in_range_and_long_enough() -> None:
    spoken = synthesise(Voice("en-us", "f2"), ["one", "one two three four five six"])
    short, long = spoken.utterances
    assert spoken.sample_rate == 22050
    assert short.dtype == np.float32
    assert 0.05 < np.abs(long).max() <= 1.0
    assert len(long) > 3 * len(short) > 0.4 * spoken.sample_rate


def test_the_same_call_gives_the_same_bits_also_for_breathy_voices() -> None:
    for variant in ("f2", "whisper", "klatt4"):
        first, second = (synthesise(Voice("en", variant), ["six seven", "eight"], seed=3) for _ in range(2))
        assert all(np.array_equal(a, b) for a, b in zip(first.utterances, second.utterances, strict=True)), variant


def test_the_seed_reaches_the_breath_noise() -> None:
    one, two = (synthesise(Voice("en", "whisper"), ["six seven"], seed=seed).utterances[0] for seed in (1, 2))
    assert len(one) == len(two)
    assert not np.array_equal(one, two)


def test_a_longer_list_begins_with_the_shorter() -> None:
    few = synthesise(Voice("pl", "m3"), ["dwa", "trzy"]).utterances
    many = synthesise(Voice("pl", "m3"), ["dwa", "trzy", "cztery"]).utterances
    assert all(np.array_equal(a, b) for a, b in zip(few, many, strict=False))


def test_rate_pitch_and_volume_do_what_they_say() -> None:
    text = ["seven eight nine"]
    normal = synthesise(Voice("en-us", "m3"), text).utterances[0]
    fast = synthesise(Voice("en-us", "m3", rate=300), text).utterances[0]
    quiet = synthesise(Voice("en-us", "m3", volume=30), text).utterances[0]
    assert len(fast) < 0.8 * len(normal)
    assert np.abs(quiet).max() < 0.5 * np.abs(normal).max()


def test_polish_letters_are_spoken() -> None:
    with_marks, without = (synthesise(Voice("pl"), [text]).utterances[0] for text in ("żółć", "zolc"))
    assert len(with_marks) != len(without) or not np.array_equal(with_marks, without)


@pytest.mark.parametrize("language", sorted(ACCENTS))
def test_every_voice_of_the_corpus_exists_and_does_not_clip(language: str) -> None:
    text = {"en": "two seven nine eight", "pl": "dwa siedem dziewięć"}[language]
    voices = [Voice(accent, "f1", volume=70) for accent in ACCENTS[language]]
    voices += [Voice(ACCENTS[language][0], variant, pitch=65, pitch_range=70, volume=70) for variant in FEMALE + MALE]
    for voice in voices:
        peak = np.abs(synthesise(voice, [text]).utterances[0]).max()
        assert 0.05 < peak < 0.9, (voice.name, peak)


@pytest.mark.parametrize(
    ("voice", "text", "message"),
    [
        (Voice("klingon-x"), "a", 'has no voice "klingon-x"'),
        (Voice("en", "f99"), "a", 'no voice variant "f99"; known here: f1'),
        (Voice("en"), "   ", "says nothing for the text '   '"),
    ],
)
def test_bad_requests_are_explained(voice: Voice, text: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        synthesise(voice, [text])


def test_version_is_a_number() -> None:
    assert espeak_version().split(".")[0].isdigit()


def test_no_text_is_no_work() -> None:
    assert synthesise(Voice("en"), []).utterances == []
