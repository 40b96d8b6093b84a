"""Every fault of a corpus of mixtures is planted in a toy PolSESS and found; a healthy one passes."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from lhotse import CutSet
from lhotse.cut import Cut, MixedCut, MixTrack, MonoCut

from auscult.cli import main
from auscult.corpora.polsess import PolSess
from auscult.corpora.prepare import prepare
from auscult.data.audit import audit
from auscult.data.audit_mixtures import holds_mixtures, same_speaker_mixtures
from auscult.data.audit_report import AuditReport, Finding
from auscult.errors import UserError
from auscult.testing.mixtures import READERS, ToyMixture, toy_mixtures, toy_splits, write_polsess
from auscult.training.audit import audit as audit_target

FACTS = {"residual"}
"""Codes that a healthy corpus has too, as information."""


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., dict[str, CutSet]]:
    def write(rows: Iterable[ToyMixture] | None = None) -> dict[str, CutSet]:
        return PolSess(str(write_polsess(tmp_path / "toy", rows, seconds=0.1))).splits()

    return write


def codes(report: AuditReport, severity: str = "error") -> list[str]:
    return [one.code for one in report.findings if one.severity == severity]


def only(report: AuditReport, code: str) -> Finding:
    matching = [one for one in report.findings if one.code == code and one.severity != "info"]
    assert len(matching) == 1, [one.code for one in report.findings]
    return matching[0]


def layer(cut: MonoCut, name: str) -> Path:
    return Path(cut.recording.sources[["mixture", *cut.custom["layers"]].index(name)].source)


def rewrite(path: Path, change: Callable[[np.ndarray], np.ndarray], rate: int = 8000, subtype: str = "PCM_16") -> None:
    samples, _ = soundfile.read(path, dtype="float32")
    soundfile.write(path, change(samples), rate, subtype=subtype)


def test_a_healthy_corpus_passes_and_says_what_was_measured(make: Callable[..., dict[str, CutSet]]) -> None:
    report = audit(make())
    assert not report.failed
    assert {(one.code, one.severity) for one in report.findings} == {("residual", "info")}
    assert [one.message.partition(":")[0] for one in report.findings] == ["train", "val", "test"]
    largest = float(report.findings[0].message.split("at most ")[1].split()[0])
    assert 2**-16 < largest <= 8 * 2**-16
    assert audit(make(), audio=False).findings == ()


def test_a_doubled_corpus_is_found_by_its_samples(make: Callable[..., dict[str, CutSet]]) -> None:
    rows = toy_splits(train=8)
    doubled = [row for row in rows if row.split == "train"]
    report = audit(make([*rows, *doubled]))
    assert codes(report) == ["duplicate_mixtures"]
    found = only(report, "duplicate_mixtures")
    assert found.count == 8
    assert found.message.startswith("train: 8 of 16 mixtures are copies of others by their samples, so the split holds 8;")
    first, second = found.ids[0].split(" = ")
    assert first != second


def test_a_copy_in_another_split_is_found(make: Callable[..., dict[str, CutSet]]) -> None:
    rows = toy_splits()
    report = audit(make([*rows, replace(rows[2], split="test")]))
    assert "duplicate_mixtures_across_splits" in codes(report)
    assert "shared_sources" not in codes(report)  # the copy is one finding
    assert {"shared_scene", "speaker_overlap"} <= set(codes(report))


def test_speech_that_is_known_under_another_scene_is_found(make: Callable[..., dict[str, CutSet]]) -> None:
    splits = make()
    train, test = splits["train"][0], splits["test"][0]
    rewrite(layer(test, "source1"), lambda _: soundfile.read(layer(train, "source1"))[0])
    rewrite(layer(test, "mixture"), lambda _: sum(soundfile.read(layer(test, name))[0] for name in test.custom["layers"]))
    report = audit(splits)
    assert codes(report) == ["shared_sources"]
    assert only(report, "shared_sources").ids == (f"{train.id} = {test.id}",)


def test_one_speaker_twice_is_found_with_its_share(make: Callable[..., dict[str, CutSet]]) -> None:
    rows = [replace(row, speakers=(row.speakers[0],) * 2) if number in (1, 6) else row for number, row in enumerate(toy_splits(train=10))]
    splits = make(rows)
    report = audit(splits)
    assert codes(report) == ["same_speaker"]
    found = only(report, "same_speaker")
    assert found.message.startswith("train: 20.0 % of the mixtures are of one speaker twice (two files drawn at random would make 2")
    wrong = [splits["train"][1].id, splits["train"][6].id]
    assert list(found.ids) == same_speaker_mixtures(splits["train"]) == wrong


def test_a_reader_in_most_mixtures_is_a_warning(make: Callable[..., dict[str, CutSet]]) -> None:
    rows = toy_mixtures("train", 14)
    report = audit(make([replace(row, speakers=("6892", READERS[1 + n % 7])) for n, row in enumerate(rows)]), audio=False)
    assert codes(report, "warning") == ["speaker_imbalance"]
    found = only(report, "speaker_imbalance")
    assert "8 speakers count as 3.5 " in found.message  # 1 / (1/4 + 7/196)
    assert "in 100.0 % of the mixtures" in found.message


def test_scenes_sessions_and_speakers_in_two_splits_are_found(make: Callable[..., dict[str, CutSet]]) -> None:
    rows = toy_splits()
    rows[9] = replace(rows[9], scene=rows[0].scene, speakers=("6892", READERS[5]))
    splits = make(rows)
    for name in ("train", "val"):
        splits[name][0].custom["session"] = ["SES0001", f"of {name}"]
    report = audit(splits, audio=False)
    assert sorted(codes(report)) == ["session_overlap", "shared_scene", "speaker_overlap"]
    assert only(report, "shared_scene").ids == ("/korpusy/TAU/train-scene-0.wav",)
    assert only(report, "session_overlap").ids == ("SES0001",)
    assert only(report, "speaker_overlap").ids == ("6892",)


def test_rooms_first_is_found_and_says_what_a_head_would_hold(make: Callable[..., dict[str, CutSet]]) -> None:
    rows = toy_mixtures("train", 40)
    assert not audit(make(rows), audio=False).failed
    report = audit(make(sorted(rows, key=lambda row: not row.indoor)), audio=False)
    assert codes(report) == ["row_order"]
    message = only(report, "row_order").message
    assert "(2 runs, " in message
    assert "the first 10 are 100 % indoor, all together " in message


def planted(splits: dict[str, CutSet], fault: str) -> str:
    """Plant a fault in the second training mixture, which is indoors, and return what the finding should name."""
    cut = splits["train"][1]
    if fault == "clipped_mixture":
        rewrite(layer(cut, "mixture"), lambda samples: np.clip(100 * samples, -1, 1))
    elif fault == "silent_layer":
        event = soundfile.read(layer(cut, "event"))[0]
        rewrite(layer(cut, "mixture"), lambda samples: samples - event)
        rewrite(layer(cut, "event"), lambda samples: 0 * samples)
        return f"{cut.id}:event"
    elif fault == "silent_source":
        rewrite(layer(cut, "source2"), lambda samples: 0.001 * samples)
        return f"{cut.id}:source2"
    elif fault == "identical_sources":
        rewrite(layer(cut, "source2"), lambda _: soundfile.read(layer(cut, "source1"))[0])
    elif fault == "residual":
        rewrite(layer(cut, "mixture"), lambda samples: np.roll(samples, 1))  # a sample late: nothing else shows it
    elif fault == "unreadable_audio":
        rewrite(layer(cut, "reverb1"), lambda samples: np.where(np.arange(len(samples)) == 9, np.nan, samples), subtype="FLOAT")
    return cut.id


@pytest.mark.parametrize("fault", ["clipped_mixture", "silent_layer", "silent_source", "identical_sources", "residual", "unreadable_audio"])
def test_a_fault_in_the_samples_is_found(make: Callable[..., dict[str, CutSet]], fault: str) -> None:
    splits = make()
    named = planted(splits, fault)
    report = audit(splits)
    assert fault in codes(report)
    assert set(codes(report)) <= {fault, "residual"}  # what was changed is not the sum any more
    found = only(report, fault)
    assert (found.ids, found.count) == ((named,), 1)
    assert found.message.startswith("train: ")


def test_the_limit_of_the_residual_can_be_set(make: Callable[..., dict[str, CutSet]]) -> None:
    splits = make()
    rewrite(layer(splits["train"][0], "scene"), lambda samples: samples + np.float32(3e-4))
    found = only(audit(splits), "residual")
    assert "limit 0.000122" in found.message
    assert not audit(splits, residual_limit=1e-3).failed
    assert codes(audit(splits, residual_limit=1e-5)).count("residual") == 3


def test_mixed_rates_odd_lengths_and_numbers_of_sources_are_found(tmp_path: Path) -> None:
    rows = {name: toy_splits()[8 * number : 8 * number + 4] for number, name in enumerate(("train", "test"))}
    splits: dict[str, list[Cut]] = {}
    for name, rate in (("train", 8000), ("test", 16000)):
        own = [replace(row, split=name) for row in rows[name]]
        splits[name] = list(PolSess(str(write_polsess(tmp_path / name, own, sample_rate=rate, seconds=0.1))).splits()[name])
    short = splits["train"][3] = splits["train"][3].truncate(duration=0.05, preserve_id=True)
    single = splits["train"][0]
    single.custom |= {"layers": ["source1", "noise2", *single.custom["layers"][2:]], "speakers": single.custom["speakers"][:1]}
    report = audit({name: CutSet.from_cuts(cuts) for name, cuts in splits.items()}, audio=False)
    assert codes(report) == ["mixed_sample_rates", "source_counts"]
    assert only(report, "source_counts").ids == (single.id,)
    assert only(report, "odd_length").ids == (short.id,)


def test_mixtures_of_unknown_speakers_are_not_called_mixtures_of_one(make: Callable[..., dict[str, CutSet]]) -> None:
    splits = make()
    for cut in splits["train"]:
        cut.custom["speakers"] = ["unknown", "unknown"]
    assert same_speaker_mixtures(splits["train"]) == []


def test_mixed_cuts_are_mixtures_if_people_talk_at_once(record: Callable[..., MonoCut]) -> None:
    ann, again, bob, noise = (record(name, speaker=name[:3]) for name in ("ann-1", "ann-2", "bob-1", "noise"))
    noise.supervisions = []

    def mixed(identity: str, *tracks: tuple[MonoCut, float]) -> MixedCut:
        return MixedCut(identity, [MixTrack(cut=cut, offset=offset) for cut, offset in tracks])

    both, one, string = (
        mixed("both", (ann, 0.0), (bob, 0.1)),
        mixed("one", (ann, 0.0), (again, 0.1)),
        mixed("string", (ann, 0), (again, 0.5)),
    )
    assert [holds_mixtures([cut]) for cut in (both, one, string, ann, mixed("noisy", (ann, 0.0), (noise, 0.0)))] == [
        *(True, True, False, False, False)
    ]
    brief = mixed("brief", (ann, 0.0), (again, 0.45), (bob, 0.0))
    assert same_speaker_mixtures([both, one, string, ann, brief]) == ["one", "brief"]  # its sources would be added to one
    report = audit({"train": CutSet.from_cuts([both, one])}, audio=False)
    assert "same_speaker" in codes(report)


def test_the_verb_fails_for_what_is_wrong_and_passes_otherwise(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = toy_splits()
    for name, members, status in (("good", rows, 0), ("bad", [replace(rows[0], speakers=("6892", "6892")), *rows[1:]], 1)):
        prepare(PolSess(str(write_polsess(tmp_path / name, members, seconds=0.1))), tmp_path / f"{name}-prepared")
        assert main(["audit", str(tmp_path / f"{name}-prepared"), "--json", "--residual-limit", "1e-3"]) == status
        said = json.loads(capsys.readouterr().out)
        assert said["failed"] == bool(status)
        assert {one["code"] for one in said["findings"]} - FACTS == ({"same_speaker"} if status else set())
    with pytest.raises(UserError, match="a residual limit applies to a prepared folder"):
        audit_target("recipe.yaml", residual_limit=1e-3)
