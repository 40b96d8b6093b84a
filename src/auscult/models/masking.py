"""Masks and batch statistics that keep padding out of a result.

Problem: an utterance padded to the length of its batch mates must give the logits it gives alone. Convolution edges, backward
recurrences and batch statistics all leak padding; the reference DeepSpeech 2 leaked 0.15 at a logit standard deviation of 0.20.
Choice: one boolean mask per layer, and batch normalisation whose training statistics come from true frames only. Without
padding the mask is None and the native kernels run, so a batch of one costs nothing and stays bit-equal to the unmasked form.
Rejected: selecting true frames into a flat tensor (a gather and a scatter per layer, no gain in clarity for 2-D convolutions).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from auscult.errors import UserError


def frame_mask(lengths: Tensor, frames: int, device: torch.device) -> Tensor | None:
    """Return (batch, frames) bool, True where a frame is true; None where no utterance has padding.

    Args:
        lengths: (batch,) int64 on the CPU, so that asking for padding does not stall a GPU.
        frames: padded length.
        device: where the mask is needed.

    >>> frame_mask(torch.tensor([2, 1]), 2, torch.device("cpu"))
    tensor([[ True,  True],
            [ True, False]])
    >>> frame_mask(torch.tensor([2, 2]), 2, torch.device("cpu")) is None
    True
    """
    if bool((lengths >= frames).all()):
        return None
    return (torch.arange(frames) < lengths.unsqueeze(1)).to(device, non_blocking=True)


def zero_padding(values: Tensor, mask: Tensor | None, frame_dimension: int) -> Tensor:
    """Return `values` (batch, ...) with padded frames set to zero, whatever they held (NaN included).

    Args:
        values: batch first, frames along `frame_dimension`.
        mask: (batch, frames) from `frame_mask`, or None for no padding.
        frame_dimension: positive index of the frame dimension.
    """
    if mask is None:
        return values
    shape = [1] * values.dim()
    shape[0], shape[frame_dimension] = mask.shape
    return values.masked_fill(~mask.view(shape), 0.0)


class MaskedBatchNorm(nn.Module):
    """Batch normalisation of (batch, channels, ..., frames) with statistics over true frames only.

    Parameters, buffers and arithmetic are those of `nn.BatchNorm1d`/`2d`, so that state dicts of either fit.
    Padded frames of the output hold arbitrary finite values; mask them before anything mixes frames.
    """

    weight: nn.Parameter
    bias: nn.Parameter
    running_mean: Tensor
    running_var: Tensor
    num_batches_tracked: Tensor

    def __init__(self, channels: int, momentum: float = 0.1, epsilon: float = 1e-5) -> None:
        super().__init__()
        self.channels, self.momentum, self.epsilon = channels, momentum, epsilon
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))
        self.register_buffer("num_batches_tracked", torch.tensor(0, dtype=torch.int64))

    def extra_repr(self) -> str:
        """Show what `repr` of a batch norm shows."""
        return f"{self.channels}, momentum={self.momentum}, epsilon={self.epsilon}"

    def forward(self, values: Tensor, mask: Tensor | None) -> Tensor:
        """Normalise each channel.

        Args:
            values: (batch, channels, ..., frames).
            mask: (batch, frames) bool, or None if every frame counts.

        Raises:
            UserError: in training, a single true value per channel, which has no variance.
        """
        if not self.training:
            return F.batch_norm(values, self.running_mean, self.running_var, self.weight, self.bias, False, 0.0, self.epsilon)
        frames = values.shape[0] * values.shape[-1] if mask is None else int(mask.sum())
        count = frames * (values.numel() // (values.shape[0] * values.shape[1] * values.shape[-1]))
        if count < 2:
            raise UserError(
                "batch normalisation was given a training batch of one output frame, which has no variance; use longer or more utterances"
            )
        self.num_batches_tracked.add_(1)
        if mask is None:
            return F.batch_norm(values, self.running_mean, self.running_var, self.weight, self.bias, True, self.momentum, self.epsilon)
        return self._masked(values, mask, count)

    def _masked(self, values: Tensor, mask: Tensor, count: int) -> Tensor:
        dtype = torch.promote_types(values.dtype, self.weight.dtype)
        wide = values.to(dtype)
        reduce = [dimension for dimension in range(values.dim()) if dimension != 1]
        channel_shape = [1, -1] + [1] * (values.dim() - 2)
        mean = zero_padding(wide, mask, values.dim() - 1).sum(reduce) / count
        centred = zero_padding(wide - mean.view(channel_shape), mask, values.dim() - 1)
        variance = centred.square().sum(reduce) / count
        with torch.no_grad():
            self.running_mean.lerp_(mean.to(self.running_mean.dtype), self.momentum)
            self.running_var.lerp_((variance * (count / (count - 1))).to(self.running_var.dtype), self.momentum)
        scale = self.weight * torch.rsqrt(variance + self.epsilon)
        return (centred * scale.view(channel_shape) + self.bias.view(channel_shape)).to(values.dtype)
