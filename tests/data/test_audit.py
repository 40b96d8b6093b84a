"""Every finding is planted once, and a healthy corpus has none of them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from lhotse import CutSet

from auscult.data.alphabet import Alphabet
from auscult.data.audit import audit
from auscult.data.audit_report import AuditReport, Finding
from auscult.data.strings import concatenate_words
from auscult.errors import UserError

ENGLISH = Alphabet.named("english")
TEXTS = ["the quick brown fox", "jumps over the lazy dog", "pack my box with five dozen jugs", "a wizard's job is to vex chumps"]


def frames(samples: int) -> int:
    if samples < 400:
        raise UserError("too short for the model")
    return samples // 320  # 25 per second at 8 kHz


Plant = Callable[..., Any]


@pytest.fixture
def plant(make_cut):  # type: ignore[no-untyped-def]
    """A healthy row of two seconds; keyword arguments spoil it."""

    def make(identity: str, session: str | None = None, **changes: Any) -> Any:
        cut = make_cut(
            identity, **{"samples": 16000, "text": TEXTS[sum(map(ord, identity)) % 4], "speaker": identity.split("-")[0], **changes}
        )
        if session is not None:
            cut.custom = {"session": session}
        return cut

    return make


def healthy(plant: Plant) -> dict[str, list[Any]]:
    return {
        "train": [plant(f"{speaker}-{i}") for i in range(12) for speaker in ("ann", "bob", "cid")],
        "test": [plant(f"{speaker}-{i}") for i in range(4) for speaker in ("dot", "eve")],
    }


def run(splits: dict[str, list[Any]], **arguments: Any) -> AuditReport:
    settings = {"alphabet": ENGLISH, "output_frames": frames, "sample_rate": 8000, "audio": False, **arguments}
    return audit({name: CutSet.from_cuts(cuts) for name, cuts in splits.items()}, **settings)


def only(report: AuditReport, code: str) -> Finding:
    matching = [one for one in report.findings if one.code == code]
    assert len(matching) == 1, [one.code for one in report.findings]
    return matching[0]


def test_healthy_corpus_passes(plant: Plant) -> None:
    report = run(healthy(plant))
    assert report.findings == ()
    assert not report.failed
    facts = report.splits["train"]
    assert (facts.utterances, facts.speakers, facts.sample_rates) == (36, 3, {8000: 36})
    assert facts.hours == pytest.approx(36 * 2 / 3600)
    assert facts.seconds["median"] == 2.0
    assert facts.characters_per_second is not None
    assert 9 < facts.characters_per_second["median"] < 16
    assert facts.characters["o"] == sum(cut.supervisions[0].text.count("o") for cut in healthy(plant)["train"])
    assert sum(facts.labels.values()) == 36


PLANTED: list[tuple[str, str, str, dict[str, Any]]] = [
    ("empty_text", "error", "cid-x", {"text": " "}),
    ("out_of_alphabet", "error", "cid-x", {"text": "room 42, please"}),
    ("infeasible_length", "error", "cid-x", {"text": "too many letters for this time", "samples": 9000}),
    ("implausible_rate", "warning", "cid-x", {"text": "a" * 45 + "b" * 45}),
    ("implausible_rate", "warning", "cid-x", {"text": "a", "samples": 80_000}),
    ("short_audio", "warning", "cid-x", {"text": "a", "samples": 700}),
    ("no_speaker", "warning", "cid-x", {"speaker": None}),
    ("mixed_sample_rates", "warning", "8000", {"rate": 16000, "samples": 32000}),
]


@pytest.mark.parametrize(("code", "severity", "first", "fault"), PLANTED)
def test_planted_row_is_found(plant: Plant, code: str, severity: str, first: str, fault: dict[str, Any]) -> None:
    splits = healthy(plant)
    splits["train"].insert(7, plant("cid-x", **fault))
    report = run(splits)
    found = only(report, code)
    assert found.severity == severity
    assert found.ids[0] == first
    assert found.count == (2 if code == "mixed_sample_rates" else 1)
    assert report.failed == any(one.severity == "error" for one in report.findings)
    if severity == "error":
        assert report.failed


def test_ctc_length_boundary_counts_repeats(plant: Plant) -> None:
    splits = healthy(plant)
    hello = {"text": "hello"}  # 5 symbols + 1 repeat = 6 frames
    splits["train"] += [plant("ann-enough", samples=6 * 320, **hello), plant("bob-short", samples=6 * 320 - 1, **hello)]
    found = only(run(splits), "infeasible_length")
    assert found.ids == ("bob-short",)
    assert "has 5 output frames and needs 6" in found.message
    assert "infeasible_length" not in [one.code for one in run(splits, output_frames=None).findings]
    found = [one for one in run({"train": splits["train"][-2:]}, sample_rate=4000).findings if one.code == "infeasible_length"]
    assert found[0].ids == ("ann-enough", "bob-short")  # the same seconds are half the samples


def test_length_below_the_model_minimum_is_infeasible(plant: Plant) -> None:
    splits = healthy(plant)
    splits["train"].append(plant("ann-tiny", text="a", samples=399))
    assert only(run(splits), "infeasible_length").ids == ("ann-tiny",)


def test_unknown_characters_that_are_dropped_are_a_warning(plant: Plant) -> None:
    splits = healthy(plant)
    splits["train"].append(plant("ann-x", text="fox!"))
    found = only(run(splits, unknown="drop"), "out_of_alphabet")
    assert found.severity == "warning"
    assert "'!' 1 times" in found.message


def test_speaker_overlap_is_error_unless_the_set_is_closed(plant: Plant) -> None:
    splits = healthy(plant)
    splits["test"].append(plant("ann-test"))
    leak = only(run(splits), "speaker_overlap")
    assert (leak.severity, leak.ids) == ("error", ("ann",))
    closed = run({"train": splits["train"], "test": [plant("ann-test"), plant("bob-test")]})
    assert only(closed, "speaker_overlap").severity == "warning"
    assert not closed.failed


def test_session_overlap_is_found(plant: Plant) -> None:
    splits = {
        "train": [plant(f"ann-{i}", session=f"room {i % 4}") for i in range(8)],
        "test": [plant(f"dot-{i}", session=f"room {3 + i % 4}") for i in range(8)],
    }
    found = only(run(splits), "session_overlap")
    assert (found.severity, found.ids) == ("error", ("room 3",))


def test_duplicate_ids_and_rows_and_shared_recordings(plant: Plant) -> None:
    splits = healthy(plant)
    again = plant("ann-copy", path="/nowhere/ann-3.wav", text=splits["train"][9].supervisions[0].text)
    splits["train"].append(again)
    splits["test"].append(plant("dot-leak", path="/nowhere/bob-5.wav"))
    splits["test"].append(plant("ann-0", path="/elsewhere/other.wav", speaker="eve"))
    report = run(splits)
    assert only(report, "duplicate_rows").ids == ("ann-copy",)
    assert only(report, "shared_recordings").ids == ("bob-5",)
    assert only(report, "duplicate_id").ids == ("ann-0 (train, test)",)
    assert report.failed


def test_labels_order_and_balance(plant: Plant) -> None:
    words = {"yes": 40, "no": 40, "stop": 2}
    rows = [plant(f"s{i % 6}-{word}{i}", text=word, samples=8000) for word, number in words.items() for i in range(number)]
    report = run({"train": rows})
    assert report.splits["train"].labels == {"yes": 40, "no": 40, "stop": 2}
    assert only(report, "near_empty_class").ids == ("stop",)
    assert only(report, "sorted_by_label").severity == "info"
    assert "e" in report.splits["train"].characters
    assert set(only(report, "rare_characters").ids) == {"p", "t"}
    assert only(report, "unused_characters").count == 29 - 1 - len(set("yesnostop"))
    by_speaker = sorted(rows, key=lambda cut: cut.supervisions[0].speaker)
    assert only(run({"train": by_speaker}), "sorted_by_speaker").message.startswith("train: the manifest is sorted by speaker")


def test_dominant_speaker_and_unseen_characters(plant: Plant) -> None:
    train = [plant(f"{'ann' if i % 2 else 'bcdef'[i % 5]}-{i}", text="abc abc") for i in range(40)]
    report = run({"train": train, "test": [plant("zoe-1", text="abcd")]})
    assert only(report, "dominant_speaker").ids == ("ann",)
    assert only(report, "unseen_characters").ids == ("d",)


def test_empty_split_and_missing_texts(plant: Plant) -> None:
    report = run({**healthy(plant), "validation": []})
    assert only(report, "empty_split").message.startswith("validation")
    without = {"train": [plant("ann-1", text=None), plant("bob-1", text=None)]}
    assert not run(without, alphabet=None, output_frames=None).failed  # a corpus of speakers needs no texts
    assert only(run(without), "empty_text").count == 2


def test_upsampling_is_noted(plant: Plant) -> None:
    found = only(run(healthy(plant), sample_rate=16000), "upsampling")
    assert found.severity == "info"
    assert "8000 Hz and resampled to 16000 Hz" in found.message


def heard(splits: dict[str, list[Any]], **arguments: Any) -> AuditReport:
    return run(splits, alphabet=None, output_frames=None, audio=True, **arguments)


def test_r4_duplicate_audio_found(record) -> None:  # type: ignore[no-untyped-def]
    """A set of 16 that is 8 recordings twice, under other names and in another container."""
    samples = [np.random.default_rng(i).uniform(-0.5, 0.5, 2000) for i in range(8)]
    train = [record(f"ann-{i}", one) for i, one in enumerate(samples)] + [record(f"copy-{i}", one) for i, one in enumerate(samples)]
    report = heard({"train": train, "test": [record("dot-1", samples[0]), record("dot-2")]})
    inside = only(report, "duplicate_audio")
    assert (inside.severity, inside.count, inside.ids[0]) == ("error", 8, "ann-0 = copy-0")
    assert only(report, "duplicate_audio_across_splits").ids == ("train:ann-0 = test:dot-1",)
    assert report.failed
    assert not heard({"train": train[:8]}).failed


def test_bad_audio_is_found(record) -> None:  # type: ignore[no-untyped-def]
    noise = np.random.default_rng(0).normal(0, 0.1, 4000)
    tone = np.sin(np.arange(4000) * 0.13)
    broken = record("ann-broken")
    path = Path(broken.recording.sources[0].source)
    path.write_bytes(path.read_bytes()[:500])
    infinite = record("ann-nan", np.where(np.arange(4000) == 7, np.nan, noise), subtype="FLOAT")
    report = heard(
        {
            "train": [
                record("ann-fine", noise),
                record("ann-loud", 0.99 * tone),
                record("ann-clipped", np.clip(2 * tone, -1, 0.999)),
                record("ann-clipped-quiet", 0.2 * np.clip(2 * tone, -1, 1)),
                record("ann-offset", noise + 0.1),
                record("ann-silent", np.zeros(4000)),
                record("ann-silent-too", np.zeros(4000)),
                broken,
                infinite,
            ]
        }
    )
    assert only(report, "clipped_audio").ids == ("ann-clipped", "ann-clipped-quiet")
    assert only(report, "dc_offset").ids == ("ann-offset",)
    assert only(report, "silent_audio").ids == ("ann-silent", "ann-silent-too")
    assert only(report, "unreadable_audio").ids == ("ann-broken", "ann-nan")
    assert [one.severity for one in report.findings] == sorted(
        (one.severity for one in report.findings), key=["error", "warning", "info"].index
    )


def test_strings_are_heard_once_per_recording(record) -> None:  # type: ignore[no-untyped-def]
    words = CutSet.from_cuts([record(f"w{i}", speaker="ann") for i in range(6)])
    strings = list(concatenate_words(words, 20, (3, 5), (0.05, 0.1), np.random.default_rng(0)))
    told: list[tuple[int, int]] = []
    report = heard({"train": strings}, progress=lambda done, total: told.append((done, total)))
    assert told == [(i, 6) for i in range(1, 7)]
    assert not report.failed
    shared = heard({"train": strings, "test": list(concatenate_words(words, 3, (3, 3), (0.05, 0.1), np.random.default_rng(1)))})
    assert only(shared, "shared_recordings").count >= 3
    assert "duplicate_audio_across_splits" not in {one.code for one in shared.findings}


def test_report_is_plain_json(plant: Plant) -> None:
    splits = healthy(plant)
    splits["train"] += [plant(f"ann-empty{i}", text="") for i in range(9)]
    report = run(splits)
    values = json.loads(json.dumps(report.to_dict()))
    assert values["failed"] is True
    assert values["audio_checked"] is False
    assert values["findings"][0]["code"] == "empty_text"
    assert (len(values["findings"][0]["ids"]), values["findings"][0]["count"]) == (5, 9)
    assert values["splits"]["train"]["sample_rates"] == {"8000": 45}


def test_a_speaker_in_two_conversations_is_found(record) -> None:  # type: ignore[no-untyped-def]
    """Conversations have several speakers; compared by their joined names, "ann+bob" and "ann+cid" would share nobody."""
    from dataclasses import replace

    def conversation(identity: str, other: str) -> Any:
        cut = record(identity, speaker="ann")
        [alone] = cut.supervisions
        return replace(cut, supervisions=[alone, replace(alone, id=f"{identity}-2", speaker=other)])

    splits = {"train": CutSet.from_cuts([conversation("a", "bob")]), "test": CutSet.from_cuts([conversation("b", "cid")])}
    report = audit(splits, audio=False)
    [found] = [finding for finding in report.findings if finding.code == "speaker_overlap"]
    assert list(found.ids) == ["ann"]
    assert report.splits["train"].speakers == 2
