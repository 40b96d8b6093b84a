"""The reference layout as a corpus: exact samples through the cache, buckets, speakers, and files that cannot be used."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from auscult.audio.reading import probe, read_audio
from auscult.corpora.hdf5_files import bucket_of, write_utterance
from auscult.corpora.hdf5_folder import Hdf5Folder
from auscult.corpora.prepare import prepare
from auscult.errors import MissingExtra, UserError
from auscult.registry import build
from auscult.testing.corpora import check_corpus

h5py = pytest.importorskip("h5py")

LIBRISPEECH = r"(\d+)-\d+-\d+"


@pytest.fixture
def folder(noise: Callable[..., np.ndarray], tmp_path: Path) -> Path:
    """Four utterances of 0.5 to 3.5 s; the second as attributes, the third in integers."""
    for number, samples in enumerate((8_000, 24_000, 40_000, 56_000)):
        sound = noise(samples)
        path = tmp_path / "h5" / bucket_of(samples / 16000) / f"{number + 1}-77-000{number}.h5"
        stored = np.rint(sound * 32768).astype(np.int16) if number == 2 else sound
        further = {"segment_file_paths": [f"x/{number + 1}-77-000{number}.flac"]}
        write_utterance(path, stored, 16000, f"text {number}", further, "attributes" if number == 1 else "datasets")
    return tmp_path / "h5"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("AUSCULT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "hdf5"


def test_the_layout_of_the_reference(folder: Path, noise: Callable[..., np.ndarray]) -> None:
    corpus = build("corpus", {"name": "hdf5_folder", "source": str(folder), "speaker_pattern": LIBRISPEECH})
    check_corpus(corpus)
    cuts = corpus.splits()["all"]
    assert list(cuts.ids) == ["0-1/1-77-0000", "1-2/2-77-0001", "2-3/3-77-0002", "3-4/4-77-0003"]
    cut = cuts["1-2/2-77-0001"]
    assert (cut.supervisions[0].text, cut.supervisions[0].speaker) == ("text 1", "2")
    assert cut.custom == {"bucket": "1-2", "segment_file_paths": ["x/2-77-0001.flac"]}
    assert np.array_equal(cut.load_audio()[0], noise(24_000))


def test_buckets_can_be_splits(folder: Path) -> None:
    splits = Hdf5Folder(str(folder), splits_from="folder").splits()
    assert {split: len(cuts) for split, cuts in splits.items()} == {"0-1": 1, "1-2": 1, "2-3": 1, "3-4": 1}


def test_samples_keep_their_bits_and_speech_of_16_bits_its_size(data_pack: Path, tmp_path: Path) -> None:
    path = sorted((data_pack / "LibriSpeech").rglob("*.flac"))[0]
    samples, rate = read_audio(path)
    write_utterance(tmp_path / "h5" / "real.h5", samples, rate, "x")
    cut = Hdf5Folder(str(tmp_path / "h5")).splits()["all"]["real"]
    audio = Path(cut.recording.sources[0].source)
    assert probe(audio).subtype == "PCM_16"
    assert np.array_equal(read_audio(audio)[0], samples)


def test_a_second_look_reads_the_cache_and_needs_no_h5py(folder: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = Hdf5Folder(str(folder)).splits()["all"]
    (made,) = cache.iterdir()
    monkeypatch.setitem(sys.modules, "h5py", None)
    assert Hdf5Folder(str(folder)).splits()["all"] == first
    assert list(cache.iterdir()) == [made]
    next(iter(sorted(made.rglob("*.wav")))).write_bytes(b"")
    with pytest.raises(UserError, match=r"the cached audio in .* is damaged"):
        Hdf5Folder(str(folder)).splits()


def test_a_changed_file_is_read_again(folder: Path, noise: Callable[..., np.ndarray]) -> None:
    Hdf5Folder(str(folder)).splits()
    path = folder / "0-1" / "1-77-0000.h5"
    write_utterance(path, -noise(8_000), 16000, "other")
    os.utime(path, ns=(1, path.stat().st_mtime_ns + 1))
    cut = Hdf5Folder(str(folder)).splits()["all"]["0-1/1-77-0000"]
    assert cut.supervisions[0].text == "other"
    assert np.array_equal(cut.load_audio()[0], -noise(8_000))


def test_unusable_files_are_named_with_their_reasons_also_from_the_cache(folder: Path) -> None:
    with h5py.File(folder / "0-1" / "bad.h5", "w") as file:
        file["transcript"] = "x"
    with h5py.File(folder / "0-1" / "mute.h5", "w") as file:
        file["waveform"] = np.zeros(99)
    for _ in range(2):
        with pytest.raises(
            UserError, match=r'2 of the files.*bad\.h5 holds no "waveform".*mute\.h5 holds no "transcript".*error_budget: 2'
        ):
            Hdf5Folder(str(folder)).splits()
    corpus = Hdf5Folder(str(folder), error_budget=2)
    assert len(corpus.splits()["all"]) == 4
    assert [problem.problem for problem in corpus.problems] == ["empty", "untranscribed"]


def test_files_without_folder_or_speaker_are_problems(folder: Path, noise: Callable[..., np.ndarray]) -> None:
    write_utterance(folder / "alone.h5", noise(), 16000, "x")
    with pytest.raises(UserError, match=r"alone\.h5 lies in no folder"):
        Hdf5Folder(str(folder), splits_from="folder").splits()
    with pytest.raises(UserError, match=r"alone\.h5 does not say who speaks"):
        Hdf5Folder(str(folder), speaker_pattern=LIBRISPEECH).splits()
    with pytest.raises(UserError, match="has no group"):
        Hdf5Folder(str(folder), speaker_pattern="x")
    with pytest.raises(UserError, match="no regular expression"):
        Hdf5Folder(str(folder), speaker_pattern="(")


def test_a_speaker_may_be_a_field(noise: Callable[..., np.ndarray], tmp_path: Path) -> None:
    write_utterance(tmp_path / "h5" / "a.h5", noise(), 8000, "x", {"speaker": "ann", "segment_durations": [0.5]})
    cut = Hdf5Folder(str(tmp_path / "h5")).splits()["all"]["a"]
    assert (cut.supervisions[0].speaker, cut.sampling_rate, cut.custom) == ("ann", 8000, {"segment_durations": [0.5]})


def test_prepared_with_all_samples_decoded(folder: Path, tmp_path: Path) -> None:
    made = prepare(Hdf5Folder(str(folder)), tmp_path / "prepared", pack=True)
    assert made.description["splits"]["all"]["utterances"] == 4


def test_a_folder_without_hdf5_is_refused(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", np.zeros(9), 16000)
    with pytest.raises(UserError, match=r"holds no \.h5 or \.hdf5 file"):
        Hdf5Folder(str(tmp_path)).splits()


def test_without_h5py_the_extra_is_named_and_nothing_fails_to_import(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(MissingExtra, match=r"the corpus hdf5_folder needs an extra: pip install 'auscult\[hdf5\]'"):
        Hdf5Folder(str(folder)).splits()
    code = (
        "import sys; sys.modules['h5py'] = None; from auscult.registry import registered; "
        "assert 'hdf5_folder' in registered('corpus'); import auscult.report.hdf5"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
