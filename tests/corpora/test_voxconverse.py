"""VoxConverse: references and recordings come in different archives, and speaker names mean something within one file only."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from auscult.corpora.manifests import Manifests
from auscult.corpora.prepare import prepare
from auscult.corpora.voxconverse import VoxConverse
from auscult.errors import UserError
from auscult.testing.corpora import check_corpus

RATE = 16000


@pytest.fixture
def build(tmp_path: Path, noise: Callable[..., np.ndarray]) -> Callable[..., Path]:
    """Write RTTMs to `repository/<part>` and audio to the given folders."""

    def write(audio: dict[str, str], references: dict[str, str]) -> Path:
        for name, part in references.items():
            path = tmp_path / "repository" / part / f"{name}.rttm"
            path.parent.mkdir(parents=True, exist_ok=True)
            lines = [f"SPEAKER {name} 1 0.{i} 0.500 <NA> <NA> spk0{i} <NA> <NA>\n" for i in range(2)]
            path.write_text("".join(lines))
        for folder, name in audio.items():
            path = tmp_path / folder / f"{name}.wav"
            path.parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(path, noise(RATE), RATE)
        return tmp_path

    return write


def test_references_find_their_recordings_at_any_depth(build) -> None:
    root = build({"archives/audio": "abjxc", "archives/voxconverse_test_wav": "aepyx"}, {"abjxc": "dev", "aepyx": "test"})
    corpus = VoxConverse(str(root / "repository"), audio=str(root / "archives"))
    check_corpus(corpus, supervisions="many")
    assert {name: list(cuts.ids) for name, cuts in corpus.splits().items()} == {"dev": ["abjxc"], "test": ["aepyx"]}
    (cut,) = corpus.splits()["dev"]
    assert cut.custom is None  # no UEM, and none is made up


def test_the_first_speaker_of_every_file_is_somebody_else(build) -> None:
    root = build({"repository/dev/audio": "abjxc", "repository/dev/wav": "afjiv"}, {"abjxc": "dev", "afjiv": "dev"})
    cuts = VoxConverse(str(root / "repository")).splits()["dev"]
    speakers = [{turn.speaker for turn in cut.supervisions} for cut in cuts]
    assert speakers == [{"abjxc/spk00", "abjxc/spk01"}, {"afjiv/spk00", "afjiv/spk01"}]


def test_of_two_recordings_of_a_name_the_splits_own_is_taken(build) -> None:
    root = build({"a/voxconverse_test_wav": "abjxc", "b/voxconverse_dev_wav": "abjxc"}, {"abjxc": "dev"})
    (cut,) = VoxConverse(str(root / "repository"), audio=str(root)).splits()["dev"]
    assert "voxconverse_dev_wav" in cut.recording.sources[0].source


def test_what_has_no_partner_is_counted(build) -> None:
    root = build({"audio": "abjxc", "audio/more": "stray"}, {"abjxc": "dev", "gone": "dev"})
    arguments = (str(root / "repository"), str(root / "audio"))
    with pytest.raises(UserError, match=r"2 files .*gone \(missing\).*stray\.wav \(untranscribed\)"):
        VoxConverse(*arguments).splits()
    assert list(VoxConverse(*arguments, error_budget=2).splits()["dev"].ids) == ["abjxc"]
    with pytest.raises(UserError, match=r"1 file .*gone \(missing\)"):  # of parts alone nobody knows what other audio is
        VoxConverse(*arguments, parts=["dev"]).splits()


def test_missing_parts_are_refused(build, tmp_path: Path) -> None:
    root = build({"audio": "abjxc"}, {"abjxc": "dev"})
    with pytest.raises(UserError, match=r"holds no test/\*\.rttm"):
        VoxConverse(str(root / "repository"), str(root / "audio"), parts=["test"]).splits()
    with pytest.raises(UserError, match=r"holds no dev or test/\*\.rttm"):
        VoxConverse(str(root / "audio")).splits()


def test_a_prepared_corpus_is_read_back_unchanged(build) -> None:
    root = build({"audio": "abjxc"}, {"abjxc": "dev"})
    corpus = VoxConverse(str(root / "repository"), str(root / "audio"))
    prepared = prepare(corpus, root / "prepared")
    assert list(Manifests(str(prepared.folder)).splits()["dev"]) == list(corpus.splits()["dev"])
    assert (prepared.folder / "dev.rttm").is_file()
