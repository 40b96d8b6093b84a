"""The verification batch keeps utterances with their speakers and says what does not fit."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from auscult.data.verification_batch import VerificationBatch
from auscult.errors import UserError


def batch() -> VerificationBatch:
    groups = [[np.full(4, 1.0), np.full(3, 2.0)], [np.full(2, 3.0), np.full(4, 4.0)]]
    return VerificationBatch.pad(groups, [5, 7], ["a0", "a1", "b0", "b1"])


def test_padding_is_zero_and_order_is_speaker_major() -> None:
    made = batch()
    assert made.samples.shape == (2, 2, 4)
    assert made.samples.flatten(0, 1)[:, 0].tolist() == [1.0, 2.0, 3.0, 4.0]
    assert made.samples[1, 0].tolist() == [3.0, 3.0, 0.0, 0.0]
    assert made.sample_lengths.tolist() == [[4, 3], [2, 4]]


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("samples", torch.zeros(4, 4), "expected float32 .speakers, utterances, time."),
        ("samples", torch.zeros(2, 2, 4, dtype=torch.float64), "expected float32"),
        ("sample_lengths", torch.tensor([4, 3, 2, 4]), r"expected int64 \(2, 2\)"),
        ("sample_lengths", torch.tensor([[4, 3], [0, 4]]), "expected 1 to 4"),
        ("sample_lengths", torch.tensor([[5, 3], [1, 4]]), "expected 1 to 4"),
        ("speakers", torch.tensor([5, 5, 7, 7]), "one int64 label for each of 2 speakers"),
        ("speakers", torch.tensor([5.0, 7.0]), "one int64 label"),
        ("ids", ("a0", "a1", "b0"), "3 ids for 2 x 2 utterances"),
    ],
)
def test_what_does_not_fit_is_named(field: str, value: object, message: str) -> None:
    with pytest.raises(UserError, match=f"{field}: .*{message}"):
        replace(batch(), **{field: value})  # type: ignore[arg-type]


def test_ragged_groups_are_refused() -> None:
    with pytest.raises(UserError, match=r"speakers have \[1, 2\] utterances"):
        VerificationBatch.pad([[np.zeros(2)], [np.zeros(2), np.zeros(2)]], [0, 1], ["a", "b", "c"])


def test_an_utterance_alone_stands_in_for_its_speaker() -> None:
    alone = batch().select([2, 1])
    assert alone.ids == ("b0", "b0", "a1", "a1")
    assert alone.speakers.tolist() == [7, 5]
    assert alone.samples[:, :, 0].tolist() == [[3.0, 3.0], [2.0, 2.0]]
    assert alone.samples.shape == (2, 2, 3)
    assert alone.sample_lengths.tolist() == [[2, 2], [3, 3]]
    with pytest.raises(UserError, match="indices from 0 to 3"):
        batch().select([4])


def test_crops_are_filled_in_as_they_would_be_padded() -> None:
    crops = [np.random.default_rng(place).normal(size=50).astype(np.float32) for place in range(6)]
    filled = VerificationBatch.fill(iter(crops), 50, [4, 2], list("abcdef"))
    padded = VerificationBatch.pad([crops[:3], crops[3:]], [4, 2], list("abcdef"))
    assert torch.equal(filled.samples, padded.samples)
    assert torch.equal(filled.sample_lengths, padded.sample_lengths)
    assert filled.speakers.tolist() == [4, 2]
    assert filled.ids == padded.ids


@pytest.mark.parametrize(
    ("shapes", "speakers", "ids", "said"),
    [
        ([50, 1], [0, 1], ["a", "b"], r"the crop of b is of shape \(1,\), expected \(50,\)"),
        ([50, 50, 50], [0, 1], ["a", "b", "c"], "3 ids for 2 speakers"),
        ([], [], [], "0 ids for 0 speakers"),
    ],
)
def test_crops_that_do_not_fill_a_batch_are_refused(shapes: list[int], speakers: list[int], ids: list[str], said: str) -> None:
    with pytest.raises(UserError, match=said):
        VerificationBatch.fill((np.zeros(shape, np.float32) for shape in shapes), 50, speakers, ids)
