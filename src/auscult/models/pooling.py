"""From encoded frames to one vector: mean, deviation, and attention, with masks and a weight per frame.

Problem: pooling is where padding, and frames of other speakers, enter an embedding, and where half precision and the square root
spoil gradients: the derivative of a standard deviation is infinite at zero variance, which digital silence has. Choice: every
pooling is a mean weighted by frame; padded frames have weight zero; everything is computed in float32 outside autocast; the
variance is centred (mean of (x - mean)^2, which cannot cancel below zero as E[x^2] - mean^2 does) and has a floor *inside* the
square root, below which the gradient is zero. Variances are those of the frames, not unbiased estimates, so one frame is enough.
Weights multiply into an attention before it is normalised: a frame of weight w counts as w frames of its kind would.
Rejected: adding a large negative number to the scores of padded frames, which leaks in bfloat16 and has no meaning for w = 0.5.
Sources: Okabe et al. 2018 (arXiv 1803.10963) for attentive statistics, Cai et al. 2018 (arXiv 1804.05160) for self-attention.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from auscult.errors import UserError
from auscult.models.masking import MaskedBatchNorm, frame_mask, zero_padding
from auscult.models.recognition import widen_half
from auscult.models.speaker_encoder import EncodedFrames

SMALLEST_VARIANCE = 1e-5
"""Floor under a variance before its square root."""

SMALLEST_WEIGHT = 1e-8
"""Floor under a sum of weights: an utterance none of whose frames count gets zeros instead of not-a-number."""


def frame_weights(encoded: EncodedFrames, weights: Tensor | None) -> Tensor | None:
    """Return the weight of every frame, zero beyond the lengths: (batch, frames); None where all frames count fully.

    Args:
        encoded: values (batch, channels, frames) and lengths.
        weights: (batch, frames) float in [0, 1], or None.

    Raises:
        UserError: the weights have another shape.

    >>> encoded = EncodedFrames(torch.ones(2, 1, 3), torch.tensor([3, 2]))
    >>> frame_weights(encoded, None).tolist()
    [[1.0, 1.0, 1.0], [1.0, 1.0, 0.0]]
    """
    batch, _, frames = encoded.values.shape
    if weights is not None and weights.shape != (batch, frames):
        raise UserError(
            f"weights must be (batch, frames) = ({batch}, {frames}), one per encoded frame, not {tuple(weights.shape)}; "
            "the encoder's frame_step says which moment a frame stands for"
        )
    mask = frame_mask(encoded.lengths.cpu(), frames, encoded.values.device)
    if weights is None:
        return None if mask is None else mask.to(widen_half(encoded.values[:0]).dtype)
    return zero_padding(widen_half(weights), mask, 1)


def weighted_mean(values: Tensor, weights: Tensor | None) -> Tensor:
    """Return the mean over frames: (batch, channels, frames) -> (batch, channels).

    Args:
        values: finite where weights are zero, too.
        weights: (batch, frames), or (batch, channels, frames) as attention gives them; None counts every frame as 1.
    """
    if weights is None:
        return values.mean(2)
    if weights.dim() == 2:
        total = weights.sum(1, keepdim=True).clamp_min(SMALLEST_WEIGHT)
        return torch.bmm(values, weights.to(values.dtype).unsqueeze(2)).squeeze(2) / total
    return (values * weights).sum(2) / weights.sum(2).clamp_min(SMALLEST_WEIGHT)


def weighted_statistics(values: Tensor, weights: Tensor | None, floor: float = SMALLEST_VARIANCE) -> Tensor:
    """Return mean and standard deviation over frames: (batch, channels, frames) -> (batch, 2 * channels).

    Args:
        values: float32 or wider.
        weights: as in `weighted_mean`.
        floor: smallest variance.

    >>> weighted_statistics(torch.tensor([[[1.0, 3.0, 9.0]]]), torch.tensor([[1.0, 1.0, 0.0]])).tolist()
    [[2.0, 1.0]]
    """
    mean = weighted_mean(values, weights)
    variance = weighted_mean((values - mean.unsqueeze(2)).square(), weights)
    return torch.cat((mean, variance.clamp_min(floor).sqrt()), 1)


def weighted_softmax(scores: Tensor, weights: Tensor | None) -> Tensor:
    """Return attention over frames that sums to one: (batch, channels or 1, frames), weights (batch, frames) or None -> same shape.

    It is softmax(scores + log(weights)); frames of weight zero get exactly zero, and so do all frames if every weight is zero.
    """
    if weights is None:
        return scores.softmax(2)
    wide = weights.to(scores.dtype).unsqueeze(1)
    visible = scores.masked_fill(wide == 0, torch.finfo(scores.dtype).min)
    exponentials = (visible - visible.detach().amax(2, keepdim=True)).exp() * wide
    return exponentials / exponentials.sum(2, keepdim=True).clamp_min(SMALLEST_WEIGHT)


class UtteranceNorm(nn.BatchNorm1d):
    """Batch norm of one vector per utterance; in training it needs two utterances and says so."""

    def forward(self, values: Tensor) -> Tensor:
        """(batch, channels) -> (batch, channels).

        Raises:
            UserError: in training, a batch of one utterance.
        """
        if self.training and values.shape[0] < 2:
            raise UserError(
                "the encoder normalises over the utterances of a batch and was given one in training; use batches of two or more "
                "(data.batch.speakers times data.batch.utterances)"
            )
        return super().forward(values)


class ChannelAttention(nn.Sequential):
    """Scores for every channel and frame: 1x1 convolution, ReLU, batch norm, 1x1 convolution.

    Children are numbered 0 to 3, as in checkpoints of voxceleb_trainer's ResNetSE34V2 (`attention.0`, `.2`, `.3`).

    Args:
        channels: of the frames.
        hidden: between the two convolutions.
    """

    def __init__(self, channels: int, hidden: int = 128) -> None:
        super().__init__(nn.Conv1d(channels, hidden, 1), nn.ReLU(), MaskedBatchNorm(hidden), nn.Conv1d(hidden, channels, 1))

    def forward(self, values: Tensor, mask: Tensor | None) -> Tensor:  # type: ignore[override]
        """(batch, channels, frames), (batch, frames) bool or None -> scores (batch, channels, frames)."""
        hidden = self[2](self[1](self[0](values)), mask)
        return cast(Tensor, self[3](hidden))


def attend(values: Tensor, scores: Tensor, weights: Tensor | None, deviation: bool, floor: float = SMALLEST_VARIANCE) -> Tensor:
    """Pool with attention: self-attentive (mean) or attentive statistics (mean and deviation).

    Args:
        values: (batch, channels, frames) float32.
        scores: (batch, channels or 1, frames).
        weights: (batch, frames) or None.
        deviation: append the standard deviation.
        floor: smallest variance.

    Returns:
        (batch, channels), or (batch, 2 * channels) with the deviation.
    """
    attention = weighted_softmax(scores, weights)
    attention = attention[:, 0] if attention.shape[1] == 1 else attention
    return weighted_statistics(values, attention, floor) if deviation else weighted_mean(values, attention)
