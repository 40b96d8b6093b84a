"""A pack gives the bits and the hash of the files it was made of, and is refused where it is not the pack of its manifests."""

from __future__ import annotations

import json
import os
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from lhotse import AudioSource, CutSet, MonoCut, Recording, SupervisionSegment

from auscult.audio.resampling import resample
from auscult.corpora.folder import Folder
from auscult.corpora.manifests import Manifests
from auscult.corpora.packs.source import PackedSource
from auscult.corpora.prepare import prepare
from auscult.data.selection import manifest_hash
from auscult.data.store import AudioStore
from auscult.errors import UserError
from auscult.testing.corpora import check_corpus, toy_corpus

RATE = 16000


def noise(samples: int, channels: int = 1, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-1, 1, (samples, channels))


def cuts_of(folder: Path, split: str = "all") -> list[Any]:
    return list(Manifests(str(folder)).splits()[split])


@pytest.fixture
def folder_of(tmp_path: Path) -> Callable[..., Folder]:
    """A corpus of files, given by name as samples and subtype."""

    def make(*files: tuple[str, np.ndarray, str], rate: int = RATE, **parameters: Any) -> Folder:
        rows = []
        for name, samples, subtype in files:
            soundfile.write(tmp_path / name, samples, rate, subtype=subtype)
            rows.append({"audio": name, "id": name, "speaker": "ann"})
        (tmp_path / "m.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        return Folder(str(tmp_path / "m.jsonl"), **parameters)

    return make


@pytest.mark.parametrize("rate", [8000, 16000])
def test_the_bits_of_the_files(tmp_path: Path, folder_of, rate: int) -> None:  # type: ignore[no-untyped-def]
    names = [("a.wav", "PCM_16"), ("b.flac", "PCM_16"), ("c.wav", "PCM_U8"), ("zażółć\u2028 ñ.wav", "PCM_16")]
    corpus = folder_of(*((name, noise(9000 + len(name), seed=at), subtype) for at, (name, subtype) in enumerate(names)), rate=rate)
    plain, packed = (prepare(corpus, tmp_path / name, pack=name == "packed").folder for name in ("plain", "packed"))
    check_corpus(Manifests(str(packed)))
    for file, pack in zip(cuts_of(plain), cuts_of(packed), strict=True):
        assert isinstance(pack.recording.sources[0], PackedSource)
        assert (file.id, file.duration, file.supervisions) == (pack.id, pack.duration, pack.supervisions)
        for target in (rate, 12000):
            from_file, from_pack = AudioStore(target, 10), AudioStore(target, 10)
            pieces = [(store.samples(one), store.samples(one.truncate(offset=0.1, duration=0.2)))
                      for store, one in ((from_file, file), (from_pack, pack), (from_pack, pack))]  # fmt: skip
            assert len({(whole.tobytes(), part.tobytes()) for whole, part in pieces}) == 1
            for start, count in ((0, 10), (3000, 2000), (0, 20_000)):
                for change in (lambda cut: cut, lambda cut: cut.truncate(offset=0.1, duration=0.4)):
                    one, other = from_file.stretch(change(file), start, count), from_pack.stretch(change(pack), start, count)
                    assert other.dtype == np.float32
                    assert one.tobytes() == other.tobytes()
            assert from_pack.bytes == 0 or target != rate
        for change in (lambda cut: cut.truncate(offset=0.1, duration=0.2), lambda cut: cut.perturb_speed(1.1), lambda cut: cut.append(cut)):
            np.testing.assert_array_equal(change(pack).load_audio(), change(file).load_audio())
    assert manifest_hash(cuts_of(plain)) == manifest_hash(cuts_of(packed))


@pytest.mark.parametrize("subtype", ["PCM_16", "FLOAT"])
def test_what_is_read_can_be_written_to(tmp_path: Path, folder_of, subtype: str) -> None:  # type: ignore[no-untyped-def]
    folder = prepare(folder_of(("a.wav", noise(900), subtype), ("b.wav", noise(900), subtype)), tmp_path / "p", pack=True).folder
    (cut, _), store = cuts_of(folder), AudioStore(RATE, 0)
    before = store.stretch(cut, 5, 10).copy()
    store.stretch(cut, 5, 10)[:] = 0
    np.testing.assert_array_equal(store.stretch(cut, 5, 10), before)


def test_a_pack_stands_alone(tmp_path: Path, folder_of) -> None:  # type: ignore[no-untyped-def]
    """The recordings may be on another machine; names and hashes stay theirs."""
    corpus = folder_of(("a.wav", noise(900), "PCM_16"))
    folder = prepare(corpus, tmp_path / "packed", pack=True).folder
    (before,) = corpus.splits()["all"]
    expected, hashed = AudioStore(RATE, 0).samples(before), manifest_hash([before])
    (tmp_path / "a.wav").unlink()
    (cut,) = cuts_of(folder.rename(tmp_path / "moved"))
    np.testing.assert_array_equal(AudioStore(RATE, 0).samples(cut), expected)
    assert manifest_hash([cut]) == hashed
    assert cut.recording.sources[0].source == str(tmp_path / "a.wav")


@pytest.mark.parametrize(("subtype", "name"), [("PCM_24", "a.wav"), ("FLOAT", "a.wav"), ("PCM_24", "a.flac"), ("VORBIS", "a.ogg")])
def test_what_16_bits_cannot_hold_is_kept_in_float32(tmp_path: Path, folder_of, subtype: str, name: str) -> None:  # type: ignore[no-untyped-def]
    corpus = folder_of(("first.wav", noise(500), "PCM_16"), (name, noise(700) * 0.3, subtype))
    prepared = prepare(corpus, tmp_path / "packed", pack=True)
    assert prepared.description["pack"]["float32_because"] == f"{tmp_path / name} is stored as {subtype}, which 16 bits cannot hold"
    store = AudioStore(RATE, 0)
    for file, pack in zip(corpus.splits()["all"], cuts_of(prepared.folder), strict=True):
        assert store.samples(file).tobytes() == store.samples(pack).tobytes()
    assert (prepared.folder / "audio.float32").stat().st_size == 4 * 1200


def test_several_rates_are_refused_or_resampled_once(tmp_path: Path, folder_of) -> None:  # type: ignore[no-untyped-def]
    soundfile.write(tmp_path / "wide.wav", noise(22050), 22050)
    corpus = folder_of(("a.wav", noise(900), "PCM_16"))
    with (tmp_path / "m.jsonl").open("a") as rows:
        rows.write(json.dumps({"audio": "wide.wav"}) + "\n")
    corpus = Folder(str(tmp_path / "m.jsonl"))
    with pytest.raises(UserError, match=r'2 sample rates, from 16000 Hz \("a.wav"\) to 22050 Hz \("wide"\).*--pack-rate 16000'):
        prepare(corpus, tmp_path / "packed", pack=True)
    assert not (tmp_path / "packed").exists()
    folder = prepare(corpus, tmp_path / "packed", pack=True, pack_rate=RATE).folder
    same, wide = cuts_of(folder)
    assert (wide.sampling_rate, wide.num_samples, wide.duration) == (RATE, 16000, 1.0)
    files, packs = list(corpus.splits()["all"]), AudioStore(RATE, 0)
    assert packs.samples(same).tobytes() == AudioStore(RATE, 0).samples(files[0]).tobytes()
    assert packs.samples(wide).tobytes() == resample(AudioStore(22050, 0).samples(files[1]), 22050, RATE).tobytes()


def test_the_channel_of_the_cut_is_packed(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "two.wav", noise(800, 2), RATE)
    source = AudioSource(type="file", channels=[0, 1], source=str(tmp_path / "two.wav"))
    recording = Recording("two", [source], RATE, 800, 800 / RATE, channel_ids=[0, 1])

    def cut(identity: str, channel: int) -> MonoCut:
        turn = SupervisionSegment(identity, "two", 0.0, 800 / RATE, channel=channel)
        return MonoCut(identity, 0.0, 800 / RATE, channel, supervisions=[turn], recording=recording)

    CutSet.from_cuts([cut("right", 1), cut("left", 0), cut("right again", 1)]).to_file(tmp_path / "cuts.jsonl")
    corpus = Manifests(str(tmp_path / "cuts.jsonl"))
    folder = prepare(corpus, tmp_path / "packed", pack=True).folder
    assert (folder / "audio.int16").stat().st_size == 2 * 2 * 800
    store = AudioStore(RATE, 0)
    for file, pack in zip(corpus.splits()["all"], cuts_of(folder), strict=True):
        assert store.samples(file).tobytes() == store.samples(pack).tobytes() == pack.load_audio()[0].tobytes()


@pytest.mark.parametrize("problem", ["nan", "truncated_flac"])
def test_unusable_files_count_and_are_not_packed(tmp_path: Path, write_manifest, broken, good: str, problem: str) -> None:  # type: ignore[no-untyped-def]
    manifest = str(write_manifest([{"audio": broken(problem)}, {"audio": good}]))
    with pytest.raises(UserError, match="1 file cannot be used and error_budget is 0"):
        prepare(Folder(manifest), tmp_path / "packed", pack=True)
    prepared = prepare(Folder(manifest, error_budget=1), tmp_path / "packed", check="header", pack=True)
    (cut,) = cuts_of(prepared.folder)
    np.testing.assert_array_equal(AudioStore(RATE, 0).samples(cut), soundfile.read(tmp_path / good, dtype="float32")[0])
    assert (prepared.description["check"], prepared.description["pack"]["samples"]) == ("full", 4000)


def damaged_index(folder: Path, change: Callable[[list[dict[str, Any]]], object]) -> None:
    index = folder / "audio.index"
    rows = [json.loads(line) for line in index.read_text(encoding="utf-8").splitlines()]
    change(rows)
    index.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def one_sample_moved(rows: list[dict[str, Any]]) -> None:
    """From the first recording to the second; everything still adds up."""
    rows[1]["samples"] -= 1
    rows[2]["offset"] -= 1
    rows[2]["samples"] += 1


DAMAGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "cut off": (lambda folder: os.truncate(folder / "audio.int16", 100), r"audio\.int16 has 100 bytes, its corpus\.json says \d+"),
    "missing": (lambda folder: (folder / "audio.int16").unlink(), r"audio\.int16 is missing"),
    "no index": (lambda folder: (folder / "audio.index").unlink(), r"audio\.index:1 is no index"),
    "empty index": (lambda folder: (folder / "audio.index").write_text(""), r"audio\.index:1 is no index of a pack \(empty\)"),
    "no JSON": (lambda folder: (folder / "audio.index").write_bytes(b"\xff\n"), r"audio\.index:1 is no index"),
    "another pack": (lambda folder: damaged_index(folder, lambda rows: rows[0].update(sha256="0")), "index of another pack"),
    "a row less": (lambda folder: damaged_index(folder, list.pop), "is no index of a pack"),
    "rows exchanged": (lambda folder: damaged_index(folder, lambda rows: rows.insert(1, rows.pop(2))), r"audio\.index:2 is no index"),
    "another file": (lambda folder: damaged_index(folder, lambda rows: rows[1].update(audio="/b.wav")), "does not hold channel 0 of"),
    "another length": (lambda folder: damaged_index(folder, one_sample_moved), "the manifest of cut"),
    "a word": (lambda folder: damaged_index(folder, lambda rows: rows[1].update(samples="many")), r"audio\.index:2 is no index"),
}  # fmt: skip


@pytest.mark.parametrize("name", DAMAGE)
def test_a_pack_that_does_not_fit_is_refused_by_name(tmp_path: Path, name: str) -> None:
    folder = prepare(Folder(str(toy_corpus(tmp_path / "toy"))), tmp_path / "packed", pack=True).folder
    damage, expected = DAMAGE[name]
    damage(folder)
    with pytest.raises(UserError, match=expected):
        Manifests(str(folder)).splits()


def test_manifests_of_another_length_are_refused(tmp_path: Path) -> None:
    toy = toy_corpus(tmp_path / "toy")
    folder = prepare(Folder(str(toy)), tmp_path / "packed", pack=True).folder
    soundfile.write(tmp_path / "toy" / "s0" / "s0_000.wav", noise(5000), RATE)
    toy.write_text("".join(json.dumps({**json.loads(line), "duration": None}) + "\n" for line in toy.read_text().splitlines()))
    other = prepare(Folder(str(toy)), tmp_path / "other").folder
    (other / "train.jsonl.gz").replace(folder / "train.jsonl.gz")
    with pytest.raises(UserError, match=r'samples at 16000 Hz of .*s0_000\.wav, the manifest of cut ".*" says 5000 at 16000 Hz'):
        Manifests(str(folder)).splits()


def test_a_pack_that_was_replaced_under_way_is_not_read(tmp_path: Path) -> None:
    corpus = Folder(str(toy_corpus(tmp_path / "toy")))
    folder = prepare(corpus, tmp_path / "packed", pack=True).folder
    early, late = cuts_of(folder, "test"), cuts_of(folder, "train")
    store = AudioStore(RATE, 0)
    before = store.samples(early[0])
    time.sleep(0.01)
    prepare(corpus, tmp_path / "packed", pack=True)
    np.testing.assert_array_equal(store.samples(early[0]), before)  # mapped already: the old file lives on
    with pytest.raises(UserError, match="has changed since its manifests were read"):
        store.samples(late[0])


def test_cuts_travel_without_audio(tmp_path: Path, folder_of) -> None:  # type: ignore[no-untyped-def]
    folder = prepare(folder_of(("a.wav", noise(90_000), "PCM_16")), tmp_path / "packed", pack=True).folder
    (cut,) = cuts_of(folder)
    expected = AudioStore(RATE, 0).samples(cut)  # mapped from now on
    sent = pickle.dumps(cut)
    assert len(sent) < 3000
    np.testing.assert_array_equal(AudioStore(RATE, 0).samples(pickle.loads(sent)), expected)


def test_a_recording_never_runs_into_its_neighbour(tmp_path: Path, folder_of) -> None:  # type: ignore[no-untyped-def]
    folder = prepare(folder_of(("a.wav", noise(900), "PCM_16"), ("b.wav", noise(900), "PCM_16")), tmp_path / "packed", pack=True).folder
    source = cuts_of(folder)[0].recording.sources[0]
    for start, count in ((0, 901), (890, 11), (-1, 5), (5, -1)):
        with pytest.raises(UserError, match=r"a\.wav: has 900 samples in .*audio\.int16"):
            source.read(start, count)


def test_too_little_space_is_said_before_the_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from auscult.corpora.packs import writing

    monkeypatch.setattr(writing.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 1000}))
    with pytest.raises(UserError, match=r"the pack needs 0\.\d GB and 0\.0 GB are free"):
        prepare(Folder(str(toy_corpus(tmp_path / "toy"))), tmp_path / "packed", pack=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["toy"]


def test_killed_in_the_middle_leaves_the_old_folder_and_the_next_one_tidies(tmp_path: Path) -> None:
    toy = str(toy_corpus(tmp_path / "toy"))
    folder = prepare(Folder(toy), tmp_path / "packed").folder
    before = sorted(path.name for path in folder.iterdir())
    code = (
        "import sys, time\nfrom auscult.corpora.folder import Folder\nfrom auscult.corpora.prepare import prepare\n"
        "def slow(done, total):\n    print(done, flush=True)\n    time.sleep(60 if done == 5 else 0)\n"
        "prepare(Folder(sys.argv[1]), sys.argv[2], pack=True, progress=slow)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code, toy, str(folder)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    while process.stdout.readline().strip() != "5":
        assert process.poll() is None
    (draft,) = tmp_path.glob(".packed.*")
    assert (draft / "audio.int16").exists()
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert sorted(path.name for path in folder.iterdir()) == before
    assert Manifests(str(folder)).splits()
    prepare(Folder(toy), folder, pack=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["packed", "toy"]
    assert isinstance(cuts_of(folder, "train")[0].recording.sources[0], PackedSource)


def test_the_digest_is_that_of_the_file(tmp_path: Path) -> None:
    import hashlib

    prepared = prepare(Folder(str(toy_corpus(tmp_path / "toy"))), tmp_path / "packed", pack=True)
    content = (prepared.folder / "audio.int16").read_bytes()
    assert prepared.description["pack"]["sha256"] == hashlib.sha256(content).hexdigest()
    again = prepare(Folder(str(tmp_path / "toy" / "manifest.jsonl")), tmp_path / "again", pack=True)
    assert (again.folder / "audio.index").read_bytes() == (prepared.folder / "audio.index").read_bytes()


@pytest.mark.parametrize("change", [lambda cut: cut.perturb_speed(1.1), lambda cut: cut.resample(8000)])
def test_only_recordings_as_they_are_can_be_packed(tmp_path: Path, change) -> None:  # type: ignore[no-untyped-def]
    corpus = Folder(str(toy_corpus(tmp_path / "toy")))
    CutSet.from_cuts([change(cut) for cut in corpus.splits()["test"]]).to_file(tmp_path / "cuts.jsonl")
    with pytest.raises(UserError, match="is not of one audio file as it is"):
        prepare(Manifests(str(tmp_path / "cuts.jsonl")), tmp_path / "packed", pack=True)
