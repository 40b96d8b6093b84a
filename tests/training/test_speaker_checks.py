"""`check` on verification and diarization: what is learned by heart is judged right only where it is, and nothing to learn is no pass."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

from auscult.data.verification_batch import VerificationBatch
from auscult.errors import UserError
from auscult.models.masking import MaskedBatchNorm
from auscult.recipe import Recipe
from auscult.runs.directory import RunDirectory
from auscult.tasks import verification_check
from auscult.tasks.diarization import Diarization
from auscult.tasks.verification import Verification
from auscult.training import check as check_module
from auscult.training.check import check

RATE = 8000
VERIFICATION: dict[str, Any] = {
    "task": {"name": "verification", "max_frames": 50},
    "model": {"name": "small_tdnn", "channels": 8, "blocks": 1, "wide": 16, "dimensions": 8},
    "optimizer": {"name": "adam", "lr": 0.01},
    "check": {"utterances": 2, "updates": 200, "threshold": 0.01},
}
DIARIZATION: dict[str, Any] = {
    "task": {"name": "diarization", "window": 2.0},
    "model": {"name": "powerset_segmentation", "channels": 32, "blocks": 2, "attention": 1, "dropout": 0.0},
    "optimizer": {"name": "adam", "lr": 0.01},
    "check": {"utterances": 1, "updates": 300, "threshold": 0.01},
}


@pytest.fixture(scope="module")
def voices(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four speakers of two buzzing recordings with pauses; every speaker has a pitch."""
    folder, random, rows = tmp_path_factory.mktemp("voices"), np.random.default_rng(0), []
    time = np.arange(3 * RATE) / RATE
    for speaker, number in product(range(4), range(2)):
        buzz = sum(np.sin(2 * np.pi * harmonic * (90 + 40 * speaker) * time + number) / harmonic for harmonic in range(1, 6))
        spoken = (time % 1.3 > 0.3) * 0.15 * buzz + 0.001 * random.standard_normal(len(time))
        soundfile.write(folder / f"s{speaker}_{number}.wav", spoken, RATE, subtype="PCM_16")
        rows.append({"audio": f"s{speaker}_{number}.wav", "speaker": f"s{speaker}"})
    (folder / "manifest.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return folder / "manifest.jsonl"


def recipe(voices: Path, values: dict[str, Any], **changes: Any) -> Recipe:
    batch = {"speakers": 2, "utterances": 2} if values["task"]["name"] == "verification" else {"items": 2}
    data: dict[str, Any] = {"corpus": {"name": "folder", "source": str(voices)}, "sample_rate": RATE, "train": ["*"], "batch": batch}
    if values["task"]["name"] == "diarization":
        data["conversations"] = {"counts": {"train": 3}, "seconds": 4.0, "speakers": [2, 2], "turn": [0.8, 0.5]}
    merged = {key: {**values[key], **changes.pop(key, {})} for key in values}
    return Recipe.from_dict({"data": data, "budget": {"updates": 1}, **merged, **changes})


def test_verification_learns_an_utterance_and_says_whom_it_was_taken_for(voices: Path, tmp_path: Path) -> None:
    result = check(recipe(voices, VERIFICATION), root=tmp_path)
    assert result.passed, result.reasons
    for item in result.items:
        assert (item["stop_reason"], item["right"], item["accuracy"]) == ("threshold", True, 1.0)
        assert item["chosen"] == item["speaker"] == item["id"][:2]
        assert item["beside"][:2] != item["speaker"]
        assert item["target_similarity"] > item["other_similarity"]
    events = RunDirectory.open(result.run).events.read()
    [first, _] = [event for event in events if event["event"] == "utterance"]
    assert (first["speakers"], first["dimensions"], first["crops"]) == (4, 8, 2)
    assert [event["passed"] for event in events if event["event"] == "batch_independence"] == [True]
    with np.load(RunDirectory.open(result.run).arrays_folder / "0.npz") as arrays:
        assert str(arrays["labels"][arrays["cosines"].argmax()]) == result.items[0]["speaker"]


@pytest.mark.parametrize("loss", ["angular_prototypical", "ge2e", "softmax_angular_prototypical"])
def test_losses_that_compare_within_a_batch_have_something_to_learn(voices: Path, tmp_path: Path, loss: str) -> None:
    result = check(recipe(voices, VERIFICATION, task={"loss": {"name": loss}}, check={"utterances": 1, "threshold": 0.001}), root=tmp_path)
    assert result.passed, result.reasons
    assert result.items[0]["chosen"] == result.items[0]["speaker"]


def test_an_encoder_that_normalises_over_the_batch_can_be_checked(voices: Path, tmp_path: Path) -> None:
    """Two crops alone would come out as opposites; a second speaker makes the batch one that can be learned."""
    values = {**VERIFICATION, "model": {"name": "ecapa_tdnn", "channels": 16, "dimensions": 8}}
    result = check(recipe(voices, values, check={"utterances": 1, "updates": 60}), root=tmp_path)
    assert result.passed, result.reasons


def test_a_label_that_is_another_speakers_is_a_wrong_output(voices: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The planted bug: judging looks up other classes than training did."""
    true = verification_check.learned

    def shifted(model: Any, batch: VerificationBatch, labels: tuple[str, ...], rate: int) -> Any:
        moved = VerificationBatch(batch.samples, batch.sample_lengths, (batch.speakers + 1) % len(labels), batch.ids)
        return true(model, moved, labels, rate)

    monkeypatch.setattr(verification_check, "learned", shifted)
    result = check(recipe(voices, VERIFICATION, check={"utterances": 1}), root=tmp_path)
    assert not result.passed
    assert "threshold reached, but the output is wrong (accuracy 0" in result.reasons[0]
    assert result.items[0]["chosen"] != result.items[0]["speaker"]


def test_a_loss_with_nothing_to_learn_is_no_pass(voices: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The planted bug: a loss that is 0 whatever the weights, as that of a metric loss which sees one speaker."""
    true = Verification.loss

    def nothing(self: Verification, model: Any, batch: VerificationBatch) -> Any:
        return replace(found := true(self, model, batch), value=0.0 * found.value)

    monkeypatch.setattr(Verification, "loss", nothing)
    result = check(recipe(voices, VERIFICATION, check={"utterances": 1}), root=tmp_path)
    assert not result.passed
    assert "gives this loss nothing to learn" in result.reasons[0]


def test_one_training_speaker_cannot_be_told_from_others(voices: Path) -> None:
    resolved = recipe(voices, VERIFICATION)
    task: Verification = resolved.task.build(recipe=resolved)
    own = [cut for cut in task.cuts("train") if cut.supervisions[0].speaker == "s1"]
    with pytest.raises(UserError, match="telling speakers apart needs two"):
        verification_check.partner(own[0], own)
    assert verification_check.partner(own[0], list(task.cuts("train"))).supervisions[0].speaker == "s2"


def test_an_embedding_that_depends_on_the_batch_is_caught(voices: Path) -> None:
    resolved = recipe(voices, VERIFICATION)
    task: Verification = resolved.task.build(recipe=resolved)
    torch.manual_seed(0)
    model = task.build_model().eval()
    batch = task.collate(list(task.cuts("train"))[:2])
    assert task.independence(model, batch).holds
    for module in model.modules():
        if isinstance(module, MaskedBatchNorm):
            module.train()  # the planted bug: statistics of the batch in evaluation
    assert not task.independence(model, batch).holds


def test_diarization_learns_a_window_frame_by_frame(voices: Path, tmp_path: Path) -> None:
    result = check(recipe(voices, DIARIZATION), root=tmp_path)
    assert result.passed, result.reasons
    [item] = result.items
    assert (item["right"], item["frame_errors"]) == (True, 0)
    run = RunDirectory.open(result.run)
    [start] = [event for event in run.events.read() if event["event"] == "utterance"]
    assert start["output_frames"] == item["frames"]
    with np.load(run.arrays_folder / "0.npz") as arrays:
        assert (arrays["probabilities"].argmax(1) == arrays["classes"]).all()  # named as the outputs name them
        assert len(arrays["features"]) == start["input_frames"]


def test_labels_shifted_in_judging_are_a_wrong_output(voices: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The planted bug: judging looks at labels half a second late."""
    judge = Diarization.judge

    def late(self: Diarization, model: Any, batch: Any) -> list[dict[str, Any]]:
        moved = torch.roll(batch.activity, 25, dims=1)
        return judge(self, model, type(batch)(batch.samples, batch.sample_lengths, moved, batch.frame_lengths, batch.ids))

    monkeypatch.setattr(Diarization, "judge", late)
    result = check(recipe(voices, DIARIZATION), root=tmp_path)
    assert not result.passed
    assert "threshold reached, but the output is wrong (frame_error" in result.reasons[0]
    assert result.items[0]["right"] is False


def test_running_statistics_are_those_of_the_weights_that_are_judged(voices: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A model learned in three updates has running statistics of its first one; judged with them it would be wrong."""
    passed = check(recipe(voices, VERIFICATION, check={"utterances": 2}), root=tmp_path / "settled").passed
    monkeypatch.setattr(check_module._Check, "_settle", lambda self, model, batch: None)
    lagging = check(recipe(voices, VERIFICATION, check={"utterances": 2}), root=tmp_path / "lagging")
    assert passed
    assert not lagging.passed
