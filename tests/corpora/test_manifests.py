from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from lhotse import CutSet, MonoCut, Recording, SupervisionSegment
from lhotse.cut import Cut, MixedCut, MultiCut

from auscult.corpora.folder import Folder
from auscult.corpora.manifests import Manifests
from auscult.corpora.prepare import prepare
from auscult.errors import UserError
from auscult.testing.corpora import check_corpus, toy_corpus

RATE = 16000


@pytest.fixture
def meeting(noise: Callable[..., np.ndarray]) -> Callable[[Path, int], MonoCut]:
    def make(path: Path, supervisions: int) -> MonoCut:
        soundfile.write(path, noise(RATE), RATE)
        segments = [SupervisionSegment(f"turn{i}", "meeting", start=0.25 * i, duration=0.25, text=f"text {i}") for i in range(supervisions)]
        return MonoCut("meeting", start=0.0, duration=1.0, channel=0, supervisions=segments, recording=Recording.from_file(path, "meeting"))

    return make


@pytest.mark.parametrize("suffix", ["jsonl", "jsonl.gz"])
def test_a_foreign_cut_set_is_one_split(tmp_path: Path, meeting, suffix: str) -> None:
    CutSet.from_cuts([meeting(tmp_path / "a.wav", 1)]).to_file(tmp_path / f"cuts.{suffix}")
    corpus = Manifests(str(tmp_path / f"cuts.{suffix}"))
    check_corpus(corpus)
    assert list(corpus.splits()["all"].ids) == ["meeting"]


def test_relative_sources_start_at_the_manifest(tmp_path: Path, meeting) -> None:
    cut = meeting(tmp_path / "a.wav", 1)
    cut.recording.sources[0].source = "a.wav"
    CutSet.from_cuts([cut]).to_file(tmp_path / "cuts.jsonl")
    corpus = Manifests(str(tmp_path / "cuts.jsonl"))
    check_corpus(corpus)


def test_several_supervisions_are_refused_or_split_as_asked(tmp_path: Path, meeting) -> None:
    CutSet.from_cuts([meeting(tmp_path / "a.wav", 3)]).to_file(tmp_path / "cuts.jsonl")
    with pytest.raises(UserError, match=r'cut "meeting" has 3 supervisions, expected one; set supervisions: split .* or many'):
        Manifests(str(tmp_path / "cuts.jsonl")).splits()
    corpus = Manifests(str(tmp_path / "cuts.jsonl"), supervisions="split")
    check_corpus(corpus, decoded=0)
    assert [(cut.id, cut.start, cut.duration, cut.supervisions[0].text) for cut in corpus.splits()["all"]] == [
        ("turn0", 0.0, 0.25, "text 0"),
        ("turn1", 0.25, 0.25, "text 1"),
        ("turn2", 0.5, 0.25, "text 2"),
    ]


def test_a_conversation_is_kept_whole_as_asked(tmp_path: Path, meeting) -> None:
    CutSet.from_cuts([meeting(tmp_path / "a.wav", 3)]).to_file(tmp_path / "cuts.jsonl")
    (cut,) = Manifests(str(tmp_path / "cuts.jsonl"), supervisions="many").splits()["all"]
    assert [(turn.id, turn.start) for turn in cut.supervisions] == [("turn0", 0.0), ("turn1", 0.25), ("turn2", 0.5)]


@pytest.mark.parametrize(("description", "accepted"), [('{"supervisions": "many"}', True), ("{}", False)])
def test_a_prepared_folder_says_that_it_holds_conversations(tmp_path: Path, meeting, description: str, accepted: bool) -> None:
    (tmp_path / "prepared").mkdir()
    CutSet.from_cuts([meeting(tmp_path / "a.wav", 3)]).to_file(tmp_path / "prepared" / "cuts.jsonl")
    (tmp_path / "prepared" / "corpus.json").write_text(description)
    corpus = Manifests(str(tmp_path / "prepared"))
    if accepted:
        assert len(corpus.splits()["cuts"]["meeting"].supervisions) == 3
    else:
        with pytest.raises(UserError, match="has 3 supervisions, expected one"):
            corpus.splits()


@pytest.mark.parametrize("content", ["[1]", "{", "\xff"])
def test_a_damaged_description_is_refused(tmp_path: Path, meeting, content: str) -> None:
    CutSet.from_cuts([meeting(tmp_path / "a.wav", 1)]).to_file(tmp_path / "cuts.jsonl")
    (tmp_path / "corpus.json").write_bytes(content.encode("latin-1"))
    with pytest.raises(UserError, match=r"corpus\.json is not the description of a prepared corpus"):
        Manifests(str(tmp_path)).splits()


def test_audio_without_supervision_gets_one_without_text(tmp_path: Path, meeting) -> None:
    CutSet.from_cuts([meeting(tmp_path / "a.wav", 0)]).to_file(tmp_path / "cuts.jsonl")
    (cut,) = Manifests(str(tmp_path / "cuts.jsonl")).splits()["all"]
    assert [item.text for item in cut.supervisions] == [None]


def mixture(meeting, folder: Path, **how: object) -> MixedCut:
    """Two voices, one of them later and quieter, as lhotse mixes them."""
    voices = []
    for name in ("ann", "bob"):
        voice = meeting(folder / f"{name}.wav", 1)
        voice.id = voice.recording.id = name
        voice.supervisions[0].id = voice.supervisions[0].speaker = name
        voices.append(voice)
    return voices[0].mix(voices[1], offset_other_by=0.25, snr=3.0, **how)


def test_a_mixture_of_plain_files_is_kept_as_asked(tmp_path: Path, meeting) -> None:
    cut = mixture(meeting, tmp_path)
    expected = cut.load_audio()
    for track in cut.tracks:
        track.cut.recording.sources[0].source = f"{track.cut.recording.id}.wav"  # the manifest moves with its audio
    CutSet.from_cuts([cut]).to_file(tmp_path / "cuts.jsonl")
    with pytest.raises(UserError, match="has 2 supervisions, expected one; set supervisions: many if"):
        Manifests(str(tmp_path / "cuts.jsonl")).splits()
    with pytest.raises(UserError, match="is a MixedCut, which cannot be split"):
        Manifests(str(tmp_path / "cuts.jsonl"), supervisions="split").splits()
    corpus = Manifests(str(tmp_path / "cuts.jsonl"), supervisions="many")
    check_corpus(corpus, supervisions="many")
    (read,) = corpus.splits()["all"]
    np.testing.assert_array_equal(read.load_audio(), expected)
    prepared = prepare(corpus, tmp_path / "prepared")
    (again,) = Manifests(str(prepared.folder)).splits()["all"]
    np.testing.assert_array_equal(again.load_audio(), expected)


def test_a_damaged_track_is_found_when_mixtures_are_prepared(tmp_path: Path, meeting, noise: Callable[..., np.ndarray]) -> None:
    cut, bad = mixture(meeting, tmp_path), noise(RATE)
    bad[5] = np.inf
    soundfile.write(tmp_path / "bob.wav", bad, RATE, subtype="FLOAT")
    CutSet.from_cuts([cut, meeting(tmp_path / "good.wav", 1)]).to_file(tmp_path / "cuts.jsonl")
    with pytest.raises(UserError, match=r"bob\.wav \(non_finite\)"):
        prepare(Manifests(str(tmp_path / "cuts.jsonl"), supervisions="many"), tmp_path / "prepared")
    prepared = prepare(Manifests(str(tmp_path / "cuts.jsonl"), supervisions="many", error_budget=1), tmp_path / "prepared")
    assert prepared.description["splits"]["all"]["utterances"] == 1
    with pytest.raises(UserError, match="is not of one audio file as it is"):
        prepare(Manifests(str(tmp_path / "cuts.jsonl"), supervisions="many"), tmp_path / "packed", pack=True)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda cut: cut.reverb_rir(),
        lambda cut: cut.perturb_speed(1.1),
        lambda cut: MultiCut("several", 0.0, 1.0, channel=[0], recording=cut.tracks[0].cut.recording),
    ],
)
def test_other_cuts_are_refused_by_id(tmp_path: Path, meeting, spoil: Callable[[MixedCut], Cut]) -> None:
    cut = spoil(mixture(meeting, tmp_path))
    CutSet.from_cuts([cut]).to_file(tmp_path / "cuts.jsonl")
    with pytest.raises(UserError, match=f'cut "{cut.id}" is a {type(cut).__name__}'):
        Manifests(str(tmp_path / "cuts.jsonl"), supervisions="many").splits()


def test_missing_audio_is_counted(tmp_path: Path) -> None:
    prepared = prepare(Folder(str(toy_corpus(tmp_path / "toy"))), tmp_path / "prepared")
    (tmp_path / "toy" / "s0" / "s0_000.wav").unlink()
    with pytest.raises(UserError, match=r"s0_000\.wav \(missing\)"):
        Manifests(str(prepared.folder)).splits()
    assert len(Manifests(str(prepared.folder), error_budget=1).splits()["train"]) == 5


@pytest.mark.parametrize(
    "content",
    ["not json\n", '{"id": "r", "type": "Recording"}\n', '{"id": "c", "type": "MonoCut"}\n', "[1]\n"],
)
def test_other_files_are_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "cuts.jsonl").write_text(content)
    with pytest.raises(UserError, match=r"cuts\.jsonl (cannot be read as a lhotse CutSet|is a manifest of another kind)"):
        Manifests(str(tmp_path / "cuts.jsonl")).splits()


def test_a_damaged_archive_is_refused(tmp_path: Path) -> None:
    prepared = prepare(Folder(str(toy_corpus(tmp_path / "toy"))), tmp_path / "prepared")
    train = prepared.folder / "train.jsonl.gz"
    train.write_bytes(train.read_bytes()[:-40])
    with pytest.raises(UserError, match="cannot be read as a lhotse CutSet"):
        Manifests(str(prepared.folder)).splits()


def test_folders_without_cuts_and_other_suffixes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no CutSet"):
        Manifests(str(tmp_path)).splits()
    (tmp_path / "cuts.yaml").write_text(json.dumps([]))
    with pytest.raises(UserError, match="is no CutSet"):
        Manifests(str(tmp_path / "cuts.yaml")).splits()
