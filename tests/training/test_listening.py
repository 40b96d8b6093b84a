"""Sounds that are kept of a judged split: the right items, one gain, whole folders, and nothing for tasks without sound."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from torch import nn

import auscult
from auscult.errors import UserError
from auscult.recipe import Recipe
from auscult.recipe.fields import Precision
from auscult.runs.directory import RunDirectory
from auscult.runs.identity import Identity
from auscult.tasks.base import Item
from auscult.tasks.recognition import Recognition
from auscult.testing.toy_task import ToyBatch, ToyTask
from auscult.training import listening
from auscult.training.listening import PEAK, choose, keep_sounds
from auscult.training.precision import Arithmetic


class Heard(ToyTask):
    """A toy whose item number n has a mixture of amplitude n / 10 and an estimate ten times as quiet."""

    def __init__(self) -> None:
        super().__init__()
        self.collated: list[str] = []

    def cuts(self, split: str) -> Any:
        return [SimpleNamespace(id=f"batch{number}-item0") for number in range(9)]

    def collate(self, cuts: Any, random: Any = None) -> ToyBatch:
        self.collated += [cut.id for cut in cuts]
        return self.batch(int(cuts[0].id[5]), 1)

    def audible(self, model: nn.Module, batch: ToyBatch) -> dict[str, np.ndarray]:
        assert not model.training
        assert torch.is_inference_mode_enabled()
        loud = np.float32(int(batch.ids[0][5]) / 10)
        tone = np.sin(np.arange(800, dtype=np.float32) / 5)
        return {"mixture": loud * tone, "Estimate 1": loud / 10 * tone}


ITEMS: list[Item] = [{"id": f"batch{number}-item0", "error": float(number)} for number in range(1, 9)]


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    return RunDirectory.create(tmp_path, "toy", "seed: 0\n", Identity("a" * 64, "b" * 64, {}, {}), None, "train")


def _keep(task: ToyTask, run: RunDirectory, items: list[Item] | None = None, **facts: Any) -> dict[str, Any]:
    model = task.build_model().train()
    index = keep_sounds(task, model, Arithmetic(Precision()), run, "test", ITEMS if items is None else items, **facts)
    assert model.training
    assert index == run.path / "listening" / "test.json"
    found: dict[str, Any] = json.loads(index.read_text())
    return found


def test_worst_and_best_and_what_lies_between_are_kept(run: RunDirectory) -> None:
    task = Heard()
    index = _keep(task, run, update=40)
    assert [(item["place"], item["id"][5]) for item in index["items"]] == [
        ("worst", "8"), ("first quartile", "7"), ("median", "5"), ("third quartile", "3"), ("best", "1"),
    ]  # fmt: skip
    assert [item["value"] for item in index["items"]] == [8.0, 7.0, 5.0, 3.0, 1.0]
    assert index["update"] == 40
    assert len(task.collated) == 5  # one at a time, and no others
    assert sorted(path.name for path in (run.listening / "test").iterdir()) == [
        f"{number}-{name}.wav" for number in range(1, 6) for name in ("estimate-1", "mixture")
    ]


def test_all_sounds_of_an_item_have_one_gain_and_none_clips(run: RunDirectory) -> None:
    for item in _keep(Heard(), run)["items"]:
        mixture, estimate = (soundfile.read(run.listening / "test" / sound["file"]) for sound in item["sounds"])
        assert mixture[1] == 8000
        assert np.abs(mixture[0]).max() == pytest.approx(PEAK, abs=1e-4)
        assert np.abs(estimate[0]).max() == pytest.approx(PEAK / 10, abs=1e-4)
        levels = [sound["rms_db"] for sound in item["sounds"]]
        assert levels[0] - levels[1] == pytest.approx(20.0, abs=0.01)
        assert item["sounds"][0]["peak"] * 10 ** (item["gain_db"] / 20) == pytest.approx(PEAK)
    assert soundfile.info(run.listening / "test" / "1-mixture.wav").subtype == "PCM_16"


def test_an_estimate_louder_than_everything_does_not_clip(run: RunDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    loud = {"mixture": np.full(8, 0.5, np.float32), "estimate 1": np.array([0.0, -40.0], np.float32)}
    monkeypatch.setattr(Heard, "audible", lambda *_: loud)
    item = _keep(Heard(), run)["items"][0]
    assert soundfile.read(run.listening / "test" / "1-estimate-1.wav")[0].min() == pytest.approx(-PEAK, abs=1e-4)
    assert item["seconds"] == 8 / 8000


def test_samples_that_are_not_finite_are_silent_and_named(run: RunDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = {"mixture": np.full(8, 0.5, np.float32), "estimate 1": np.array([np.nan, np.inf, 0.25], np.float32)}
    monkeypatch.setattr(Heard, "audible", lambda *_: broken)
    item = _keep(Heard(), run)["items"][0]
    assert item["not_finite"] == ["estimate 1"]
    assert np.isfinite([sound["rms_db"] for sound in item["sounds"]]).all()
    assert soundfile.read(run.listening / "test" / "1-estimate-1.wav")[0] == pytest.approx([0.0, 0.0, PEAK / 2], abs=1e-4)


def test_silence_stays_silent(run: RunDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Heard, "audible", lambda *_: {"mixture": np.zeros(8, np.float32)})
    item = _keep(Heard(), run)["items"][0]
    assert item["gain_db"] == 0.0
    assert not soundfile.read(run.listening / "test" / "1-mixture.wav")[0].any()


def test_only_the_beginning_of_a_long_sound_is_kept(run: RunDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listening, "LONGEST", 0.05)
    _keep(Heard(), run)
    assert soundfile.info(run.listening / "test" / "1-mixture.wav").frames == 400


def test_judging_again_replaces_the_folder_whole(run: RunDirectory) -> None:
    _keep(Heard(), run)
    index = _keep(Heard(), run, ITEMS[:1])
    assert [item["place"] for item in index["items"]] == ["worst"]
    assert sorted(path.name for path in (run.listening / "test").iterdir()) == ["1-estimate-1.wav", "1-mixture.wav"]
    assert sorted(path.name for path in run.listening.iterdir()) == ["test", "test.json"]  # no leftovers


def test_a_failure_leaves_the_old_sounds_and_no_index_that_lies(run: RunDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    _keep(Heard(), run)
    before = {path.name: path.read_bytes() for path in (run.listening / "test").iterdir()}

    def full(path: Path, data: bytes) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(listening, "write_atomic", full)
    with pytest.raises(UserError, match="free some space"):
        _keep(Heard(), run, ITEMS[:2])
    assert {path.name: path.read_bytes() for path in (run.listening / "test").iterdir()} == before
    assert sorted(path.name for path in run.listening.iterdir()) == ["test"]


def test_nothing_is_read_or_written_where_nothing_is_audible(run: RunDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    task = ToyTask()  # whose cuts cannot even be asked for
    assert keep_sounds(task, task.build_model(), Arithmetic(Precision()), run, "test", ITEMS) is None
    assert not run.listening.exists()
    _keep(Heard(), run)
    monkeypatch.setattr(Heard, "audible", lambda *_: {})
    heard = Heard()
    assert keep_sounds(heard, heard.build_model(), Arithmetic(Precision()), run, "test", ITEMS) is None
    assert not (run.listening / "test.json").exists()  # of an earlier evaluation


def test_names_that_give_one_file_are_an_error_of_the_task(run: RunDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Heard, "audible", lambda *_: {"a 1": np.ones(2), "a-1": np.ones(2)})
    with pytest.raises(ValueError, match="differ by more than signs"):
        _keep(Heard(), run)


def test_few_items_and_items_without_the_metric() -> None:
    assert [place for place, _ in choose(ITEMS[:2], "error", True)] == ["worst", "best"]
    assert [item["id"] for _, item in choose([*ITEMS[:1], {"id": "x"}, {"id": "y", "error": float("nan")}], "error", True)] == [
        "batch1-item0"
    ]
    assert choose([], "error", True) == []
    assert choose(ITEMS, "error", False)[0][1]["error"] == 1.0  # higher is better: the lowest is the worst


def test_training_and_evaluation_keep_sounds(recipe: Callable[..., Recipe], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    judge = Recognition.judge

    def judged(task: Recognition, model: nn.Module, batch: Any) -> list[Item]:
        return [{**item, "wer": float(len(item["id"]) + index)} for index, item in enumerate(judge(task, model, batch))]

    monkeypatch.setattr(Recognition, "judge", judged)
    monkeypatch.setattr(Recognition, "audible", lambda task, model, batch: {"heard": batch.samples[0].cpu().numpy()})
    result = auscult.train(recipe(), root=tmp_path)
    run = RunDirectory.open(result.run)
    index = json.loads((run.listening / "validation.json").read_text())
    assert index["checkpoint"] == "best"
    assert index["update"] == run.read_summary("validation")["update"]
    samples, rate = soundfile.read(run.listening / "validation" / index["items"][0]["sounds"][0]["file"])
    assert (rate, np.abs(samples).max()) == (8000, pytest.approx(PEAK, abs=1e-3))
    evaluation = auscult.evaluate(result.run, split="train", checkpoint="last")
    assert evaluation.listening == run.listening / "train.json"
    assert json.loads(evaluation.listening.read_text())["checkpoint"] == "last"
    assert auscult.evaluate(result.run, "data.batch.items=2", split="train").listening is None  # nothing is stored with an override
