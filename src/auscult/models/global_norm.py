"""Global layer normalisation (gLN): one mean and one variance over all channels and frames of an item.

Problem: written out in tensor operations, as published code does, gLN makes eight passes over memory forward and as many intermediate
copies, and is the most expensive part of Conv-TasNet on a CPU; and its usual epsilon of 1e-8 is zero in float16, which shows as NaN
(one training script patches the constant of an imported package, and loses the patch everywhere else). Choice: the kernels torch has
for group and layer normalisation, with float32 statistics whatever the autocast state, and an epsilon that float16 can hold. It is
harmless for quiet recordings because `WaveformCodec` brings every mixture to unit level first. On a GPU those kernels give one item to one
block of threads, so the reduction is written out there.

Source: Luo and Mesgarani, Conv-TasNet (2019), eq. 8 and 9.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

EPSILON = 1e-4
"""Added to the variance: the least value that published float16 trainings survived with."""


class GlobalNorm(nn.Module):
    """Zero mean and unit variance per item, then a gain and an offset per channel.

    Args:
        channels: of the input.
        last: whether channels are the last dimension, (batch, ..., channels); else the second, (batch, channels, ...).
        epsilon: added to the variance.
    """

    def __init__(self, channels: int, last: bool = False, epsilon: float = EPSILON) -> None:
        super().__init__()
        self.last, self.epsilon = last, epsilon
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def extra_repr(self) -> str:
        """Show the sizes."""
        return f"{len(self.weight)}, last={self.last}, epsilon={self.epsilon}"

    def forward(self, values: Tensor) -> Tensor:
        """Return values of the same shape and dtype; statistics in float32 (float64 for float64)."""
        with torch.autocast(values.device.type, enabled=False):
            wide = values if values.dtype == torch.float64 else values.float()
            weight, bias = self.weight.to(wide.dtype), self.bias.to(wide.dtype)
            if values.device.type != "cpu":
                return written_out(wide, weight, bias, self.epsilon, self.last).to(values.dtype)
            if not self.last:
                return F.group_norm(wide, 1, weight, bias, self.epsilon).to(values.dtype)
            return torch.addcmul(bias, F.layer_norm(wide, wide.shape[1:], eps=self.epsilon), weight).to(values.dtype)


def written_out(values: Tensor, weight: Tensor, bias: Tensor, epsilon: float, last: bool) -> Tensor:
    """Return the normalised values by the definition, as reductions over all threads of a GPU."""
    variance, mean = torch.var_mean(values, dim=tuple(range(1, values.dim())), correction=0, keepdim=True)
    shape = [1] * values.dim()
    shape[-1 if last else 1] = -1
    gain = (variance + epsilon).rsqrt() * weight.view(shape)
    return torch.addcmul(bias.view(shape) - mean * gain, values, gain)
