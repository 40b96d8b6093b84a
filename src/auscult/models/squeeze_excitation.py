"""Residual blocks with squeeze and excitation, as voxceleb_trainer's two ResNet-34 have them.

Problem: the published checkpoints fit one layer order only: ReLU stands *before* the first batch norm of a block, the excitation
narrows to an eighth, and a mean over frequency and time feeds it, in which padding must not count. Choice: one block for
both networks, with child names that are the checkpoints' (`conv1`, `se.fc.0`, `downsample.1`, ...), batch norms and means over true
frames only, and padding set to zero wherever a convolution would look at it. Without padding the mask is None and the plain kernels run.
Rejected: the usual order convolution, norm, ReLU, which trains as well but turns a checkpoint into noise without any error.
Sources: Hu et al. 2018 (arXiv 1709.01507); Chung et al. 2020 (arXiv 2003.11982).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from auscult.models.masking import MaskedBatchNorm, frame_mask, zero_padding

_REDUCTION = 8
_KERNEL = 3


class SqueezeExcitation(nn.Module):
    """Scale each channel by what a small network makes of the means of all channels.

    Args:
        channels: of the planes.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        narrow = channels // _REDUCTION
        self.fc = nn.Sequential(nn.Linear(channels, narrow), nn.ReLU(), nn.Linear(narrow, channels), nn.Sigmoid())

    def forward(self, planes: Tensor, mask: Tensor | None) -> Tensor:
        """(batch, channels, rows, frames), finite everywhere -> same shape; the means are over true frames."""
        if mask is None:
            means = planes.mean((2, 3))
        else:
            count = mask.sum(1, keepdim=True) * planes.shape[2]
            means = zero_padding(planes, mask, 3).sum((2, 3), dtype=_wide(planes)).div(count).to(planes.dtype)
        scale: Tensor = self.fc(means)
        return planes * scale[:, :, None, None]


def _wide(planes: Tensor) -> torch.dtype:
    """A sum over frames does not fit half precision, a mean does."""
    return torch.promote_types(planes.dtype, torch.float32)


class SqueezeExcitationBlock(nn.Module):
    """Convolution, ReLU, norm, convolution, norm, excitation, sum with the skip, ReLU.

    Args:
        inputs: channels that come in.
        outputs: channels that go out.
        stride: of the first convolution, in frequency and time alike.
    """

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.conv1 = nn.Conv2d(inputs, outputs, _KERNEL, stride, padding=1, bias=False)
        self.bn1 = MaskedBatchNorm(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, _KERNEL, padding=1, bias=False)
        self.bn2 = MaskedBatchNorm(outputs)
        self.se = SqueezeExcitation(outputs)
        self.downsample = None
        if stride != 1 or inputs != outputs:
            self.downsample = nn.ModuleList((nn.Conv2d(inputs, outputs, 1, stride, bias=False), MaskedBatchNorm(outputs)))

    def forward(self, planes: Tensor, mask: Tensor | None) -> Tensor:
        """(batch, inputs, rows, frames), zero in padding; mask of the output frames -> (batch, outputs, ...), zero in padding."""
        values = zero_padding(self.bn1(F.relu(self.conv1(planes)), mask), mask, 3)
        values = self.se(self.bn2(self.conv2(values), mask), mask)
        skip = planes
        if self.downsample is not None:
            skip = self.downsample[1](self.downsample[0](planes), mask)
        return zero_padding(F.relu(values + skip), mask, 3)


class ResidualStage(nn.ModuleList):
    """Blocks of one width; the first has the stride.

    Args:
        inputs: channels that come in.
        outputs: channels that go out.
        blocks: number of blocks.
        stride: in frequency and time.
    """

    def __init__(self, inputs: int, outputs: int, blocks: int, stride: int) -> None:
        super().__init__(SqueezeExcitationBlock(outputs if index else inputs, outputs, 1 if index else stride) for index in range(blocks))
        self.stride = stride

    def forward(self, planes: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """(batch, inputs, rows, frames), zero in padding, and (batch,) frames on the CPU -> planes and lengths after the stage."""
        lengths = (lengths - 1).div(self.stride, rounding_mode="floor") + 1
        mask = frame_mask(lengths, -(-planes.shape[3] // self.stride), planes.device)
        for block in self:
            planes = block(planes, mask)
        return planes, lengths


def residual_stages(channels: Sequence[int], blocks: Sequence[int], strides: Sequence[int]) -> list[ResidualStage]:
    """Return the stages of a network whose stem gives `channels[0]` planes; all three sequences have one entry per stage."""
    inputs = (channels[0], *channels[:-1])
    return [ResidualStage(*shape) for shape in zip(inputs, channels, blocks, strides, strict=True)]


def initialise_convolutions(network: nn.Module) -> None:
    """Draw the kernels of 2-D convolutions as the published code does: normal, variance 2 / (outputs * kernel size)."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")


def input_planes(values: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor | None]:
    """Return features (batch, frames, bins) as planes (batch, 1, bins, frames), zero in padding, and their mask; lengths on the CPU."""
    mask = frame_mask(lengths, values.shape[1], values.device)
    return zero_padding(values, mask, 1).transpose(1, 2).unsqueeze(1), mask
