"""Normalisation of each utterance by itself, over groups of channels and true frames.

Problem: batch normalisation ties the utterances of a batch together, so that no utterance has a gradient of its own, which differential
privacy needs; and its statistics of training are another thing than those of use. Group normalisation has neither fault, but torch's
counts padding as frames, so the result of an utterance depends on the length of its batch mates, and through that the gradients of all
depend on each. Choice: statistics over the true frames of the utterance alone. Rejected: instance normalisation of single channels (one
group per channel is a choice here), and layer normalisation of single frames, which takes away how loud a frame is. Source: Wu and He 2018
(arXiv:1803.08494).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from auscult.errors import UserError
from auscult.models.masking import zero_padding
from auscult.ops.item_gradients import ItemGradients, item_copies


class MaskedGroupNorm(nn.Module):
    """Group normalisation of (batch, channels, ..., frames) with statistics over true frames only; no buffers.

    Parameters and arithmetic are those of `nn.GroupNorm`, so that state dicts of either fit. Padded frames of the output hold arbitrary
    finite values; mask them before anything mixes frames.

    Args:
        channels: of the values.
        groups: of channels, each with its own mean and variance; must divide the channels.
        epsilon: added to variances.

    Attributes:
        item_gradients: where the gradients of gain and offset go item by item while somebody sets it.

    Raises:
        UserError: groups do not divide the channels.
    """

    item_gradients: ItemGradients | None

    def __init__(self, channels: int, groups: int, epsilon: float = 1e-5) -> None:
        super().__init__()
        if channels % groups:
            raise UserError(f"group normalisation: {groups} groups do not divide {channels} channels; choose a divisor of every width")
        self.channels, self.groups, self.epsilon = channels, groups, epsilon
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.item_gradients = None

    def extra_repr(self) -> str:
        """Show what `repr` of a group norm shows."""
        return f"{self.groups}, {self.channels}, epsilon={self.epsilon}"

    def forward(self, values: Tensor, mask: Tensor | None) -> Tensor:
        """Normalise each group of channels of each utterance.

        Args:
            values: (batch, channels, ..., frames).
            mask: (batch, frames) bool, or None if every frame counts.
        """
        if mask is None and self.item_gradients is None:
            return F.group_norm(values, self.groups, self.weight, self.bias, self.epsilon)
        dtype = torch.promote_types(values.dtype, self.weight.dtype)
        normal = F.group_norm(values.to(dtype), self.groups, eps=self.epsilon) if mask is None else self._masked(values.to(dtype), mask)
        shape = [-1, self.channels] + [1] * (values.dim() - 2)
        gain, offset = (self._of_items(one, len(values)).view(shape) for one in (self.weight, self.bias))
        return (normal * gain + offset).to(values.dtype)

    def _of_items(self, parameter: nn.Parameter, items: int) -> Tensor:
        return parameter if self.item_gradients is None else item_copies(parameter, items, self.item_gradients)

    def _masked(self, values: Tensor, mask: Tensor) -> Tensor:
        grouped = values.reshape(values.shape[0], self.groups, -1, *values.shape[2:])  # (batch, groups, channels / groups, ..., frames)
        last = grouped.dim() - 1
        inside = list(range(2, grouped.dim()))
        per_frame = grouped[0, 0].numel() // values.shape[-1]
        count = (mask.sum(1) * per_frame).to(values.dtype).view(-1, *[1] * last)
        mean = zero_padding(grouped, mask, last).sum(inside, keepdim=True) / count
        centred = zero_padding(grouped - mean, mask, last)
        variance = centred.square().sum(inside, keepdim=True) / count
        return (centred * torch.rsqrt(variance + self.epsilon)).flatten(1, 2)
