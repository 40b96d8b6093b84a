"""Verification trains on what it says, judges files under their own names, and refuses what would make its numbers untrue."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from auscult.data.loading import evaluation_batches
from auscult.data.verification_batch import VerificationBatch
from auscult.errors import UserError
from auscult.recipe import Recipe
from auscult.runs.directory import RunDirectory
from auscult.tasks.verification import Verification, crop_length
from auscult.training.evaluate import evaluate
from auscult.training.evaluation import judge_split
from auscult.training.precision import Arithmetic
from auscult.training.train import train

Values = Callable[..., dict[str, Any]]


def build(values: dict[str, Any]) -> Verification:
    recipe = Recipe.from_dict(values)
    task: Verification = recipe.task.build(recipe=recipe)
    return task


def streams_for(task: Verification, cuts: list[Any], epoch: int = 0) -> list[np.random.Generator]:
    from auscult.streams import Streams

    return [Streams(0).generator("item", epoch, cut.id) for cut in cuts]


def voice(speaker: int) -> float:
    """The mean sample of a speaker of the corpus in conftest.py."""
    return 0.05 + 0.05 * speaker


class Listener(nn.Module):
    """An encoder that knows every voice: its embedding is a direction that depends on the mean sample only; counts what it hears."""

    def __init__(self) -> None:
        super().__init__()
        self.heard = 0
        self.unused = nn.Parameter(torch.zeros(1))

    def forward(self, samples: Tensor, lengths: Tensor) -> Tensor:
        self.heard += len(samples)
        inside = torch.arange(samples.shape[1])[None] < lengths[:, None]
        angle = 4 * (samples * inside).sum(1) / lengths
        return torch.stack([angle.cos(), angle.sin()], dim=1)


def judge(task: Verification, model: nn.Module, split: str = "test") -> list[dict[str, Any]]:
    return judge_split(task, model, task.recipe, split, Arithmetic(task.recipe.precision))


def test_classes_are_the_training_speakers_sorted_and_never_configured(verification: Values) -> None:
    task = build(verification())
    assert task.specification.labels == ("s0", "s1", "s2", "s3")
    network = task.build_model()
    assert network.criterion.classes == 4
    assert build(verification(speeds=[0.9])).specification.labels == (
        "s0",
        "s1",
        "s2",
        "s3",
        "sp0.9-s0",
        "sp0.9-s1",
        "sp0.9-s2",
        "sp0.9-s3",
    )
    with pytest.raises(UserError, match="classes"):
        build(verification(loss={"name": "softmax", "classes": 400}))


def test_a_training_batch_keeps_utterances_with_their_speakers(verification: Values) -> None:
    task = build(verification())
    cuts = [cut for cut in task.cuts("train") if cut.id in ("s2_0", "s2_1", "s0_3", "s0_1")]
    batch = task.collate(cuts, streams_for(task, cuts))
    assert batch.samples.shape == (2, 2, crop_length(40, 8000))
    voices = batch.samples.mean(2)
    np.testing.assert_allclose(voices, [[0.05, 0.05], [0.15, 0.15]], atol=2e-3)
    assert batch.speakers.tolist() == [0, 2]
    assert batch.ids == tuple(cut.id for cut in cuts)


def test_crops_follow_their_generator_and_an_utterance_used_twice_is_cropped_twice(verification: Values) -> None:
    task = build(verification())
    cut = next(iter(task.cuts("train")))
    first, again, other = (task.collate([cut, cut], streams_for(task, [cut, cut], epoch)) for epoch in (0, 0, 1))
    assert torch.equal(first.samples, again.samples)
    assert not torch.equal(first.samples, other.samples)
    assert not torch.equal(first.samples[0, 0], first.samples[0, 1])


def test_a_missing_utterance_is_made_up_for_by_its_speaker(verification: Values) -> None:
    """After a failed read or quarantine a speaker may come with fewer utterances than the others."""
    task = build(verification())
    cuts = [cut for cut in task.cuts("train") if cut.id in ("s0_0", "s0_1", "s1_0")]
    batch = task.collate(cuts, streams_for(task, cuts))
    assert batch.ids == ("s0_0", "s0_1", "s1_0", "s1_0")
    assert not torch.equal(batch.samples[1, 0], batch.samples[1, 1])


def test_short_recordings_are_repeated_not_padded(verification: Values) -> None:
    task = build(verification(max_frames=300))
    cuts = list(task.cuts("train"))[:2]
    batch = task.collate(cuts, streams_for(task, cuts))
    assert float(batch.samples.abs().min()) > 0.04


@pytest.mark.parametrize("crops", [0, 10])
def test_every_file_is_judged_under_its_own_name(verification: Values, crops: int) -> None:
    """Files of different lengths in shuffled batches; the reference experiment filed crops under the wrong utterance."""
    task = build(verification(crops=crops))
    items = judge(task, Listener())
    assert len(items) == 8 * 7 // 2
    metrics = task.summarise(items)
    assert metrics["eer"] == 0.0
    assert metrics["auc"] == 1.0
    assert all(item["target"] == (item["enrol"][:2] == item["test"][:2]) for item in items)
    assert task.alarms(items) == []


def test_a_planted_misfiling_is_seen(verification: Values, monkeypatch: pytest.MonkeyPatch) -> None:
    task = build(verification())
    original = Verification.judge

    def misfiled(self: Verification, model: nn.Module, batch: VerificationBatch) -> list[dict[str, Any]]:
        items = original(self, model, batch)
        names = [item["id"] for item in items]
        return [{**item, "id": name} for item, name in zip(items, [*names[1:], names[0]], strict=True)]

    monkeypatch.setattr(Verification, "judge", misfiled)
    assert task.summarise(judge(task, Listener()))["eer"] > 0.2


def test_each_file_is_embedded_once_and_never_again_for_the_same_weights(verification: Values, tmp_path: Path) -> None:
    """28 trials name 56 files; 8 passes are enough, and none for a second look at the same weights and audio."""
    values = verification()
    result = train(Recipe.from_dict(values), root=tmp_path / "runs")
    task, listener = build(values), Listener()
    task.use_run(result.run, listener)
    first = judge(task, listener)
    assert listener.heard == 8
    again = build(values)
    again.use_run(result.run, listener)
    assert judge(again, listener) == first
    assert listener.heard == 8
    moved = Listener()
    with torch.no_grad():
        moved.unused += 1  # other weights: nothing of the cache may be used
    again.use_run(result.run, moved)
    judge(again, moved)
    assert moved.heard == 8


def test_trials_do_not_depend_on_the_seed_and_come_from_other_speakers(verification: Values) -> None:
    task, other = build(verification()), build({**verification(), "seed": 5})
    for split, speakers in (("validation", {"s4", "s5"}), ("test", {"s6", "s7"})):
        trials = task.trials(split)
        assert {one[:2] for one in trials.ids} == speakers
        np.testing.assert_array_equal(trials.enrol, other.trials(split).enrol)


@pytest.mark.parametrize("split", ["validation", "test"])
def test_shared_speakers_are_refused(verification: Values, split: str) -> None:
    values = verification()
    values["data"][split] = {"speakers": ["s3", "s7"]}
    with pytest.raises(UserError, match=rf"train and {split} share 1 speaker \(s3\)"):
        build(values)


def test_a_trial_list_is_read_against_the_files_of_the_test_split(verification: Values, tmp_path: Path) -> None:
    path = tmp_path / "trials.txt"
    path.write_text("1 s6_0.wav s6_1.wav\n0 s6_0 s7_2\n", encoding="utf-8")
    task = build(verification(trials=str(path)))
    items = judge(task, Listener())
    assert [(item["enrol"], item["test"], item["target"]) for item in items] == [("s6_0", "s6_1", True), ("s6_0", "s7_2", False)]
    assert "list trials.txt" in task.protocol()["trials"]
    assert judge(build(verification(trials=str(path), pieces=0.5)), Listener()) == items  # a list names whole recordings
    path.write_text("1 s6_0 s6_1\n0 s6_0 s9_2\n", encoding="utf-8")
    with pytest.raises(UserError, match=r'trials\.txt:2: unknown file "s9_2"'):
        judge(build(verification(trials=str(path))), Listener())


def test_files_of_a_list_may_lie_anywhere_but_not_speak_with_training_voices(verification: Values, voices: Path, tmp_path: Path) -> None:
    path, audio = tmp_path / "list.txt", tmp_path / "elsewhere"
    for speaker, source in (("x", "s6_0"), ("x", "s6_1"), ("y", "s7_0"), ("s1", "s7_1")):
        target = audio / speaker / f"{source}.wav"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes((voices.parent / f"{source}.wav").read_bytes())
    path.write_text("1 x/s6_0.wav x/s6_1.wav\n0 x/s6_0.wav y/s7_0.wav\n", encoding="utf-8")
    task = build(verification(trials=str(path), trial_audio=str(audio)))
    assert task.summarise(judge(task, Listener()))["eer"] == 0.0
    path.write_text("1 x/s6_0.wav x/s6_1.wav\n0 x/s6_0.wav s1/s7_1.wav\n", encoding="utf-8")
    with pytest.raises(UserError, match=r"share 1 speaker \(s1\)"):
        build(verification(trials=str(path), trial_audio=str(audio)))


def test_scores_are_normalised_by_training_speakers(verification: Values) -> None:
    task = build(verification(as_norm="train", as_norm_top=0))
    items = judge(task, Listener())
    assert task.cohort is not None
    angles = np.array([4 * voice(speaker) for speaker in range(4)])
    np.testing.assert_allclose(task.cohort.embeddings, np.stack([np.cos(angles), np.sin(angles)], 1), atol=0.01)  # one per speaker
    assert "eer_as_norm" in task.summarise(items)
    assert len({item["normalised_score"] for item in items}) > 20
    assert "cohort train" in task.protocol()["normalisation"]
    assert "normalised_score" not in judge(task, Listener(), "validation")[0]


def test_results_worse_than_guessing_or_than_no_training_raise_an_alarm(verification: Values) -> None:
    task = build(verification())

    class Contrary(Listener):
        def forward(self, samples: Tensor, lengths: Tensor) -> Tensor:
            self.calls = getattr(self, "calls", 0)
            angle = torch.randn(len(samples), generator=torch.Generator().manual_seed(0)) * 3
            return torch.stack([angle.cos(), angle.sin()], dim=1)

    alarms = task.alarms(judge(task, Contrary()))
    assert any("no better than mean and deviation of a log-mel picture" in alarm for alarm in alarms)


def test_accuracy_in_the_log_is_free_of_the_margin(verification: Values, tmp_path: Path) -> None:
    """R3: a falling loss beside 0.00 %. The log holds margin-free accuracy under its own name, and never a bare "accuracy" of a match."""
    result = train(Recipe.from_dict(verification(loss={"name": "additive_angular_margin", "margin": 0.4})), root=tmp_path)
    steps = [event for event in RunDirectory.open(result.run).events.read() if event["event"] == "step"]
    assert all(0 <= step["accuracy"] <= 1 for step in steps)
    metric = train(Recipe.from_dict(verification(loss={"name": "ge2e"})), root=tmp_path)
    steps = [event for event in RunDirectory.open(metric.run).events.read() if event["event"] == "step"]
    assert all("batch_accuracy" in step and "accuracy" not in step for step in steps)


def test_the_margin_grows_as_a_function_of_the_update(verification: Values) -> None:
    task = build(verification(margin_warm_up=[0.2, 0.6], loss={"name": "additive_angular_margin", "margin": 0.3}))
    network = task.build_model()
    seen = []
    for update in (0, 20, 30, 40, 60, 99):
        task.prepare_update(network, update, 100)
        seen.append(network.criterion.margin_in_effect)
    np.testing.assert_allclose(seen, [0, 0, 0.075, 0.15, 0.3, 0.3])


def test_metric_losses_need_and_get_several_utterances(verification: Values) -> None:
    values = verification(loss={"name": "angular_prototypical"})
    values["data"]["batch"] = {"speakers": 4, "utterances": 1}
    with pytest.raises(UserError, match=r"set data\.batch\.utterances to 2 or more"):
        train(Recipe.from_dict(values), root=Path(values["data"]["corpus"]["source"]).parent / "runs")


def test_more_speakers_per_batch_than_there_are(verification: Values, tmp_path: Path) -> None:
    values = verification()
    values["data"]["batch"] = {"speakers": 5, "utterances": 2}
    with pytest.raises(UserError, match="5 different speakers per batch were asked for and training has 4; set it to 4 or fewer"):
        train(Recipe.from_dict(values), root=tmp_path)


def test_other_kinds_of_model_and_loss_are_refused(verification: Values) -> None:
    with pytest.raises(UserError, match=r'task\.loss: "ctc" is no speaker loss'):
        build(verification(loss={"name": "ctc"}))
    with pytest.raises(UserError, match='model: "light_cnn" is no speaker encoder'):
        build({**verification(), "model": {"name": "light_cnn"}}).build_model()


@pytest.mark.parametrize("each", [1, 2])
def test_fine_tuning_takes_class_weights_over_by_name(verification: Values, tmp_path: Path, each: int) -> None:
    """Speed classes are left out: rows of the remaining speakers stay with their speakers although positions shift."""
    loss = {"name": "additive_angular_margin", "sub_centres": each}
    values = verification(speeds=[0.9], loss=loss)
    first = train(Recipe.from_dict(values), root=tmp_path)
    tuned = verification(loss={**loss, "margin": 0.5}, start_from=str(first.run), max_frames=60)
    tuned["data"]["train"] = {"speakers": ["s3", "s1", "s0"]}
    task = build(tuned)
    network = task.build_model()
    notes = task.initialise(network)
    assert any("3 of 3 speakers are taken over by name" in note for note in notes)
    from safetensors.torch import load_file

    held = load_file(first.run / "model.safetensors")
    for row, label in enumerate(("s0", "s1", "s3")):
        old = int(label[1])
        assert torch.equal(network.criterion.weight[row * each : (row + 1) * each], held["criterion.weight"][old * each : (old + 1) * each])
    assert torch.equal(network.encoder.stem.weight, held["encoder.stem.weight"])
    assert build(tuned).data_hash != build({**tuned, "task": {**tuned["task"], "start_from": None}}).data_hash
    result = train(Recipe.from_dict(tuned), root=tmp_path)
    assert any("starts with the weights of" in str(event.get("text")) for event in RunDirectory.open(result.run).events.read())


def test_evaluation_of_a_run_is_calibrated_by_its_validation_trials(verification: Values, tmp_path: Path) -> None:
    result = train(Recipe.from_dict(verification()), root=tmp_path)
    assert "cllr_uncalibrated" in result.metrics
    judged = evaluate(result.run, split="test")
    assert {"eer", "min_dcf_p01", "min_dcf_p05", "cllr", "min_cllr", "eer_untrained", "trials", "targets"} <= set(judged.summary["metrics"])
    assert {"eer", "min_dcf_p01", "min_dcf_p05", "cllr", "eer_untrained"} <= set(judged.summary["intervals"])
    assert judged.summary["protocol"]["calibration"].startswith("logistic")
    worst = judged.worst(1)[0]
    assert worst["score"] == max((item["score"] * (-1 if item["target"] else 1), item["score"]) for item in judged.items)[1]


def test_evaluation_batches_hold_whole_files_of_all_lengths(verification: Values) -> None:
    task = build(verification())
    batches = list(evaluation_batches(task.cuts("test"), task.collate, items=3))
    assert [batch.samples.shape[:2] for batch in batches] == [(3, 1), (3, 1), (2, 1)]
    lengths = torch.cat([batch.sample_lengths for batch in batches]).flatten().tolist()
    assert lengths == sorted(lengths)
    assert all(int(label) == -1 for batch in batches for label in batch.speakers)


def test_checkpoints_are_chosen_without_the_test_trials(verification: Values, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """VT's validation error is that of the test list. Here training never judges the test split, and cannot even read its list."""
    judged: list[str] = []
    conclude = Verification.conclude

    def noting(self: Verification, split: str, items: Any) -> Any:
        judged.append(split)
        return conclude(self, split, items)

    monkeypatch.setattr(Verification, "conclude", noting)
    path = tmp_path / "trials.txt"
    path.write_text("1 s6_0 no_such_file\n", encoding="utf-8")
    result = train(Recipe.from_dict(verification(trials=str(path))), root=tmp_path / "runs")
    assert set(judged) == {"validation"}
    with pytest.raises(UserError, match="no_such_file"):
        evaluate(result.run, split="test")


@pytest.mark.parametrize("damage", ["cut", "gone"])
def test_a_file_that_cannot_be_read_is_named_and_never_becomes_zeros(
    verification: Values, voices: Path, tmp_path: Path, damage: str
) -> None:
    values = verification()
    recipe = Recipe.from_dict(values)
    task = build(values)
    broken = voices.parent / "s1_2.wav"
    if damage == "cut":
        broken.write_bytes(broken.read_bytes()[:600])
    else:
        broken.unlink()
    cuts = [cut for cut in task.cuts("train") if cut.id == "s1_2"]
    with pytest.raises(UserError, match=r"s1_2\.wav"):
        task.collate(cuts, streams_for(task, cuts))
    with pytest.raises(UserError, match=r"s1_2\.wav"):
        train(recipe, root=tmp_path)
