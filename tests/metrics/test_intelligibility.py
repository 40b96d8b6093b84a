"""STOI and PESQ: what they say of known signals, and what is refused."""

from __future__ import annotations

import math
import sys
from pathlib import Path

import numpy as np
import pytest

from auscult.audio.reading import read_audio
from auscult.errors import MissingExtra, UserError
from auscult.metrics.intelligibility import pesq, stoi


@pytest.fixture(scope="module")
def speech(data_pack: Path) -> tuple[np.ndarray, np.ndarray]:
    """A recording at 16 kHz and the same with noise 5 dB below it."""
    path = sorted((data_pack / "librispeech_1utt").rglob("*.flac"))[0]
    samples, rate = read_audio(path)
    assert rate == 16_000
    samples = samples[: 4 * rate]
    noise = np.random.default_rng(0).standard_normal(len(samples))
    return samples, samples + noise * np.sqrt((samples**2).mean() / 10**0.5)


def test_better_is_higher(speech: tuple[np.ndarray, np.ndarray]) -> None:
    pytest.importorskip("pystoi")
    clean, noisy = speech
    assert stoi(clean, clean, 16_000) == pytest.approx(1.0, abs=1e-6)
    assert 0.6 < stoi(clean, noisy, 16_000) < 0.97
    assert stoi(clean, noisy, 16_000, extended=True) < stoi(clean, noisy, 16_000)


def test_bands_of_pesq(speech: tuple[np.ndarray, np.ndarray]) -> None:
    pytest.importorskip("pesq")
    clean, noisy = speech
    assert pesq(clean, clean, 16_000) == pytest.approx(4.644, abs=1e-3)  # the top of the wide-band scale
    assert pesq(clean[::2], clean[::2], 8000) == pytest.approx(4.549, abs=1e-3)  # the top of the narrow-band scale
    assert 1 < pesq(clean, noisy, 16_000) < 2.5


def test_no_speech_has_no_value() -> None:
    """pystoi answers 0.00001 where it finds too little speech."""
    click = np.zeros(8000)
    click[4000:4100] = 0.5
    pytest.importorskip("pystoi")
    assert math.isnan(stoi(click, click, 8000))
    pytest.importorskip("pesq")
    assert math.isnan(pesq(np.zeros(8000), np.zeros(8000), 8000))
    assert math.isnan(pesq(np.ones(100), np.ones(100), 8000))


def test_undefined_rates_are_refused() -> None:
    with pytest.raises(UserError, match="8000 and 16000 Hz and not at 44100"):
        pesq(np.ones(9), np.ones(9), 44_100)


def test_missing_packages_say_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("pystoi", "pesq"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(MissingExtra, match=r"pip install 'auscult\[intelligibility\]'"):
        stoi(np.ones(9), np.ones(9), 8000)
    with pytest.raises(UserError, match="pip install pesq"):
        pesq(np.ones(9), np.ones(9), 8000)
