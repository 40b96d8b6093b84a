"""The diarization batch checks its contract and says what is wrong."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch

from auscult.data.diarization_batch import DiarizationBatch
from auscult.errors import UserError


def fields() -> dict[str, object]:
    activity = torch.zeros(2, 10, 3)
    activity[0, 2:9, 0] = 1
    activity[1, 1:4, 2] = 1
    return {
        "samples": torch.rand(2, 1000),
        "sample_lengths": torch.tensor([1000, 600]),
        "activity": activity,
        "frame_lengths": torch.tensor([10, 6]),
        "ids": ("first", "second"),
    }


def beyond() -> torch.Tensor:
    activity = torch.zeros(2, 10, 3)
    activity[1, 8, 0] = 1
    return activity


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("samples", torch.rand(2, 1000).double(), r"samples: expected torch.float32 \(batch, time\)"),
        ("samples", torch.rand(3, 1000), "batch = 2"),
        ("sample_lengths", torch.tensor([1000, 600], dtype=torch.int32), "sample_lengths: expected torch.int64"),
        ("sample_lengths", torch.tensor([1001, 600]), r"sample_lengths: expected 1 to 1000, not so for first \(1001\)"),
        ("activity", torch.zeros(2, 10), r"activity: expected torch.float32 \(batch, frames, speakers\)"),
        ("activity", torch.full((2, 10, 3), 0.5), "expected 0 or 1, found other values for first, second"),
        ("activity", beyond(), "active beyond frame_lengths for second"),
        ("frame_lengths", torch.tensor([10, 0]), r"frame_lengths: expected 1 to 10, not so for second \(0\)"),
        ("frame_lengths", torch.tensor([10, 10]), r"second \(10\) frames do not last as long as the samples"),
        ("ids", ("same", "same"), "found twice: same"),
    ],
)
def test_contract_violation_is_named(field: str, value: object, message: str) -> None:
    with pytest.raises(UserError, match=message):
        DiarizationBatch(**{**fields(), field: value})  # type: ignore[arg-type]


def test_labels_of_another_window_are_caught() -> None:
    """Labels of five seconds for samples of four: one of the two belongs to another window."""
    frames = [np.zeros((251, 2), np.float32), np.zeros((251, 2), np.float32)]
    with pytest.raises(UserError, match="labels and audio are of different windows"):
        DiarizationBatch.pad([np.zeros(80_000, np.float32), np.zeros(64_000, np.float32)], frames, ["right", "wrong"])


def test_pad_select_and_pickle() -> None:
    activity = [np.ones((6, 1), np.float32), np.zeros((3, 2), np.float32)]
    batch = DiarizationBatch.pad([np.ones(600), np.ones(300)], activity, ["a", "b"])
    assert batch.samples.sum() == 900
    assert tuple(batch.activity.shape) == (2, 6, 2)
    second = batch.select([1])
    assert second.ids == ("b",)
    assert tuple(second.samples.shape) == (1, 300)
    assert tuple(second.activity.shape) == (1, 3, 2)
    assert batch.select([1, 0]).ids == ("b", "a")
    assert pickle.loads(pickle.dumps(batch.to("cpu"))).ids == batch.ids
    with pytest.raises(UserError, match="indices from 0 to 1"):
        batch.select([2])


def test_a_window_without_speakers_has_a_silent_column() -> None:
    assert tuple(DiarizationBatch.pad([np.zeros(100)], [np.zeros((4, 0), np.float32)], ["quiet"]).activity.shape) == (1, 4, 1)
