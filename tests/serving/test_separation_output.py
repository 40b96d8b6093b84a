"""Files of speakers: whole or not there, never clipped; pipes: saturated and counted."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile

from auscult.errors import UserError
from auscult.serving.separation_output import SpeakerFiles, SpeakerPipe


def blocks(level: float = 0.1) -> list[np.ndarray]:
    return [
        np.asarray(level * np.random.default_rng(place).standard_normal((2, size)), np.float32) for place, size in enumerate((70_000, 0, 5))
    ]


def write(folder: Path, parts: Iterable[np.ndarray], encoding: str = "pcm16") -> dict:  # type: ignore[type-arg]
    with SpeakerFiles(folder, "talk", 2, 8000, encoding) as files:  # type: ignore[arg-type]
        for part in parts:
            files.write(part)
        return files.finish()


def test_files_hold_what_was_written(tmp_path: Path) -> None:
    record = write(tmp_path / "new" / "folder", blocks())
    assert [Path(path).name for path in record["outputs"]] == ["talk-speaker1.wav", "talk-speaker2.wav"]
    assert record["gain"] == 1.0
    expected = np.concatenate(blocks(), axis=1)
    for path, samples in zip(record["outputs"], expected, strict=True):
        assert soundfile.info(path).subtype == "PCM_16"
        assert np.abs(soundfile.read(path, dtype="float32")[0] - samples).max() <= 0.5 / 32768
    assert sorted(path.name for path in (tmp_path / "new" / "folder").iterdir()) == ["talk-speaker1.wav", "talk-speaker2.wav"]


def test_a_peak_beyond_full_scale_makes_all_speakers_quieter_by_one_gain(tmp_path: Path) -> None:
    """Wrapped or saturated samples are what users of other tools complain of; the peak here comes last, when all else is written."""
    parts = [*blocks(), np.array([[0.0, 2.0], [0.0, 0.5]], np.float32)]
    record = write(tmp_path, parts)
    assert record["gain"] == pytest.approx(32767 / 32768 / 2)
    first, second = (soundfile.read(path, dtype="float32")[0] for path in record["outputs"])
    assert first.max() == 32767 / 32768
    assert np.abs(np.stack([first, second]) / record["gain"] - np.concatenate(parts, axis=1)).max() < 2 / 32768
    exact = write(tmp_path, parts, "float32")
    assert exact["gain"] == 1.0
    assert np.array_equal(soundfile.read(exact["outputs"][0], dtype="float32")[0], np.concatenate(parts, axis=1)[0])


def test_an_interruption_leaves_what_was_there(tmp_path: Path) -> None:
    write(tmp_path, blocks())
    before = (tmp_path / "talk-speaker1.wav").read_bytes()

    def interrupted() -> Iterator[np.ndarray]:
        yield blocks(0.5)[0]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write(tmp_path, interrupted())
    assert (tmp_path / "talk-speaker1.wav").read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 2


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written"):
        write(tmp_path / "file" / "folder", blocks())


def test_more_than_wav_can_count_is_refused(tmp_path: Path) -> None:
    with SpeakerFiles(tmp_path, "talk", 2, 8000) as files:
        files._samples = 2**31
        with pytest.raises(UserError, match="4 GB"):
            files.finish()
    assert not list(tmp_path.iterdir())


def test_a_pipe_is_interleaved_and_says_what_it_saturated() -> None:
    stream = io.BytesIO()
    pipe = SpeakerPipe(stream, 2, 8000, bare=True)
    pipe.write(np.array([[0.5, 1.5], [-0.25, -1.0]], np.float32))
    assert np.frombuffer(stream.getvalue(), "<i2").tolist() == [16384, -8192, 32767, -32768]
    assert pipe.finish() == {"outputs": ["-"], "saturated": 1}


def test_a_pipe_of_wav_can_be_read_again(tmp_path: Path) -> None:
    stream = io.BytesIO()
    pipe = SpeakerPipe(stream, 2, 8000, bare=False)
    pipe.write(blocks()[0])
    (tmp_path / "some.wav").write_bytes(stream.getvalue())
    samples, rate = soundfile.read(tmp_path / "some.wav", dtype="float32")
    assert rate == 8000
    assert np.abs(samples.T - blocks()[0]).max() <= 0.5 / 32768
