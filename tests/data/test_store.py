"""The store returns the same bits cached or not, stays within its limit, and is fast enough for words."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
import soundfile
from lhotse import AudioSource, CutSet, MonoCut, Recording

from auscult.audio.reading import AudioError
from auscult.audio.resampling import resample
from auscult.data.store import AudioStore, paths_of
from auscult.data.strings import concatenate_words
from auscult.errors import UserError


def test_same_bits_cached_or_not(record) -> None:  # type: ignore[no-untyped-def]
    cuts = [record("int"), record("float", subtype="FLOAT"), record("wide", rate=16000), record("full", np.array([-1.0, 0.5, 0.999]))]
    for rate in (8000, 16000):
        kept, direct = AudioStore(rate, 10), AudioStore(rate, 0)
        for cut in cuts:
            first, second = kept.samples(cut), kept.samples(cut)
            assert first.dtype == np.float32
            assert first.tobytes() == second.tobytes() == direct.samples(cut).tobytes()
            np.testing.assert_array_equal(first, resample(cut.load_audio()[0], cut.sampling_rate, rate))
        assert kept.reads == len(cuts)
        assert direct.reads == len(cuts)
        assert direct.bytes == 0


def test_callers_cannot_change_the_cache(record) -> None:  # type: ignore[no-untyped-def]
    for cut in (record("a"), record("b", subtype="FLOAT")):
        store = AudioStore(8000, 10)
        before = store.samples(cut).copy()
        store.samples(cut)[:] = 0
        np.testing.assert_array_equal(store.samples(cut), before)


def test_memory_is_bounded_and_the_oldest_leaves(record) -> None:  # type: ignore[no-untyped-def]
    cuts = [record(f"c{i}", samples=100_000) for i in range(15)]  # 200 kB each as int16
    store = AudioStore(8000, 1)
    for cut in cuts[:5]:
        store.samples(cut)
    assert store.bytes == 1_000_000  # int16, not float32
    store.samples(cuts[0])
    for cut in cuts[5:9]:
        store.samples(cut)
    assert store.bytes <= 2**20
    reads = store.reads
    store.samples(cuts[0])
    assert store.reads == reads  # recently used, kept
    store.samples(cuts[1])
    assert store.reads == reads + 1


def test_segments_do_not_depend_on_what_was_read_before(record) -> None:  # type: ignore[no-untyped-def]
    whole = record("long", samples=16000)
    part = whole.truncate(offset=0.25, duration=0.5)
    fresh, used = AudioStore(16000, 10), AudioStore(16000, 10)
    used.samples(whole)
    assert fresh.samples(part).tobytes() == used.samples(part).tobytes()
    np.testing.assert_array_equal(AudioStore(8000, 1).samples(part), whole.load_audio()[0, 2000:6000])


def test_stereo_cut_reads_its_channel(tmp_path: Path) -> None:
    values = np.random.default_rng(0).uniform(-0.5, 0.5, (100, 2))
    soundfile.write(tmp_path / "two.wav", values, 8000)
    source = AudioSource(type="file", channels=[0, 1], source=str(tmp_path / "two.wav"))
    recording = Recording(id="two", sources=[source], sampling_rate=8000, num_samples=100, duration=100 / 8000, channel_ids=[0, 1])
    cut = MonoCut(id="two", start=0, duration=100 / 8000, channel=1, supervisions=[], recording=recording)
    np.testing.assert_allclose(AudioStore(8000, 1).samples(cut), values[:, 1], atol=1e-4)


def test_everything_lhotse_can_read_is_read(record) -> None:  # type: ignore[no-untyped-def]
    one, other = record("one"), record("other")
    store = AudioStore(8000, 1)
    for cut in (
        one.append(other),
        one.pad(duration=1.0),
        one.append(other).pad(duration=2.0),
        one.mix(other, snr=10),
        one.perturb_speed(1.1),
    ):
        np.testing.assert_allclose(store.samples(cut), cut.load_audio()[0], atol=1e-6)
    assert paths_of(one.append(other)) == [one.recording.sources[0].source, other.recording.sources[0].source]


def test_failed_read_is_error(record) -> None:  # type: ignore[no-untyped-def]
    """R3 returned zeros for an unreadable file and trained on them."""
    good = record("good")
    path = Path(good.recording.sources[0].source)
    store = AudioStore(8000, 0)
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(AudioError, match=r"good\.wav"):
        store.samples(good)
    path.unlink()
    with pytest.raises(AudioError, match=r"good\.wav"):
        store.samples(good)


def test_manifest_that_does_not_fit_the_file_is_error(record, make_cut) -> None:  # type: ignore[no-untyped-def]
    path = record("a").recording.sources[0].source
    with pytest.raises(UserError, match="manifest says 16000 Hz, the file has 8000 Hz"):
        AudioStore(8000, 1).samples(make_cut("a", path, rate=16000))
    with pytest.raises(UserError, match="manifest says 3000 samples, the file has 4000"):
        AudioStore(8000, 1).samples(make_cut("a", path, samples=3000))


def test_a_worker_gets_an_empty_cache(record) -> None:  # type: ignore[no-untyped-def]
    store = AudioStore(8000, 1)
    cut = record("a")
    expected = store.samples(cut)
    copy = pickle.loads(pickle.dumps(store))
    assert copy.bytes == copy.reads == 0
    np.testing.assert_array_equal(copy.samples(cut), expected)


def test_every_file_is_decoded_once(record) -> None:  # type: ignore[no-untyped-def]
    words = CutSet.from_cuts([record(f"w{i}") for i in range(40)])
    strings = list(concatenate_words(words, 500, (4, 4), (0.05, 0.2), np.random.default_rng(0)))
    store = AudioStore(8000, 50)
    for string in strings:
        store.samples(string)
    assert store.reads == 40


def test_a_stretch_has_the_bits_of_the_whole_whether_the_whole_was_read_or_not(record) -> None:  # type: ignore[no-untyped-def]
    cuts = [record("a", samples=9000), record("float", samples=9000, subtype="FLOAT"), record("wide", samples=9000, rate=16000)]
    cuts.append(record("part of it", samples=9000).truncate(offset=0.25, duration=0.5))
    for cut in cuts:
        kept, direct = AudioStore(8000, 10), AudioStore(8000, 0)
        whole = kept.samples(cut)
        for start, count in ((0, 1000), (700, 2000), (len(whole) - 50, 50)):
            expected = whole[start : start + count]
            np.testing.assert_array_equal(kept.stretch(cut, start, count), expected)
            np.testing.assert_array_equal(direct.stretch(cut, start, count), expected)
        np.testing.assert_array_equal(direct.stretch(cut, 0, len(whole) + 30), np.concatenate([whole, whole[:30]]))


def test_only_the_stretch_is_decoded_once_the_cache_is_full(record, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    from auscult.data import store as module

    decoded: list[int] = []
    read = module.read_audio

    def counting(*arguments: object, **keywords: object) -> object:
        samples, rate = read(*arguments, **keywords)  # type: ignore[arg-type]
        decoded.append(len(samples))
        return samples, rate

    monkeypatch.setattr(module, "read_audio", counting)
    cuts = [record(f"c{index}", samples=300_000) for index in range(3)]  # 600 kB each as int16: one fits into a megabyte
    store = AudioStore(8000, 1)
    for cut in cuts:
        store.stretch(cut, 1000, 2000)
        store.stretch(cut, 5000, 2000)
    assert decoded == [300_000, 2000, 2000, 2000, 2000]
