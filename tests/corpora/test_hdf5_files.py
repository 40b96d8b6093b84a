"""HDF5 utterances: both places a field may stand in, and every reason to refuse one."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from auscult.corpora.hdf5_files import UnusableFile, bucket_of, read_utterance, write_utterance
from auscult.errors import MissingExtra, UserError

h5py = pytest.importorskip("h5py")

FURTHER: dict[str, Any] = {
    "speaker": "103",
    "segment_text": ["hello", "world"],
    "segment_durations": [1.5, 1.0],
    "segment_file_paths": ["train/103-1240-0000.flac"],
}


@pytest.mark.parametrize("layout", ["datasets", "attributes"])
@pytest.mark.parametrize("integers", [False, True])
def test_what_is_written_is_read(noise: Callable[..., np.ndarray], tmp_path: Path, layout: str, integers: bool) -> None:
    """4 s of float samples are 256 kB: more than an attribute holds in HDF5's older format."""
    samples = noise(64_000)
    stored = np.rint(samples * 32768).astype(np.int16) if integers else samples
    path = tmp_path / "3-4" / "a.h5"
    write_utterance(path, stored, 16000, "hello wörld", FURTHER, layout)
    with h5py.File(path) as file:
        assert len(file) == (8 if layout == "datasets" else 0)
        assert len(file.attrs) == (0 if layout == "datasets" else 8)
    found = read_utterance(path)
    assert np.array_equal(found.samples, stored / np.float32(32768) if integers else samples)
    assert (found.sample_rate, found.transcript, found.further) == (16000, "hello wörld", FURTHER)
    assert not list(path.parent.glob(".*.tmp"))


def test_the_same_utterance_is_the_same_bytes(noise: Callable[..., np.ndarray], tmp_path: Path) -> None:
    for name in ("a.h5", "b.h5"):
        write_utterance(tmp_path / name, noise(), 16000, "x", FURTHER)
    assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "b.h5").read_bytes()


def make(path: Path, attributes: dict[str, Any], **datasets: Any) -> Path:
    with h5py.File(path, "w") as file:
        for key, value in datasets.items():
            file.create_dataset(key, data=value)
        file.attrs.update(attributes)
    return path


def test_fields_may_stand_in_both_places_and_the_transcript_in_segments(noise: Callable[..., np.ndarray], tmp_path: Path) -> None:
    segments = np.array([b"one", b"two"], dtype="S3")
    path = make(tmp_path / "a.h5", {"duration": 0.25}, waveform=noise(4000)[None].astype(np.float64), segment_text=segments)
    found = read_utterance(path, 16000)
    assert (found.transcript, found.samples.shape, found.samples.dtype) == ("one two", (4000,), np.float32)
    assert found.further == {"segment_text": ["one", "two"]}


def test_long_arrays_stay_in_the_file(noise: Callable[..., np.ndarray], tmp_path: Path) -> None:
    path = make(tmp_path / "a.h5", {"transcript": "x"}, waveform=noise(), segment_waveform=noise())
    assert read_utterance(path, 16000).further == {}


GOOD = np.full(16000, 0.1, np.float32)


@pytest.mark.parametrize(
    ("problem", "fields", "message"),
    [
        (
            "empty",
            {"audio": GOOD, "transcript": "x"},
            r'a\.h5 holds no "waveform", as a dataset or an attribute \(it holds audio, transcript\)',
        ),
        ("empty", {"waveform": GOOD[:0], "transcript": "x"}, "without samples"),
        ("untranscribed", {"waveform": GOOD, "duration": 1.0}, r'a\.h5 holds no "transcript".*\(it holds waveform, duration\)'),
        ("unreadable", {"waveform": np.ones((2, 99)), "transcript": "x"}, r"waveform of \(2, 99\) float64; expected \(time,\)"),
        ("unreadable", {"waveform": np.ones(99, np.int32), "transcript": "x"}, r"\(99,\) int32"),
        ("non_finite", {"waveform": GOOD * np.nan, "transcript": "x"}, "sample 0 is NaN"),
        ("mismatch", {"waveform": GOOD * 32768, "transcript": "x"}, r"reaches 3276.8; divide it by 32768"),
        ("mismatch", {"waveform": GOOD, "transcript": "x", "sample_rate": 0}, r"states a sample_rate of 0; expected hertz"),
        ("mismatch", {"waveform": GOOD, "transcript": "x", "duration": "long"}, r"states a duration of 'long'"),
    ],
)
def test_every_reason_names_the_file(tmp_path: Path, problem: str, fields: dict[str, Any], message: str) -> None:
    path = make(tmp_path / "a.h5", {}, **fields)
    with pytest.raises(UnusableFile, match=message) as caught:
        read_utterance(path, 16000)
    assert (caught.value.problem.problem, caught.value.problem.path) == (problem, path)


def test_samples_at_a_wrong_rate_are_found_by_their_duration(tmp_path: Path) -> None:
    """Read at 16 kHz, a file of 8 kHz is a voice at double speed, and nothing else would tell."""
    path = make(tmp_path / "a.h5", {"duration": 2.0, "transcript": "x"}, waveform=GOOD)
    with pytest.raises(
        UnusableFile, match=r"16000 samples, 1\.00 s at 16000 Hz, and states a duration of 2\.00 s; is its sample rate 8000 Hz"
    ):
        read_utterance(path, 16000)
    assert read_utterance(path, 8000).sample_rate == 8000
    with pytest.raises(UnusableFile, match="states no sample_rate"):
        read_utterance(path)


def test_what_is_no_hdf5_is_said(tmp_path: Path) -> None:
    (tmp_path / "a.h5").write_bytes(b"this is no HDF5" * 99)
    with pytest.raises(UnusableFile, match="cannot be read as HDF5"):
        read_utterance(tmp_path / "a.h5")


def test_what_could_not_be_read_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="reaches 3276"):
        write_utterance(tmp_path / "a.h5", GOOD * 32768, 16000, "x")
    with pytest.raises(UserError, match="sample_rate of 0"):
        write_utterance(tmp_path / "a.h5", GOOD, 0, "x")
    with pytest.raises(UserError, match="further field duration"):
        write_utterance(tmp_path / "a.h5", GOOD, 16000, "x", {"duration": 3.0})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("seconds", "name"), [(0.0, "0-1"), (0.999, "0-1"), (1.0, "1-2"), (3.5, "3-4"), (10.2, "10-11")])
def test_buckets_are_half_open(seconds: float, name: str) -> None:
    assert bucket_of(seconds) == name


def test_without_h5py_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(MissingExtra, match=r"writing HDF5 utterances needs an extra: pip install 'auscult\[hdf5\]'"):
        write_utterance(tmp_path / "a.h5", GOOD, 16000, "x")
    with pytest.raises(MissingExtra, match=r"reading HDF5 utterances needs an extra"):
        read_utterance(tmp_path / "a.h5")
