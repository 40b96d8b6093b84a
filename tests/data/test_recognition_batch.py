"""The recognition batch checks its contract and says what is wrong."""

from __future__ import annotations

import dataclasses
import pickle

import numpy as np
import pytest
import torch

from auscult.data.recognition_batch import RecognitionBatch
from auscult.errors import UserError


def fields() -> dict[str, object]:
    return {
        "samples": torch.rand(2, 5),
        "sample_lengths": torch.tensor([5, 3]),
        "tokens": torch.tensor([[1, 2, 0], [4, -1, -1]]),
        "token_lengths": torch.tensor([3, 1]),
        "ids": ("first", "second"),
    }


def test_r0_batch_fields_are_named() -> None:
    batch = RecognitionBatch(**fields())  # type: ignore[arg-type]
    assert [field.name for field in dataclasses.fields(batch)] == ["samples", "sample_lengths", "tokens", "token_lengths", "ids"]
    assert batch.tokens.shape == (2, 3)  # every utterance keeps its target
    with pytest.raises(TypeError):
        (_features, _lengths), _targets = batch  # type: ignore[misc]


@pytest.mark.parametrize("dtype", [torch.int32, torch.int16, torch.int64])
def test_r0_targets_any_integer_dtype(dtype: torch.dtype) -> None:
    values = fields()
    values["tokens"] = values["tokens"].to(dtype)  # type: ignore[attr-defined]
    values["token_lengths"] = values["token_lengths"].to(dtype)  # type: ignore[attr-defined]
    batch = RecognitionBatch(**values)  # type: ignore[arg-type]
    assert batch.tokens.dtype == batch.token_lengths.dtype == torch.int64


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("tokens", torch.tensor([1, 2]), r"tokens: expected \(batch, symbols\)"),
        ("tokens", torch.rand(2, 3), "tokens: expected integers"),
        ("tokens", torch.tensor([[1, -1, 0], [4, -1, -1]]), "negative class index inside the text of first"),
        ("tokens", torch.tensor([[1, 2, 0], [4, 28, -1]]), "beyond token_lengths, found other values for second"),
        ("token_lengths", torch.tensor([4, 1]), r"token_lengths: expected 0 to 3, not so for first \(4\)"),
        ("samples", torch.rand(2, 5).double(), "expected float32"),
        ("samples", torch.rand(5), r"samples: expected \(batch, time\)"),
        ("samples", torch.rand(3, 5), "batch = 2"),
        ("sample_lengths", torch.tensor([5, 0]), r"sample_lengths: expected 1 to 5, not so for second \(0\)"),
        ("sample_lengths", torch.tensor([6, 3]), r"first \(6\)"),
        ("ids", ("same", "same"), "must be unique, found twice: same"),
    ],
)
def test_contract_violation_is_named(field: str, value: object, message: str) -> None:
    with pytest.raises(UserError, match=message):
        RecognitionBatch(**{**fields(), field: value})  # type: ignore[arg-type]


def test_non_finite_samples_reach_the_guard() -> None:
    values = fields()
    values["samples"][0, 0] = float("nan")  # type: ignore[index]
    assert RecognitionBatch(**values).items == 2  # type: ignore[arg-type]


def test_select_keeps_items_and_trims_padding() -> None:
    batch = RecognitionBatch(**fields())  # type: ignore[arg-type]
    second = batch.select([1])
    assert second.ids == ("second",)
    assert second.samples.shape == (1, 3)
    assert torch.equal(second.samples[0], batch.samples[1, :3])
    assert second.tokens.tolist() == [[4]]
    swapped = batch.select([1, 0])
    assert swapped.ids == ("second", "first")
    assert torch.equal(swapped.samples[1], batch.samples[0])
    with pytest.raises(UserError, match="indices from 0 to 1"):
        batch.select([2])


def test_pad() -> None:
    batch = RecognitionBatch.pad([np.ones(8), np.ones(4)], [[], [3]], ["a", "b"])
    assert batch.samples.sum() == 12
    assert batch.token_lengths.tolist() == [0, 1]
    assert batch.to("cpu").ids == batch.ids
    assert pickle.loads(pickle.dumps(batch)).ids == batch.ids
