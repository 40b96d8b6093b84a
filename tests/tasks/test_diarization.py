"""The diarization task: exact labels, honest lines, refusals of data that hold no task."""

from __future__ import annotations

import json
from math import log
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from torch import nn

import auscult
from auscult.data.mixing import mix_conversation
from auscult.data.turns import frame_activity
from auscult.errors import UserError
from auscult.models.output import FrameLogits
from auscult.recipe import Recipe
from auscult.tasks import diarization_labels as labels
from auscult.tasks.diarization import Diarization
from auscult.testing.tasks import check_task

RATE = 8000


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three splits of three speakers each: tones of one pitch per speaker, with pauses."""
    folder = tmp_path_factory.mktemp("voices")
    rows = []
    for place, split in enumerate(("train", "validation", "test")):
        for number in range(3):
            name = f"{split}{number}"
            time = np.arange(5 * RATE) / RATE
            tone = 0.2 * np.sin(2 * np.pi * (200 + 130 * number + 40 * place) * time) * (np.sin(2 * np.pi * 0.35 * time) > -0.3)
            sound = tone + np.random.default_rng([place, number]).normal(0, 1e-4, len(time))
            soundfile.write(folder / f"{name}.wav", sound, RATE)
            rows.append({"audio": f"{name}.wav", "speaker": name, "split": split})
    (folder / "manifest.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def values(corpus: Path, **changes: Any) -> dict[str, Any]:
    return {
        "task": {"name": "diarization", "window": 2.0, **changes.pop("task", {})},
        "data": {
            "corpus": {"name": "folder", "source": str(corpus / "manifest.jsonl")},
            "sample_rate": RATE,
            "train": "train",
            "validation": "validation",
            "test": "test",
            "conversations": {"counts": {"train": 6, "validation": 2, "test": 2}, "seconds": 8.0, "speakers": [2, 3], "turn": [1.0, 0.8]},
            "batch": {"items": 4, "buckets": 1},
            **changes.pop("data", {}),
        },
        "model": {"name": "powerset_segmentation", "channels": 16, "blocks": 1, "attention": 1},
        "budget": {"updates": 4, "evaluate_every": 2, "checkpoint_every": 2, "log_every": 1},
        **changes,
    }


def build(corpus: Path, **changes: Any) -> Diarization:
    recipe = Recipe.from_dict(values(corpus, **changes))
    task: Diarization = recipe.task.build(recipe=recipe)
    return task


@pytest.fixture(scope="module")
def task(corpus: Path) -> Diarization:
    return build(corpus)


class _Says(nn.Module):
    """A model that answers with given classes, whatever it hears."""

    def __init__(self, task: Diarization, classes: torch.Tensor) -> None:
        super().__init__()
        self.task, self.classes = task, classes

    def forward(self, samples: torch.Tensor, lengths: torch.Tensor) -> FrameLogits:
        scores = nn.functional.one_hot(self.classes, self.task.powerset.classes).float().clamp_min(1e-6).log()
        return FrameLogits(scores, torch.full((len(lengths),), scores.shape[1]))


def test_conforms(task: Diarization) -> None:
    check_task(task)
    check_task(task, split="validation")


def test_windows_are_labelled_at_the_centres_of_the_models_frames(task: Diarization) -> None:
    cuts = list(task.cuts("validation"))[:3]
    batch = task.collate(cuts)
    model = task.build_model()
    for row, cut in enumerate(cuts):
        window = task.windows["validation"][cut.id]
        samples, turns = mix_conversation(window.source, task.store, window.start, window.count)
        frames = int(batch.frame_lengths[row])
        assert batch.samples[row, : window.count].tolist() == samples.tolist()
        names = list(dict.fromkeys(turn.speaker for turn in turns))
        expected = frame_activity(turns, model.frame_centres(frames).numpy(), names)  # type: ignore[operator]
        assert batch.activity[row, :frames, : len(names)].tolist() == expected.tolist()


def test_training_shifts_windows_by_the_generator_and_judging_never(task: Diarization) -> None:
    cuts = list(task.cuts("train"))[4:8]
    one, same, other = (task.collate(cuts, [np.random.default_rng([seed, place]) for place in range(4)]) for seed in (0, 0, 1))
    assert torch.equal(one.samples, same.samples)
    assert torch.equal(one.activity, same.activity)
    assert not torch.equal(one.samples, other.samples)
    assert torch.equal(task.collate(cuts).samples, task.collate(cuts).samples)


def test_another_speed_moves_the_labels_with_the_samples(corpus: Path) -> None:
    fast = build(corpus, data={"augment": [{"name": "speed", "factors": [2.0]}]})
    cut = next(iter(fast.cuts("train")))
    window = fast.windows["train"][cut.id]
    random = np.random.default_rng(0)
    _, turns = mix_conversation(window.source, fast.store, window.shifted(np.random.default_rng(0)), window.count)
    batch = fast.collate([cut], [random])
    assert abs(int(batch.sample_lengths[0]) - window.count / 2) < 20
    spoken = sum(min(turn.end, 2.0) - turn.start for turn in turns)
    step = fast.build_model().frame_step
    assert abs(float(batch.activity.sum()) * step - spoken / 2) < 0.15


def test_the_loss_and_the_records_do_not_depend_on_the_order_of_speakers(task: Diarization) -> None:
    batch = task.collate(list(task.cuts("validation")))
    torch.manual_seed(0)
    model = task.build_model().eval()
    with torch.no_grad():
        model.fc.weight.mul_(100)  # type: ignore[union-attr, operator]
        expected, items = task.loss(model, batch).value, task.judge(model, batch)
        turned = type(batch)(batch.samples, batch.sample_lengths, batch.activity.flip(2), batch.frame_lengths, batch.ids)
        assert torch.allclose(task.loss(model, turned).value, expected)
        for one, other in zip(items, task.judge(model, turned), strict=True):
            assert {key: value for key, value in one.items() if key not in ("loss", "order")} == {
                key: value for key, value in other.items() if key not in ("loss", "order")
            }


def test_right_answers_are_right_and_constant_ones_are_the_lines(task: Diarization) -> None:
    batch = task.collate(list(task.cuts("validation")))
    target = task.powerset.to_classes(task.powerset.most_active(batch.activity))
    perfect = task.summarise(task.judge(_Says(task, task.powerset.class_permutations[4][target]), batch))
    assert perfect["frame_error"] == 0
    assert perfect["local_der_full"] < 0.02, "only what the powerset cannot say (three at once) is left"
    constants = [task.summarise(task.judge(_Says(task, torch.full_like(target, which)), batch)) for which in range(task.powerset.classes)]
    line = perfect["majority_frame_error"]
    assert min(one["frame_error"] for one in constants) == pytest.approx(line)
    assert constants[1]["local_der_full"] == pytest.approx(perfect["one_speaker_local_der"])
    assert constants[0]["local_der_full"] == constants[0]["local_missed"] == 1.0
    assert not task.alarms(task.judge(_Says(task, target), batch))
    assert "no better than majority_frame_error" in " ".join(task.alarms(task.judge(_Says(task, torch.zeros_like(target)), batch)))


def test_first_loss_is_that_of_theory(task: Diarization) -> None:
    batch = task.collate(list(task.cuts("train"))[:8])
    expected = task.expected_initial_loss(batch)
    assert expected is not None
    assert expected.value == pytest.approx(log(7))
    torch.manual_seed(0)
    assert abs(float(task.loss(task.build_model(), batch).value.detach()) - expected.value) < expected.tolerance * expected.value
    wrong = task.collate(list(task.cuts("train"))[:8])
    assert abs(float(task.loss(_Says(task, torch.zeros(8, wrong.activity.shape[1], dtype=torch.int64)), wrong).value) - log(7)) > 0.2


def test_shared_speakers_are_refused(corpus: Path) -> None:
    with pytest.raises(UserError, match="share 3 speakers"):
        build(corpus, data={"validation": "train"})


def test_splits_nearly_all_alike_are_refused(corpus: Path) -> None:
    with pytest.raises(UserError, match=r"in \d+\.\d % of the frames 1 speaker speaks"):
        build(corpus, data={"conversations": {"counts": {"train": 4}, "speakers": [2, 2], "overlap": 0.0, "pause": 0.0, "hold": 0.0}},
              task={"largest_share": 0.6})  # fmt: skip
    skewed = {"none": 0.99, "1": 0.01}
    with pytest.raises(UserError, match=r"in 99.0 % of the frames nobody speaks .*do the turns belong to these recordings"):
        labels.check_prior(skewed, 0.95)
    labels.check_prior({"none": 0.7, "1": 0.1, "2": 0.1, "1+2": 0.1}, 0.95)


def test_audit_reports_the_shares(task: Diarization) -> None:
    report = task.audit(audio=False)
    shares = [finding.message for finding in report.findings if finding.code == "class_shares"]
    assert len(shares) == 3
    assert shares[0].startswith("train: none ")


def test_a_model_without_a_grid_is_refused(corpus: Path) -> None:
    with pytest.raises(UserError, match="states no frame grid"):
        build(corpus, model={"name": "light_cnn"})


def test_trains_and_evaluates(corpus: Path, tmp_path: Path) -> None:
    result = auscult.train(Recipe.from_dict(values(corpus)), root=tmp_path)
    summary = auscult.evaluate(result.run, split="test").summary
    assert 0 <= summary["metrics"]["frame_error"] <= 1
    assert summary["intervals"]["frame_error"][0] <= summary["metrics"]["frame_error"] <= summary["intervals"]["frame_error"][1]
    assert "not the error rate of a recording" in summary["protocol"]["local_der_full"]
    assert (result.run / "labels.json").exists()


def test_settings_of_conversations_change_the_recipes_hash(corpus: Path) -> None:
    one = Recipe.from_dict(values(corpus))
    other = Recipe.from_dict(values(corpus), overrides=["data.conversations.overlap=0.2"])
    assert one.hash != other.hash


def test_real_meetings_are_read(data_pack: Path) -> None:
    changes = {
        "corpus": {"name": "rttm_folder", "source": str(data_pack / "ami_clips")}, "sample_rate": 16000,
        "train": None, "validation": None, "test": {"splits": ["*"]}, "conversations": None,
    }  # fmt: skip
    task = build(data_pack, data=changes, task={"window": 10.0})
    assert len(task.cuts("test")) == 21
    batch = task.collate(list(task.cuts("test"))[:2])
    assert batch.samples.shape[1] > 159_000
    assert bool(batch.activity.any())


def test_tables_of_classes_agree_with_the_frame_errors_under_every_order() -> None:
    powerset, generator = labels.Powerset(3, 2), torch.Generator().manual_seed(0)
    for _ in range(50):
        target, found = torch.randint(0, 7, (2, 60), generator=generator)
        record = labels.class_errors(target, found, powerset)
        table = torch.tensor(record["classes"])  # (true, found), found speakers renamed
        assert int(table.sum() - table.trace()) == record["frame_errors"]
        assert torch.equal(table.sum(1), torch.bincount(target, minlength=7))
        for moved in powerset.class_permutations:  # the same answer with other names for the speakers
            renamed = labels.class_errors(target, moved[target], powerset)
            assert renamed["frame_errors"] == 0
            assert torch.equal(torch.tensor(renamed["classes"]).diag(), torch.bincount(target, minlength=7))


def test_the_worst_windows_are_those_with_the_largest_share_of_wrong_frames() -> None:
    from pathlib import Path

    from auscult.training.evaluate import Evaluation

    items = [{"id": name, "frame_errors": wrong, "frames": frames} for name, wrong, frames in (("a", 5, 250), ("b", 4, 20), ("c", 0, 250))]
    assert [item["id"] for item in Evaluation(Path(), {}, items, []).worst(2)] == ["b", "a"]
