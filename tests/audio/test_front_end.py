"""The contract of front-ends: what is refused, and the conformance suite itself."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from auscult.audio.front_end import Features, FrontEnd
from auscult.audio.front_ends.log_spectrogram import LogSpectrogram
from auscult.errors import UserError
from auscult.testing.front_ends import check_front_end


@pytest.mark.parametrize(
    ("samples", "lengths", "message"),
    [
        (torch.zeros(16000), torch.tensor([16000]), r"must be \(batch, time\)"),
        (torch.zeros(1, 16000, dtype=torch.int16), torch.tensor([16000]), "divide int16 by 32768"),
        (torch.zeros(2, 16000), torch.tensor([16000]), "one length per row"),
        (torch.zeros(1, 16000), torch.tensor([1.0]), "int64"),
        (torch.zeros(2, 16000), torch.tensor([16000, 256]), "utterance 1 of the batch has 256 samples, at least 257"),
        (torch.zeros(1, 16000), torch.tensor([16001]), "claims 16001 samples"),
    ],
)
def test_bad_batches_are_refused_in_a_sentence(samples: Tensor, lengths: Tensor, message: str) -> None:
    with pytest.raises(UserError, match=message):
        LogSpectrogram(16000)(samples, lengths)


class Blocks(FrontEnd):
    """Mean of whole blocks, with a switch for each way to be wrong."""

    def __init__(self, wrong: str = "") -> None:
        super().__init__()
        self.sample_rate, self.bins, self.frame_step, self.minimum_samples, self.wrong = 1000, 1, 0.01, 10, wrong
        if wrong == "trainable":
            self.weight = torch.nn.Parameter(torch.ones(1))

    def frames(self, sample_lengths: Tensor) -> Tensor:
        return sample_lengths // 10 + (self.wrong == "frames")

    def forward(self, samples: Tensor, sample_lengths: Tensor) -> Features:
        time = int(sample_lengths.max()) // 10 * 10
        inside = torch.arange(samples.shape[1]) < sample_lengths[:, None]
        values = torch.where(inside, samples, 0.0)[:, :time].unflatten(1, (-1, 10)).mean(-1, keepdim=True)
        if self.wrong == "leak":
            values = values - values.mean()
        if self.wrong == "random":
            values = values + torch.rand(())
        if self.wrong == "half":
            values = torch.nn.functional.linear(values, torch.ones(1, 1))
        lengths = sample_lengths // 10
        mask = torch.arange(values.shape[1]) < lengths[:, None]
        return Features(values if self.wrong == "tail" else torch.where(mask[..., None], values, 0.0), lengths)


def test_conformance_accepts_a_right_front_end() -> None:
    check_front_end(Blocks())


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ("frames", "promised"),
        ("leak", "alone and in a padded batch"),
        ("random", "alone and in|second time|gradient is asked"),
        ("trainable", "trainable"),
        ("half", "autocast"),
        ("tail", "not zero"),
    ],
)
def test_conformance_catches_each_fault(wrong: str, message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        check_front_end(Blocks(wrong))
