from __future__ import annotations

import pytest
import torch
from torch import nn

from auscult.errors import UserError
from auscult.models.masking import MaskedBatchNorm, frame_mask, zero_padding

CPU = torch.device("cpu")


def test_no_padding_needs_no_mask() -> None:
    assert frame_mask(torch.tensor([4, 4]), 4, CPU) is None
    assert frame_mask(torch.tensor([4, 3]), 4, CPU).sum() == 7  # type: ignore[union-attr]


def test_zero_padding_removes_even_nan() -> None:
    values = torch.full((2, 3, 4), float("nan"))
    values[0] = 1
    values[1, :, :2] = 1
    masked = zero_padding(values, frame_mask(torch.tensor([4, 2]), 4, CPU), 2)
    assert masked.sum() == 12 + 6


@pytest.mark.parametrize("rows", [(), (3,)])
def test_masked_statistics_equal_those_of_the_true_frames(rows: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    norm, plain = MaskedBatchNorm(5).double(), nn.BatchNorm1d(5).double()
    plain.load_state_dict(norm.state_dict())
    values = torch.randn(2, 5, *rows, 7, dtype=torch.float64, requires_grad=True)
    lengths = torch.tensor([7, 3])
    mask = frame_mask(lengths, 7, CPU)
    out = norm(values, mask)
    true = torch.cat([values[i, ..., :n].reshape(5, -1).T for i, n in enumerate([7, 3])])
    expected = plain(true)
    got = torch.cat([out[i, ..., :n].reshape(5, -1).T for i, n in enumerate([7, 3])])
    assert torch.allclose(got, expected, atol=1e-12)
    assert torch.allclose(norm.running_mean, plain.running_mean, atol=1e-12)
    assert torch.allclose(norm.running_var, plain.running_var, atol=1e-12)
    assert norm.num_batches_tracked == 1
    weights = torch.randn_like(got)
    (one,) = torch.autograd.grad((got * weights).sum(), values, retain_graph=True)
    (other,) = torch.autograd.grad((expected * weights).sum(), values)
    assert torch.allclose(one, other, atol=1e-11)


def test_state_dict_is_that_of_a_plain_batch_norm() -> None:
    assert list(MaskedBatchNorm(4).state_dict()) == list(nn.BatchNorm2d(4).state_dict())


def test_evaluation_uses_running_statistics_whatever_the_mask() -> None:
    norm = MaskedBatchNorm(2).eval()
    values = torch.randn(2, 2, 4)
    assert torch.equal(norm(values, frame_mask(torch.tensor([4, 1]), 4, CPU)), norm(values, None))


def test_one_frame_has_no_variance() -> None:
    with pytest.raises(UserError, match="no variance"):
        MaskedBatchNorm(2)(torch.randn(1, 2, 1), None)
