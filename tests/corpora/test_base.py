from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import soundfile

from auscult.audio.reading import read_audio
from auscult.corpora import base
from auscult.corpora.base import check_ids, resolve
from auscult.corpora.folder import Folder
from auscult.errors import UserError
from auscult.testing.corpora import check_corpus

RATE = 16000


@pytest.mark.parametrize(
    ("suffix", "subtype", "channels"),
    [
        ("wav", "PCM_16", 1),
        ("wav", "FLOAT", 1),
        ("wav", "PCM_24", 2),
        ("flac", "PCM_16", 1),
        ("flac", "PCM_24", 2),
        ("ogg", "VORBIS", 1),
        ("ogg", "VORBIS", 2),
    ],
)
def test_formats_are_read_with_their_length_and_channels(
    noise, tmp_path: Path, write_manifest, suffix: str, subtype: str, channels: int
) -> None:
    soundfile.write(tmp_path / f"a.{suffix}", noise(4000, channels), RATE, subtype=subtype)
    corpus = Folder(str(write_manifest([{"audio": f"a.{suffix}", "text": "hello"}])))
    check_corpus(corpus)
    (cut,) = corpus.splits()["all"]
    assert (cut.num_samples, cut.sampling_rate, cut.channel) == (4000, RATE, 0)
    assert cut.recording.channel_ids == list(range(channels))
    assert read_audio(cut.recording.sources[0].source, channel=cut.channel)[0].shape == (4000,)


@pytest.mark.parametrize(
    ("problem", "expected"),
    [("missing", "missing"), ("no_bytes", "empty"), ("no_samples", "empty"), ("garbage", "unreadable"), ("truncated_wav", "truncated")],
)
def test_problem_files_are_named_and_counted(write_manifest, broken: Callable[[str], str], good: str, problem: str, expected: str) -> None:
    name = broken(problem)
    manifest = str(write_manifest([{"audio": good, "text": "a"}, {"audio": name, "text": "b"}]))
    with pytest.raises(UserError, match=rf"1 file cannot be used.*{name} \({expected}\).*error_budget: 1"):
        Folder(manifest).splits()
    corpus = Folder(manifest, error_budget=1)
    assert [cut.id for cut in corpus.splits()["all"]] == ["good"]
    assert [(item.path.name, item.problem) for item in corpus.problems] == [(name, expected)]


def test_all_problems_are_counted_and_the_first_are_named(write_manifest, good: str) -> None:
    manifest = write_manifest([{"audio": good}] + [{"audio": f"gone_{index}.wav"} for index in range(8)])
    with pytest.raises(UserError, match=r"8 files.*gone_0\.wav.*gone_4\.wav \(missing\); and 3 more; .*error_budget: 8") as raised:
        Folder(str(manifest), error_budget=7).splits()
    assert "gone_5" not in str(raised.value)


def test_nothing_usable_is_an_error_even_within_the_budget(write_manifest) -> None:
    with pytest.raises(UserError, match="no usable audio"):
        Folder(str(write_manifest([{"audio": "gone.wav"}])), error_budget=5).splits()


def test_repeated_ids_are_refused() -> None:
    with pytest.raises(UserError, match='two utterances have the id "b"'):
        check_ids(["a", "b", "c", "b"], "folder")


def test_rows_with_samples_and_rate_cost_no_header_read(write_manifest, good: str, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [{"audio": good, "id": "known", "samples": 4000, "sample_rate": RATE}, {"audio": good, "id": "unknown", "duration": 0.25}]
    probed: list[Path] = []
    real = base.probe
    monkeypatch.setattr(base, "probe", lambda path: probed.append(path) or real(path))
    assert [cut.num_samples for cut in Folder(str(write_manifest(rows))).splits()["all"]] == [4000, 4000]
    assert len(probed) == 1


@pytest.mark.parametrize(("stated", "problem"), [(0.5, "truncated"), (0.1, "mismatch")])
def test_a_stated_duration_is_compared_with_the_header(write_manifest, good: str, stated: float, problem: str) -> None:
    with pytest.raises(UserError, match=rf"good\.wav \({problem}\)"):
        Folder(str(write_manifest([{"audio": good, "duration": stated}]))).splits()


def test_resolve_replaces_variables_and_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "fsdd").mkdir()
    monkeypatch.setenv("AUSCULT_DATA", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    assert resolve("${AUSCULT_DATA}/fsdd") == resolve("$AUSCULT_DATA/fsdd") == resolve("~/fsdd") == (tmp_path / "fsdd").resolve()


def test_the_data_pack_lies_beside_the_repository_by_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "repository").mkdir()
    (tmp_path / "shared" / "data").mkdir(parents=True)
    monkeypatch.delenv("AUSCULT_DATA", raising=False)
    monkeypatch.chdir(tmp_path / "repository")
    assert resolve("${AUSCULT_DATA}") == (tmp_path / "shared" / "data").resolve()


@pytest.mark.parametrize(
    ("path", "message"), [("${AUSCULT_NOWHERE}/x", "AUSCULT_NOWHERE, which is not set"), ("/no/such/folder", "no such file or folder")]
)
def test_resolve_says_what_is_missing(path: str, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AUSCULT_NOWHERE", raising=False)
    with pytest.raises(UserError, match=message):
        resolve(path)
