from __future__ import annotations

import pytest
import torch
from torch.autograd import gradcheck

from auscult.errors import UserError
from auscult.models.pooling import (
    ChannelAttention,
    UtteranceNorm,
    attend,
    frame_weights,
    weighted_mean,
    weighted_softmax,
    weighted_statistics,
)
from auscult.models.speaker_encoder import EncodedFrames


def test_statistics_are_those_of_the_chosen_frames() -> None:
    values = torch.randn(2, 3, 10, dtype=torch.float64)
    chosen = torch.zeros(2, 10, dtype=torch.float64)
    chosen[0, [1, 4, 5]] = 1.0
    chosen[1, 7:] = 1.0
    statistics = weighted_statistics(values, chosen)
    for row, frames in enumerate(([1, 4, 5], [7, 8, 9])):
        picked = values[row][:, frames]
        assert torch.allclose(statistics[row], torch.cat((picked.mean(1), picked.std(1, correction=0))), atol=1e-12)


def test_a_weight_is_a_number_of_frames() -> None:
    values = torch.randn(1, 4, 3, dtype=torch.float64)
    repeated = values[:, :, [0, 0, 1, 2, 2, 2]]
    weights = torch.tensor([[2.0, 1.0, 3.0]], dtype=torch.float64) / 3
    assert torch.allclose(weighted_statistics(values, weights), weighted_statistics(repeated, None))
    scores = torch.randn(1, 4, 3, dtype=torch.float64)
    one = attend(values, scores, weights, deviation=True)
    assert torch.allclose(one, attend(repeated, scores[:, :, [0, 0, 1, 2, 2, 2]], None, deviation=True))


def test_no_weights_and_weights_of_one_agree() -> None:
    values, scores, ones = torch.randn(3, 5, 20), torch.randn(3, 5, 20), torch.ones(3, 20)
    assert torch.allclose(weighted_mean(values, None), weighted_mean(values, ones), atol=1e-6)
    assert torch.allclose(weighted_softmax(scores, None), weighted_softmax(scores, ones), atol=1e-7)
    encoded = EncodedFrames(values, torch.full((3,), 20))
    assert frame_weights(encoded, None) is None


def test_padding_gets_no_attention_whatever_its_score() -> None:
    scores = torch.zeros(1, 2, 4)
    scores[0, :, 3] = 1e4
    attention = weighted_softmax(scores, torch.tensor([[1.0, 1.0, 1.0, 0.0]]))
    assert torch.allclose(attention, torch.tensor([1 / 3, 1 / 3, 1 / 3, 0.0]).expand(1, 2, 4))


@pytest.mark.parametrize("weights", [None, [[1.0, 1.0, 0.5, 0.0]]])
def test_gradient_is_right_and_finite_at_zero_variance(weights: list[list[float]] | None) -> None:
    frames = None if weights is None else torch.tensor(weights, dtype=torch.float64)
    constant = torch.ones(1, 2, 4, dtype=torch.float64, requires_grad=True)
    assert gradcheck(lambda values: weighted_statistics(values, frames), (constant,))
    varied = torch.randn(1, 2, 4, dtype=torch.float64, requires_grad=True)
    scores = torch.randn(1, 2, 4, dtype=torch.float64, requires_grad=True)
    assert gradcheck(lambda values, score: attend(values, score, frames, deviation=True), (varied, scores))
    (gradient,) = torch.autograd.grad(weighted_statistics(constant, frames).sum(), constant)
    assert gradient.isfinite().all()


def test_an_unprotected_root_would_fail_that_test() -> None:
    constant = torch.ones(1, 2, 4, dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(weighted_statistics(constant, None, floor=0.0).sum(), constant)
    assert not gradient.isfinite().all()


def test_no_frame_at_all_gives_zeros_and_finite_gradients() -> None:
    values, scores = torch.randn(1, 2, 4, requires_grad=True), torch.randn(1, 2, 4)
    pooled = attend(values, scores, torch.zeros(1, 4), deviation=True)
    assert not pooled[:, :2].any()
    (gradient,) = torch.autograd.grad(pooled.sum(), values)
    assert gradient.isfinite().all()


def test_frame_weights_never_count_padding() -> None:
    encoded = EncodedFrames(torch.zeros(2, 1, 4), torch.tensor([4, 2]))
    given = torch.tensor([[0.5, 1.0, 1.0, 1.0], [1.0, 0.25, 1.0, float("nan")]])
    assert frame_weights(encoded, given).tolist() == [[0.5, 1.0, 1.0, 1.0], [1.0, 0.25, 0.0, 0.0]]  # type: ignore[union-attr]
    with pytest.raises(UserError, match=r"\(2, 4\).*not \(2, 5\)"):
        frame_weights(encoded, torch.ones(2, 5))


def test_half_precision_is_widened_before_it_is_summed() -> None:
    encoded = EncodedFrames(torch.zeros(2, 1, 4, dtype=torch.bfloat16), torch.tensor([4, 2]))
    weights = frame_weights(encoded, None)
    assert weights is not None
    assert weights.dtype == torch.float32


def test_channel_attention_has_the_names_of_published_checkpoints() -> None:
    names = set(ChannelAttention(8, 4).state_dict())
    assert {"0.weight", "0.bias", "2.weight", "2.running_var", "3.weight", "3.bias"} <= names
    assert not any(name.startswith("1.") for name in names)


def test_channel_attention_keeps_padding_out_of_its_batch_statistics() -> None:
    torch.manual_seed(0)
    attention, values = ChannelAttention(8, 4).train(), torch.randn(2, 8, 6)
    mask = torch.tensor([[True] * 6, [True] * 3 + [False] * 3])
    scores = attention(values, mask)
    values[1, :, 3:] = 100.0
    assert torch.allclose(attention(values, mask)[0], scores[0], atol=1e-6)


def test_utterance_norm_refuses_a_single_utterance_in_training_only() -> None:
    norm = UtteranceNorm(3)
    assert norm.eval()(torch.randn(1, 3)).shape == (1, 3)
    with pytest.raises(UserError, match="batches of two or more"):
        norm.train()(torch.randn(1, 3))
