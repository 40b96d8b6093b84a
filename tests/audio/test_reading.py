"""Every way a file can be broken is named; every encoding people have is read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from auscult.audio.reading import PROBLEMS, AudioError, probe, read_audio
from auscult.errors import UserError

RATE = 16_000


@pytest.fixture
def tone() -> np.ndarray:
    noise = np.random.default_rng(0).normal(0, 0.05, 2 * RATE)
    return (0.4 * np.sin(2 * np.pi * 440 * np.arange(2 * RATE) / RATE) + noise).astype(np.float32)


def write(path: Path, samples: np.ndarray, subtype: str | None = None) -> Path:
    soundfile.write(path, samples, RATE, subtype=subtype)
    return path


@pytest.mark.parametrize(
    ("name", "subtype", "tolerance"),
    [
        ("a.wav", "PCM_U8", 1e-2),
        ("a.wav", "PCM_16", 5e-5),
        ("a.wav", "PCM_24", 5e-7),
        ("a.wav", "FLOAT", 0),
        ("a.wav", "DOUBLE", 0),
        ("a.flac", "PCM_16", 5e-5),
        ("a.flac", "PCM_24", 5e-7),
        ("a.ogg", "VORBIS", 0.2),
    ],
)
def test_encodings(tmp_path: Path, tone: np.ndarray, name: str, subtype: str, tolerance: float) -> None:
    path = write(tmp_path / name, tone, subtype)
    info = probe(path)
    samples, rate = read_audio(path)
    assert (info.sample_rate, info.samples, info.channels, info.subtype) == (RATE, len(tone), 1, subtype)
    assert info.seconds == 2.0
    assert rate == RATE
    assert samples.dtype == np.float32
    assert np.abs(samples - tone).max() <= tolerance


def test_stereo_is_averaged_or_one_channel_taken(tmp_path: Path, tone: np.ndarray) -> None:
    path = write(tmp_path / "stereo.wav", np.stack([tone, np.zeros_like(tone)], axis=1), "FLOAT")
    assert probe(path).channels == 2
    assert np.allclose(read_audio(path)[0], tone / 2)
    assert np.array_equal(read_audio(path, channel=0)[0], tone)
    assert not read_audio(path, channel=1)[0].any()
    with pytest.raises(UserError, match="channel 2 was asked for and the file has 2"):
        read_audio(path, channel=2)


def test_part_of_a_file(tmp_path: Path, tone: np.ndarray) -> None:
    for name in ("a.wav", "a.flac"):
        path = write(tmp_path / name, tone, "PCM_16")
        whole, _ = read_audio(path)
        part, _ = read_audio(path, start=1234, samples=567)
        assert np.array_equal(part, whole[1234:1801])
        assert np.array_equal(read_audio(path, start=1234)[0], whole[1234:])
    with pytest.raises(AudioError, match="right file") as caught:
        read_audio(path, start=len(tone) - 10, samples=11)
    assert caught.value.problem == "truncated"
    with pytest.raises(UserError, match="must not be negative"):
        read_audio(path, start=-1)


def problem_of(path: Path) -> str:
    with pytest.raises(AudioError) as caught:
        read_audio(path)
    assert caught.value.path == path
    assert str(path) in str(caught.value)
    assert caught.value.problem in PROBLEMS
    return caught.value.problem


def test_missing(tmp_path: Path) -> None:
    assert problem_of(tmp_path / "nowhere.wav") == "missing"
    assert problem_of(tmp_path) == "missing"


def test_unreadable(tmp_path: Path) -> None:
    path = tmp_path / "text.wav"
    path.write_text("this is not audio, whatever its name says\n" * 10)
    assert problem_of(path) == "unreadable"


def test_empty(tmp_path: Path) -> None:
    nothing = tmp_path / "nothing.wav"
    nothing.touch()
    assert problem_of(nothing) == "empty"
    for name in ("header.wav", "header.flac"):
        path = write(tmp_path / name, np.zeros(0, np.float32), "PCM_16")
        assert problem_of(path) == "empty"
        with pytest.raises(AudioError):
            probe(path)


@pytest.mark.parametrize(("name", "subtype"), [("a.wav", "PCM_16"), ("a.wav", "FLOAT"), ("a.flac", "PCM_16"), ("a.ogg", "VORBIS")])
@pytest.mark.parametrize("share", [0.35, 0.9])
def test_truncated(tmp_path: Path, tone: np.ndarray, name: str, subtype: str, share: float) -> None:
    path = write(tmp_path / name, tone, subtype)
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    assert problem_of(path) == "truncated"


def test_what_is_left_of_a_truncated_flac_is_not_returned_quietly(tmp_path: Path, tone: np.ndarray) -> None:
    path = write(tmp_path / "a.flac", tone, "PCM_16")
    path.write_bytes(path.read_bytes()[:20_000])
    with pytest.raises(AudioError):
        read_audio(path, start=len(tone) - 100, samples=100)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_non_finite(tmp_path: Path, tone: np.ndarray, value: float) -> None:
    tone[777] = value
    path = write(tmp_path / "a.wav", tone, "FLOAT")
    assert problem_of(path) == "non_finite"
    with pytest.raises(AudioError, match="sample 777"):
        read_audio(path, start=700, samples=100)
    assert len(read_audio(path, start=800)[0]) == len(tone) - 800


def test_wav_written_to_a_pipe_has_no_length_and_is_whole(tmp_path: Path, tone: np.ndarray) -> None:
    path = write(tmp_path / "a.wav", tone, "PCM_16")
    content = bytearray(path.read_bytes())
    place = content.index(b"data")
    content[place + 4 : place + 8] = b"\xff\xff\xff\xff"
    content[4:8] = b"\xff\xff\xff\xff"
    path.write_bytes(content)
    assert len(read_audio(path)[0]) == len(tone)


def test_flac_of_unknown_length_is_refused(tmp_path: Path, tone: np.ndarray) -> None:
    path = write(tmp_path / "a.flac", tone, "PCM_16")
    content = bytearray(path.read_bytes())
    content[21] &= 0xF0  # the 36 bits of total samples in STREAMINFO: 0 means unknown
    content[22:26] = bytes(4)
    path.write_bytes(content)
    assert problem_of(path) == "unreadable"


def test_a_flac_damaged_in_the_middle_is_not_called_truncated(tmp_path: Path, tone: np.ndarray) -> None:
    path = write(tmp_path / "a.flac", tone, "PCM_16")
    content = bytearray(path.read_bytes())
    content[30_000:30_200] = bytes(200)
    path.write_bytes(content)
    assert problem_of(path) == "unreadable"


def test_real_recordings(data_pack: Path) -> None:
    path = next(iter(sorted((data_pack / "LibriSpeech").rglob("*.flac"))))
    samples, rate = read_audio(path)
    assert rate == 16_000
    assert len(samples) == probe(path).samples
    assert 0.01 < np.abs(samples).max() <= 1
