"""Blocks of files and pipes: together they are what reading all at once gives, and what is wrong is said."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from auscult.audio.blocks import PipeFormat, file_blocks, pipe_blocks, read_pipe_header, resampled
from auscult.audio.reading import AudioError, read_audio
from auscult.audio.resampling import resample
from auscult.errors import UserError


def noise(samples: int, channels: int = 1) -> np.ndarray:
    return (0.1 * np.random.default_rng(0).standard_normal((samples, channels))).astype(np.float32)


@pytest.mark.parametrize(("ending", "subtype"), [("wav", "PCM_16"), ("wav", "FLOAT"), ("flac", "PCM_24"), ("ogg", "VORBIS")])
@pytest.mark.parametrize("channels", [1, 3])
def test_blocks_of_a_file_are_the_file(tmp_path: Path, ending: str, subtype: str, channels: int) -> None:
    path = tmp_path / f"some.{ending}"
    soundfile.write(path, noise(10_007, channels), 16_000, subtype=subtype)
    blocks = list(file_blocks(path, block=1000))
    assert [len(block) for block in blocks] == [1000] * 10 + [7]
    assert np.array_equal(np.concatenate(blocks), read_audio(path)[0])


@given(st.lists(st.integers(1, 5000), min_size=1, max_size=8), st.sampled_from([(16_000, 8_000), (44_100, 16_000), (8_000, 16_000)]))
@settings(max_examples=20)
def test_resampled_blocks_have_the_bits_of_the_whole(sizes: list[int], rates: tuple[int, int]) -> None:
    samples = noise(sum(sizes))[:, 0]
    blocks = np.split(samples, np.cumsum(sizes)[:-1])
    assert np.array_equal(np.concatenate(list(resampled(blocks, *rates))), resample(samples, *rates))


def test_files_that_cannot_be_used_are_named(tmp_path: Path) -> None:
    for name, content in (("gone.wav", None), ("empty.wav", b""), ("text.wav", b"no sound at all")):
        if content is not None:
            (tmp_path / name).write_bytes(content)
        with pytest.raises(AudioError, match=name):
            list(file_blocks(tmp_path / name))
    values = noise(5000)
    values[4321] = np.nan
    soundfile.write(tmp_path / "nan.wav", values, 8000, subtype="FLOAT")
    with pytest.raises(AudioError, match="sample 4321 is NaN"):
        list(file_blocks(tmp_path / "nan.wav", block=1000))
    soundfile.write(tmp_path / "cut.flac", noise(50_000), 8000)
    whole = (tmp_path / "cut.flac").read_bytes()
    (tmp_path / "cut.flac").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(AudioError, match=r"cut\.flac"):
        list(file_blocks(tmp_path / "cut.flac"))


@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_32", "FLOAT", "DOUBLE"])
@pytest.mark.parametrize("container", ["WAV", "WAVEX"])
def test_a_pipe_gives_what_the_file_gives(tmp_path: Path, subtype: str, container: str) -> None:
    path = tmp_path / "some.wav"
    soundfile.write(path, noise(5003, 2), 16_000, subtype=subtype, format=container)
    pipe = io.BytesIO(path.read_bytes() + b"LIST\x04\x00\x00\x00abcd")  # what follows the samples is not sound
    layout = read_pipe_header(pipe)
    assert (layout.sample_rate, layout.channels) == (16_000, 2)
    assert np.allclose(np.concatenate(list(pipe_blocks(pipe, layout, block=100))), read_audio(path)[0], atol=1e-7)


class Dripping(io.RawIOBase):
    """Gives a few bytes at a time, samples cut in half, as sockets do."""

    def __init__(self, content: bytes) -> None:
        self.content = content

    def read1(self, size: int) -> bytes:
        taken, self.content = self.content[: min(size, 3)], self.content[min(size, 3) :]
        return taken


def test_samples_that_arrive_in_halves_are_put_together() -> None:
    values = (np.arange(1000, dtype="<i2") - 500).reshape(-1, 2)
    blocks = list(pipe_blocks(Dripping(values.tobytes()), PipeFormat(8000, channels=2)))  # type: ignore[arg-type]
    assert np.allclose(np.concatenate(blocks) * 32768, values.mean(axis=1))


def test_headers_of_streams_state_no_length(tmp_path: Path) -> None:
    samples = (noise(300)[:, 0] * 32768).astype("<i2")
    head = struct.pack("<4sI4s4sIHHIIHH4sI", b"RIFF", 0xFFFFFFFF, b"WAVE", b"fmt ", 16, 1, 1, 8000, 16000, 2, 16, b"data", 0xFFFFFFFF)
    pipe = io.BytesIO(head + samples.tobytes())
    layout = read_pipe_header(pipe)
    assert layout.length is None
    assert len(np.concatenate(list(pipe_blocks(pipe, layout)))) == 300


def test_pipes_that_cannot_be_used_are_refused(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "wide.wav", noise(100), 8000, subtype="PCM_24")
    whole = (tmp_path / "wide.wav").read_bytes()
    for content, message in (
        (b"", "no WAV"),
        (b"fLaC" + bytes(40), "no WAV"),
        (whole[:30], "before its first sample"),
        (whole, "16 or 32 bits"),
    ):
        with pytest.raises(UserError, match=message):
            read_pipe_header(io.BytesIO(content))
    soundfile.write(tmp_path / "some.wav", noise(100), 8000)
    pipe = io.BytesIO((tmp_path / "some.wav").read_bytes()[:-20])
    with pytest.raises(UserError, match="20 bytes before"):
        list(pipe_blocks(pipe, read_pipe_header(pipe)))
