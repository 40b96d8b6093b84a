"""The short way through a WAV file gives the bits and the refusals of the long one, or leaves the file to it."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
import soundfile

from auscult.audio import reading
from auscult.audio.plain_wav import read_plain_wav
from auscult.audio.reading import read_audio
from auscult.errors import UserError

RATE = 16_000
REQUESTS = [(0, None, None), (0, 50, None), (700, 300, None), (999, 1, None), (1000, 0, None), (400, None, None), (990, 11, None),
            (-1, 5, None), (5, -1, None), (1001, None, None), (0, 10, 0), (3, 10, 1), (0, 10, 2), (0, 10, -1)]  # fmt: skip


def outcome(path: Path, request: tuple[int, int | None, int | None]) -> object:
    try:
        samples, rate = read_audio(path, *request)
    except UserError as error:
        return str(error)
    return samples.dtype, samples.shape, samples.tobytes(), rate


def chunk(name: bytes, content: bytes, length: int | None = None) -> bytes:
    return struct.pack("<4sI", name, len(content) if length is None else length) + content + bytes(len(content) % 2)


def wav(*chunks: bytes) -> bytes:
    return struct.pack("<4sI4s", b"RIFF", 4 + sum(map(len, chunks)), b"WAVE") + b"".join(chunks)


def header(channels: int = 1, bits: int = 16, code: int = 1) -> bytes:
    return chunk(b"fmt ", struct.pack("<HHIIHH", code, channels, RATE, RATE * channels * bits // 8, channels * bits // 8, bits))


NOISE = np.random.default_rng(0).integers(-32768, 32768, 2000).astype("<i2").tobytes()
MONO, STEREO = NOISE[:2000], NOISE
FILES = {
    "mono": wav(header(), chunk(b"data", MONO)),
    "stereo": wav(header(2), chunk(b"data", STEREO)),
    "notes around": wav(chunk(b"LIST", b"odd"), header(), chunk(b"fact", bytes(4)), chunk(b"data", MONO), chunk(b"LIST", bytes(9))),
    "a long note before": wav(header(), chunk(b"LIST", bytes(5000)), chunk(b"data", MONO)),
    "cut off": wav(header(), chunk(b"data", MONO))[:1500],
    "cut off in the header": wav(header(), chunk(b"data", MONO))[:30],
    "length of a pipe": wav(header(), chunk(b"data", MONO, 0xFFFFFFFF)),
    "length 0": wav(header(), chunk(b"data", MONO, 0)),
    "half a sample more": wav(header(), chunk(b"data", MONO + b"x")),
    "one channel more": wav(header(2), chunk(b"data", STEREO[:-2])),
    "no samples": wav(header(), chunk(b"data", b"")),
    "8 bits": wav(header(bits=8), chunk(b"data", MONO)),
    "24 bits": wav(header(bits=24), chunk(b"data", MONO[:1998])),
    "A-law": wav(header(bits=8, code=6), chunk(b"data", MONO)),
    "data first": wav(chunk(b"data", MONO), header()),
    "another kind": wav(header(), chunk(b"data", MONO)).replace(b"WAVE", b"AVI "),
    "nothing": b"",
    "text": b"RIFF is a word\n" * 20,
}  # fmt: skip


@pytest.mark.parametrize("name", FILES)
def test_both_ways_agree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(FILES[name])
    found = [outcome(path, request) for request in REQUESTS]
    monkeypatch.setattr(reading, "read_plain_wav", lambda *_: None)
    assert found == [outcome(path, request) for request in REQUESTS]


def test_every_cut_of_a_file_is_refused_alike(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, found = tmp_path / "a.wav", []
    lengths = (*range(0, 60), 61, 500, 2043)
    for short in (True, False):
        if not short:
            monkeypatch.setattr(reading, "read_plain_wav", lambda *_: None)
        for length in lengths:
            path.write_bytes(FILES["mono"][:length])
            found.append(outcome(path, (0, 2, None)))
    assert found[: len(lengths)] == found[len(lengths) :]
    assert all(isinstance(one, str) for one in found)


def test_plain_files_are_read_without_a_decoder(tmp_path: Path) -> None:
    for name in ("mono", "stereo", "notes around"):
        (tmp_path / "a.wav").write_bytes(FILES[name])
        read = read_plain_wav(str(tmp_path / "a.wav"), 3, 20, 0)
        assert read is not None
        expected = soundfile.read(tmp_path / "a.wav", dtype="float32", always_2d=True)[0][3:23, 0]
        assert read[0].tobytes() == expected.tobytes()
    assert read_plain_wav(str(tmp_path), 0, 1, None) is None
    assert read_plain_wav(str(tmp_path / "nowhere.wav"), 0, 1, None) is None


@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24"])
@pytest.mark.parametrize("channels", [1, 2])
def test_flac_has_the_bits_that_libsndfile_makes_of_it(tmp_path: Path, subtype: str, channels: int) -> None:
    values = np.random.default_rng(1).uniform(-1, 1, (9000, channels))
    soundfile.write(tmp_path / "a.flac", values, RATE, subtype=subtype)
    expected = soundfile.read(tmp_path / "a.flac", dtype="float32", always_2d=True)[0]
    for start, count in ((0, 9000), (5000, 100), (8999, 1)):
        part = expected[start : start + count]
        assert read_audio(tmp_path / "a.flac", start, count, 0)[0].tobytes() == part[:, 0].tobytes()
        assert read_audio(tmp_path / "a.flac", start, count)[0].tobytes() == part.mean(axis=1, dtype=np.float32).tobytes()
