"""VoxCeleb as people have it on their disks: five layouts, lists with line numbers, and files still in AAC."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from auscult.corpora.manifests import Manifests
from auscult.corpora.prepare import prepare
from auscult.corpora.voxceleb import VoxCeleb, read_train_list
from auscult.errors import UserError
from auscult.testing.corpora import check_corpus

Fill = Callable[..., Path]
RATE = 16000


@pytest.fixture
def fill(tmp_path: Path, noise: Callable[..., np.ndarray]) -> Fill:
    """Write recordings `<place>/<speaker>/<video>/<number><suffix>`; .m4a files hold nothing that could be read."""

    def write(place: str, *identities: str, suffix: str = ".wav", channels: int = 1) -> Path:
        for identity in identities:
            path = tmp_path / "vox" / place / f"{identity}{suffix}"
            path.parent.mkdir(parents=True, exist_ok=True)
            if suffix == ".m4a":
                path.write_bytes(b"\0\0\0\x20ftypM4A ")
            else:
                soundfile.write(path, noise(1600, channels), RATE)
        return tmp_path / "vox"

    return write


ONE, TWO, THREE = "id10001/video-_a/00001", "id10001/video-_a/00002", "id10270/other/00001"
YOUNG = "id00012/21Uxsk56VDQ/00001"  # of VoxCeleb2


@pytest.mark.parametrize(
    ("places", "splits"),
    [
        (
            [("voxceleb1/dev/wav", ONE), ("voxceleb1/test/wav", THREE), ("voxceleb2/dev/wav", YOUNG)],
            {"vox1_dev": [ONE], "vox1_test": [THREE], "vox2_dev": [YOUNG]},
        ),
        ([("dev/wav", ONE), ("test/wav", THREE)], {"vox1_dev": [ONE], "vox1_test": [THREE]}),
        ([("dev/aac", YOUNG)], {"vox2_dev": [YOUNG]}),  # converted in place
        ([("dev", YOUNG), ("test", THREE)], {"vox1_test": [THREE], "vox2_dev": [YOUNG]}),
        ([("wav", TWO), ("wav", ONE)], {"all": [ONE, TWO]}),
        ([("", THREE), ("", ONE)], {"all": [ONE, THREE]}),
    ],
)
def test_layouts(fill: Fill, places: list[tuple[str, str]], splits: dict[str, list[str]]) -> None:
    for place, identity in places:
        root = fill(place, identity)
    corpus = VoxCeleb(str(root))
    check_corpus(corpus)
    assert {name: list(cuts.ids) for name, cuts in corpus.splits().items()} == splits


def test_speaker_and_video_come_from_the_path(fill: Fill) -> None:
    (cut,) = VoxCeleb(str(fill("wav", ONE, channels=2))).splits()["all"]
    assert (cut.supervisions[0].speaker, cut.custom, cut.channel) == ("id10001", {"session": "video-_a"}, 0)
    assert cut.recording.channel_ids == [0, 1]


def test_parts_that_are_not_asked_for_are_not_opened(fill: Fill) -> None:
    fill("voxceleb1/test/wav", THREE)
    root = fill("voxceleb2/dev/wav", YOUNG)
    (root / "voxceleb2/dev/wav" / f"{YOUNG}.wav").write_bytes(b"broken")
    assert list(VoxCeleb(str(root), parts=["vox1_test"]).splits()) == ["vox1_test"]
    with pytest.raises(UserError, match=r"00001\.wav \(unreadable\)"):
        VoxCeleb(str(root)).splits()
    with pytest.raises(UserError, match="found no vox2_test in "):
        VoxCeleb(str(root), parts=["vox1_test", "vox2_test"]).splits()


def test_aac_alone_says_how_to_convert_it(fill: Fill) -> None:
    root = fill("voxceleb2/dev/aac", YOUNG, suffix=".m4a")
    with pytest.raises(UserError, match=r"aac holds \.m4a files, which are not read; convert them once.*ffmpeg -nostdin"):
        VoxCeleb(str(root)).splits()


def test_aac_beside_converted_files_is_ignored_and_without_them_a_problem(fill: Fill) -> None:
    fill("voxceleb2/dev/aac", YOUNG, suffix=".m4a")
    root = fill("voxceleb2/dev/wav", YOUNG)
    assert list(VoxCeleb(str(root)).splits()["vox2_dev"].ids) == [YOUNG]
    fill("voxceleb2/dev/wav", YOUNG, "id00012/21Uxsk56VDQ/00002", suffix=".m4a")
    with pytest.raises(UserError, match=r"1 file cannot be used.*00002\.m4a \(unreadable\)"):
        VoxCeleb(str(root)).splits()
    corpus = VoxCeleb(str(root), error_budget=1)
    assert list(corpus.splits()["vox2_dev"].ids) == [YOUNG]
    assert "AAC" in corpus.problems[0].detail


def test_a_conversion_that_was_interrupted_is_noticed(fill: Fill) -> None:
    fill("voxceleb2/dev/aac", YOUNG, "id00013/video/00001", suffix=".m4a")
    root = fill("voxceleb2/dev/wav", YOUNG)
    with pytest.raises(UserError, match=r"1 file cannot be used.*aac/id00013/video/00001\.m4a \(unreadable\)"):
        VoxCeleb(str(root)).splits()


def test_files_without_samples_are_counted(fill: Fill) -> None:
    root = fill("wav", ONE, TWO)
    soundfile.write(root / "wav" / f"{TWO}.wav", np.zeros(0, np.float32), RATE)
    with pytest.raises(UserError, match=r"00002\.wav \(empty\)"):
        VoxCeleb(str(root)).splits()


@pytest.mark.parametrize("name", ["nothing", "speaker/video/00001.wav", "id1/video/00001.wav"])
def test_another_folder_is_refused(tmp_path: Path, noise: Callable[..., np.ndarray], name: str) -> None:
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(tmp_path / f"{name}.wav", noise(), RATE)
    with pytest.raises(UserError, match=r"voxceleb: found no <speaker>/<video>/<number>\.wav below"):
        VoxCeleb(str(tmp_path)).splits()


def test_a_train_list_makes_the_split_train(fill: Fill, tmp_path: Path) -> None:
    root = fill("dev/wav", ONE, TWO, YOUNG)
    (tmp_path / "train.txt").write_text(f"id10001 {TWO}.wav\n\nid00012 {YOUNG}.wav\n")
    splits = VoxCeleb(str(root), train_list=str(tmp_path / "train.txt")).splits()
    assert {name: list(cuts.ids) for name, cuts in splits.items()} == {"vox1_dev": [ONE], "train": [TWO, YOUNG]}


def test_listed_files_that_are_not_there_are_counted(fill: Fill, tmp_path: Path) -> None:
    root = fill("dev/wav", ONE)
    (tmp_path / "train.txt").write_text(f"id10001 {ONE}.wav\nid10001 id10001/video-_a/00077.wav\n")
    with pytest.raises(UserError, match=r"1 file cannot be used and error_budget is 0: .*00077 \(missing\)"):
        VoxCeleb(str(root), train_list=str(tmp_path / "train.txt")).splits()
    corpus = VoxCeleb(str(root), train_list=str(tmp_path / "train.txt"), error_budget=1)
    assert list(corpus.splits()["train"].ids) == [ONE]
    assert "line 2, names id10001/video-_a/00077" in corpus.problems[0].detail


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (f"id10002 {TWO}.wav", "line 2: .*with the same speaker twice"),
        (f"{TWO}.wav", "line 2: .*is not of the form"),
        ("id10001 id10001/00001.wav", "line 2: .*is not of the form"),
        (f"id10001 {ONE}.wav", "line 2: .* stands in line 1 already"),
    ],
)
def test_a_wrong_line_of_a_train_list_is_named(tmp_path: Path, line: str, message: str) -> None:
    (tmp_path / "list.txt").write_text(f"id10001 {ONE}.wav\n{line}\n")
    with pytest.raises(UserError, match=message):
        read_train_list(tmp_path / "list.txt")


def test_prepare_copies_checked_trial_lists(fill: Fill, tmp_path: Path) -> None:
    root = fill("test/wav", ONE, TWO, THREE)
    trials = tmp_path / "veri_test.txt"
    trials.write_text(f"1 {ONE}.wav {TWO}.wav\n0 {ONE}.wav {THREE}.wav\n")
    corpus = VoxCeleb(str(root), trials=[str(trials)])
    prepared = prepare(corpus, tmp_path / "prepared")
    assert (prepared.folder / "veri_test.txt").read_bytes() == trials.read_bytes()
    assert json.loads((prepared.folder / "corpus.json").read_text())["files"] == ["veri_test.txt"]
    again = Manifests(str(prepared.folder))
    check_corpus(again)
    assert list(again.splits()["vox1_test"]) == list(corpus.splits()["vox1_test"])


@pytest.mark.parametrize("name", ["corpus.json", "vox1_test.jsonl.gz"])
def test_a_trial_list_never_replaces_a_manifest(fill: Fill, tmp_path: Path, name: str) -> None:
    root = fill("test/wav", ONE, TWO)
    (tmp_path / name).write_text(f"1 {ONE}.wav {TWO}.wav\n")
    with pytest.raises(UserError, match="has the name of a file that is written"):
        prepare(VoxCeleb(str(root), trials=[str(tmp_path / name)]), tmp_path / "prepared")
    assert not (tmp_path / "prepared").exists()


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (f"0 {ONE}.wav id10270/other/00009.wav", r":2: the corpus has no utterance id10270/other/00009\.wav \(did you mean"),
        (f"2 {ONE}.wav {THREE}.wav", ":2: .*is no trial; expected 1 or 0"),
        (f"{ONE}.wav {THREE}.wav", ":2: 2 columns, but line 1 has 3"),
        (f"0 {ONE}.wav 00001.wav", r":2: the corpus has no utterance 00001\.wav"),
    ],
)
def test_a_wrong_trial_is_named(fill: Fill, tmp_path: Path, line: str, message: str) -> None:
    root = fill("test/wav", ONE, TWO, THREE)
    (tmp_path / "trials.txt").write_text(f"1 {ONE}.wav {TWO}.wav\n{line}\n")
    with pytest.raises(UserError, match=message):
        VoxCeleb(str(root), trials=[str(tmp_path / "trials.txt")]).splits()


def test_labels_may_stand_last(fill: Fill, tmp_path: Path) -> None:
    root = fill("test/wav", ONE, TWO, THREE)
    (tmp_path / "trials.txt").write_text(f"{ONE} {TWO} target\n{ONE} {THREE} nontarget\n")
    assert len(VoxCeleb(str(root), trials=[str(tmp_path / "trials.txt")]).splits()["vox1_test"]) == 3


def test_trial_lists_that_cannot_be_used_are_refused(fill: Fill, tmp_path: Path) -> None:
    root = fill("test/wav", ONE)
    (tmp_path / "empty.txt").write_text("\n")
    with pytest.raises(UserError, match=r"empty\.txt: no trials"):
        VoxCeleb(str(root), trials=[str(tmp_path / "empty.txt")]).splits()
    (tmp_path / "binary.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match=r"binary\.txt: not UTF-8"):
        VoxCeleb(str(root), trials=[str(tmp_path / "binary.txt")]).splits()
    with pytest.raises(UserError, match="two trial lists have the same file name"):
        VoxCeleb(str(root), trials=["a/trials.txt", "b/trials.txt"])
