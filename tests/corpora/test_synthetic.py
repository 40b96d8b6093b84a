from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("espeakng_loader", reason="needs the extra synth")

from auscult.audio.reading import read_audio
from auscult.corpora.synthetic import MANIFEST, Synthetic, publish
from auscult.errors import UserError
from auscult.testing.corpora import check_corpus

SMALL = {"speakers": 4, "validation_speakers": 1, "test_speakers": 1, "utterances_per_speaker": 3}
BUILD = """
import sys
from auscult.corpora.synthetic import Synthetic
list(Synthetic(speakers=4, validation_speakers=1, test_speakers=1, utterances_per_speaker=3, cache=sys.argv[1]).utterances())
"""


def small(cache: Path, **changes: object) -> Synthetic:
    return Synthetic(**{**SMALL, **changes}, cache=str(cache))  # type: ignore[arg-type]


def digest(folder: Path) -> str:
    total = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            total.update(path.relative_to(folder).as_posix().encode() + path.read_bytes())
    return total.hexdigest()


def start(cache: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", BUILD, str(cache)], env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)})


@pytest.mark.parametrize(
    ("language", "material", "sample_rate"), [("en", "commands", 16000), ("pl", "sentences", 8000), ("pl", "digits", 16000)]
)
def test_contract_and_disjoint_speakers(tmp_path: Path, language: str, material: str, sample_rate: int) -> None:
    corpus = small(tmp_path, language=language, material=material, sample_rate=sample_rate)
    check_corpus(corpus)
    splits = corpus.splits()
    speakers = {split: {cut.supervisions[0].speaker for cut in cuts} for split, cuts in splits.items()}
    assert {split: len(names) for split, names in speakers.items()} == {"test": 1, "validation": 1, "train": 2}
    assert len(set().union(*speakers.values())) == 4
    for cuts in splits.values():
        for cut in cuts:
            samples, rate = read_audio(cut.recording.sources[0].source)
            assert rate == sample_rate
            assert 0.02 < np.abs(samples).max() < 1.0
            assert cut.duration > 0.04 * len(cut.supervisions[0].text)


def test_two_processes_make_the_same_bytes(tmp_path: Path) -> None:
    workers = [start(tmp_path / name) for name in ("first", "second")]
    assert [worker.wait(120) for worker in workers] == [0, 0]
    assert digest(tmp_path / "first") == digest(tmp_path / "second")


def test_two_processes_at_once_share_one_cache(tmp_path: Path) -> None:
    workers = [start(tmp_path) for _ in range(3)]
    assert [worker.wait(120) for worker in workers] == [0, 0, 0]
    assert len(list((tmp_path / "synthetic").iterdir())) == 1
    check_corpus(small(tmp_path))


def test_a_killed_build_leaves_no_half_corpus(tmp_path: Path) -> None:
    worker = start(tmp_path)
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob("synthetic/.*/*/*.wav")) and worker.poll() is None and time.monotonic() < deadline:
        time.sleep(0.001)
    worker.kill()
    worker.wait(60)
    folder = small(tmp_path).folder()
    assert not folder.exists() or (folder / MANIFEST).read_text().count("\n") == 12
    check_corpus(small(tmp_path))


def test_a_cache_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UserError, match=r"cannot write the cache .*AUSCULT_CACHE"):
        small(tmp_path / "file").splits()


def test_the_second_in_the_race_keeps_the_first_result(tmp_path: Path) -> None:
    for name in ("winner", "loser"):
        (tmp_path / name).mkdir()
        (tmp_path / name / MANIFEST).write_text(name)
    publish(tmp_path / "loser", tmp_path / "winner")
    assert (tmp_path / "winner" / MANIFEST).read_text() == "winner"


def test_every_parameter_that_changes_the_sound_changes_the_folder(tmp_path: Path) -> None:
    changes = [
        {},
        {"seed": 1},
        {"language": "pl"},
        {"sample_rate": 8000},
        {"longest": 4},
        {"utterances_per_speaker": 4},
        {"material": "commands"},
    ]
    assert len({small(tmp_path, **change).folder() for change in changes}) == len(changes)
    assert small(tmp_path / "x").folder().name == small(tmp_path / "y").folder().name


def test_the_seed_changes_texts_and_voices(tmp_path: Path) -> None:
    first, second = small(tmp_path), small(tmp_path, seed=5)
    assert first.voice(0) != second.voice(0)
    texts = [[cut.supervisions[0].text for cut in corpus.splits()["train"]] for corpus in (first, second)]
    assert texts[0] != texts[1]


def test_more_speakers_and_more_texts_keep_what_was_there(tmp_path: Path) -> None:
    few = small(tmp_path)
    many = small(tmp_path, speakers=5, utterances_per_speaker=4)
    few.splits()
    many.splits()
    for path in sorted(few.folder().rglob("*.wav")):
        assert path.read_bytes() == (many.folder() / path.relative_to(few.folder())).read_bytes(), path.name


def test_voices_differ_and_sexes_alternate() -> None:
    corpus = Synthetic(speakers=40)
    voices = [corpus.voice(number) for number in range(40)]
    assert len({(voice.accent, voice.variant) for voice in voices}) == 40
    assert [voice.sex for voice in voices[:4]] == ["female", "male", "female", "male"]


def test_a_damaged_cache_is_named(tmp_path: Path) -> None:
    corpus = small(tmp_path)
    corpus.splits()
    victim = next(iter(sorted(corpus.folder().rglob("*.wav"))))
    victim.write_bytes(victim.read_bytes()[:-2])
    with pytest.raises(UserError, match=f"is damaged \\({victim.name}\\); delete that folder"):
        small(tmp_path).splits()


def test_the_cache_lies_where_the_environment_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUSCULT_CACHE", str(tmp_path / "cache"))
    assert Synthetic().folder().is_relative_to(tmp_path / "cache")
    monkeypatch.delenv("AUSCULT_CACHE")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert Synthetic().folder().is_relative_to(tmp_path / ".cache" / "auscult")


def test_impossible_parameters_are_refused() -> None:
    with pytest.raises(UserError, match="leave none for training"):
        Synthetic(speakers=8, validation_speakers=4, test_speakers=4)
    with pytest.raises(UserError, match="shortest is 6 and longest is 5"):
        Synthetic(shortest=6)
