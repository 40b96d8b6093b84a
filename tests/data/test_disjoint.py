"""Whatever training and judgement must not share is planted, found, named, and comes with the keys that separate it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from lhotse import CutSet, MonoCut

from auscult.corpora.folder import Folder
from auscult.corpora.manifests import Manifests
from auscult.corpora.prepare import prepare
from auscult.data import disjoint
from auscult.data.disjoint import check_disjoint, check_trial_speakers, shared_with_train
from auscult.data.selection import select
from auscult.data.strings import concatenate_words
from auscult.errors import UserError
from auscult.recipe.fields import Selection

Record = Callable[..., MonoCut]


@pytest.fixture
def corpus(record: Record) -> dict[str, CutSet]:
    """Twenty speakers with four recordings each, every one of other samples."""
    random = np.random.default_rng(0)
    cuts = [
        record(f"u{number:02d}-{take}", random.uniform(-0.5, 0.5, 1000), speaker=f"speaker {number:02d}")
        for number in range(20)
        for take in range(4)
    ]
    return {"all": CutSet.from_cuts(cuts)}


def divided(corpus: dict[str, CutSet], **slices: Any) -> dict[str, CutSet]:
    return {name: select(corpus, Selection(**values)) for name, values in slices.items()}


def test_utterances_divided_at_random_are_refused(corpus: dict[str, CutSet]) -> None:
    """The planted mistake: a split by utterance (split_speaker=False). The message offers what the next test shows to work."""
    splits = divided(corpus, train={"fraction": (0.0, 0.9)}, validation={"fraction": (0.9, 1.0)})
    with pytest.raises(UserError, match=r"train and validation share \d+ speakers? \(speaker .*speaker_fraction: .* data\.validation"):
        check_disjoint(splits)


def test_speakers_divided_by_fraction_pass(corpus: dict[str, CutSet]) -> None:
    check_disjoint(divided(corpus, train={"speaker_fraction": (0.0, 0.8)}, validation={"speaker_fraction": (0.8, 1.0)}))


def test_up_to_three_names_are_listed(corpus: dict[str, CutSet]) -> None:
    (reason,) = shared_with_train({"train": corpus["all"].subset(first=40), "test": corpus["all"].subset(last=60)})[:1]
    assert "share 5 speakers (speaker 05, speaker 06, speaker 07 and 2 more)" in reason
    few = shared_with_train({"train": corpus["all"].subset(first=21), "test": corpus["all"].subset(last=60)})[0]
    assert "share 1 speaker (speaker 05):" in few


def test_every_judged_split_is_compared_with_train_only(record: Record) -> None:
    splits = {name: CutSet.from_cuts([record(f"{name}-{who}", speaker=who)]) for name, who in (("train", "ann"), ("validation", "bob"))}
    splits["test"] = CutSet.from_cuts([record("test-bob", speaker="bob")])
    assert shared_with_train(splits) == []
    splits["other"] = CutSet.from_cuts([record("other-ann", speaker="ann")])
    (reason,) = shared_with_train(splits)
    assert reason.startswith("train and other share 1 speaker (ann)")
    assert shared_with_train({"test": splits["train"], "other": splits["train"]}) == []


def test_unnamed_speakers_are_not_one_person(record: Record) -> None:
    splits = {name: CutSet.from_cuts([record(name, speaker=None)]) for name in ("train", "test")}
    assert shared_with_train(splits) == []


def test_each_speaker_of_a_conversation_counts(record: Record) -> None:
    meeting, known = record("meeting", speaker="ann"), record("known", speaker="bob")
    meeting.supervisions = [*meeting.supervisions, *known.supervisions]
    (reason,) = shared_with_train({"train": CutSet.from_cuts([known]), "test": CutSet.from_cuts([meeting])})
    assert "share 1 speaker (bob)" in reason


def test_sessions_are_compared_unless_their_names_mean_nothing(record: Record) -> None:
    splits = {}
    for name in ("train", "test"):
        cut = record(name, speaker=name)
        cut.custom = {"session": 7}
        splits[name] = CutSet.from_cuts([cut])
    with pytest.raises(UserError, match=r"train and test share 1 session \(7\)"):
        check_disjoint(splits)
    check_disjoint(splits, sessions=False)


def test_the_same_file_is_found_by_its_path(record: Record) -> None:
    cut = record("one", speaker="ann")
    other = cut.with_id("two")
    other.supervisions = []
    with pytest.raises(UserError, match=r"train and test hold 1 recording \(two = one\) in common"):
        check_disjoint({"train": CutSet.from_cuts([cut]), "test": CutSet.from_cuts([other])}, copies=False)


@pytest.mark.parametrize("samples", [4000, 60_000])  # below and above the part that is compared first
def test_a_copy_under_another_name_is_found_by_its_bytes(record: Record, samples: int) -> None:
    cut, copy = record("original", samples=samples, speaker="ann"), record("copy", samples=samples, speaker="bob")
    check_disjoint({"train": CutSet.from_cuts([cut]), "test": CutSet.from_cuts([copy])})
    shutil.copy(cut.recording.sources[0].source, copy.recording.sources[0].source)
    splits = {"train": CutSet.from_cuts([cut]), "test": CutSet.from_cuts([copy])}
    with pytest.raises(UserError, match=r"\(copy = original\) in common"):
        check_disjoint(splits)
    check_disjoint(splits, copies=False)


def test_files_that_only_begin_alike_are_no_copies(record: Record) -> None:
    samples = np.random.default_rng(0).uniform(-0.5, 0.5, 60_000)
    late = np.where(np.arange(60_000) > 50_000, -samples, samples)
    check_disjoint(
        {"train": CutSet.from_cuts([record("a", samples, speaker="a")]), "test": CutSet.from_cuts([record("b", late, speaker="b")])}
    )


@pytest.mark.parametrize("gone", [False, True])
def test_copies_in_a_pack_are_found_without_its_files(tmp_path: Path, gone: bool) -> None:
    rows = []
    for name, seed, speaker in (("a", 0, "ann"), ("b", 1, "bob"), ("c", 1, "cid"), ("d", 2, "dan")):
        soundfile.write(tmp_path / f"{name}.wav", np.random.default_rng(seed).uniform(-0.5, 0.5, 40_000), 8000)
        rows.append(json.dumps({"audio": f"{name}.wav", "speaker": speaker, "split": "train" if name < "c" else "test"}) + "\n")
    (tmp_path / "manifest.jsonl").write_text("".join(rows))
    folder = prepare(Folder(str(tmp_path)), tmp_path / "packed", pack=True).folder
    for path in tmp_path.glob("*.wav") if gone else ():
        path.unlink()
    (reason,) = shared_with_train(Manifests(str(folder)).splits())
    assert reason.startswith("train and test hold 1 recording (c = b) in common")


def test_files_of_other_sizes_are_never_opened(record: Record, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    monkeypatch.setattr(disjoint._Content, "digest", lambda _, path, size=-1: opened.append(path) or b"")
    check_disjoint(
        {"train": CutSet.from_cuts([record("a", 4000, speaker="a")]), "test": CutSet.from_cuts([record("b", 4001, speaker="b")])}
    )
    assert opened == []


def test_strings_are_compared_by_their_recordings(record: Record) -> None:
    words = CutSet.from_cuts([record(f"w{number}", speaker="ann") for number in range(4)])
    strings = concatenate_words(words, 3, (2, 3), (0.1, 0.2), np.random.default_rng(0))
    reasons = shared_with_train({"train": words, "test": strings})
    assert [reason.split(":")[0].split(" (")[0] for reason in reasons] == [
        "train and test share 1 speaker",
        "train and test hold 4 recordings",
    ]


def test_a_missing_file_is_named(record: Record, make_cut: Callable[..., MonoCut]) -> None:
    splits = {"train": CutSet.from_cuts([record("a", speaker="a")]), "test": CutSet.from_cuts([make_cut("gone", speaker="b")])}
    with pytest.raises(UserError, match=r"/nowhere/gone\.wav cannot be found"):
        check_disjoint(splits)


def test_trials_of_trained_speakers_are_refused() -> None:
    """The planted mistake: VoxCeleb1-E, whose speakers are those of VoxCeleb1 dev, with VoxCeleb1 dev in training."""
    with pytest.raises(UserError, match=r"share 4 speakers \(id10001, id10002, id10003 and 1 more\).*exclude_speakers"):
        check_trial_speakers((f"id1000{n}" for n in range(1, 9)), ["id10004", "id10003", "id10270", "id10001", "id10002", "id10001"])
    check_trial_speakers(["id00012"], ["id10270", "id10271"])


def test_real_speakers_are_divided_by_the_advice(data_pack: Path) -> None:
    corpus = Folder(str(data_pack / "arabic_sc")).splits()
    slices = {"train": (0.0, 0.8), "test": (0.8, 1.0)}
    careless = divided(corpus, **{name: {"fraction": part} for name, part in slices.items()})
    assert "train and test share 18 speakers" in shared_with_train(careless, sessions=False)[0]
    assert shared_with_train(divided(corpus, **{name: {"speaker_fraction": part} for name, part in slices.items()})) == []
