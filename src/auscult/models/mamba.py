"""The selective state-space block of Mamba, and one of it in each direction of time.

Problem: a model with a state of fixed size per channel reads a sequence in linear time, but its package needs CUDA, and written in plain
torch a training step keeps (rows, length, channels, states) several times over. Choice: the recurrence itself is
`auscult.ops.selective_scan`, which keeps inputs and few states; what stands around it is here, in one layout, (rows, length, channels), so
that nothing is transposed. A direction that runs backwards in time is the same block with its short convolution looking ahead and the scan
told so: no sequence is turned around in memory. The depthwise convolution is a sum of shifted products: at a width of four that is a
few passes over the values, while the library's convolution wants the other layout.

Parameters have the names and shapes of the authors' package, so its weights load as they are. Whatever the autocast state, the
convolution, the step sizes, `A_log`, `D` and the scan are float32: outputs reach 1e4, which float16 cannot hold, and a decay rounded to
eight bits is another time constant.
Source: Gu and Dao 2023, Mamba: linear-time sequence modeling with selective state spaces (algorithm 2 and section 3.6 for the initial
values, which are S4D-real).
"""

from __future__ import annotations

import math
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from auscult.models.recognition import widen_half
from auscult.ops.mamba_direction import MambaWeights, mamba_direction
from auscult.ops.selective_scan import selective_scan

_STEP_RANGE = (0.001, 0.1)
"""Initial step sizes are drawn log-uniformly from here."""
_SMALLEST_STEP = 1e-4
_NORM_EPSILON = 1e-5


class Mamba(nn.Module):
    """One Mamba block: expand, short convolution, selective scan, gate, contract.

    Args:
        size: channels that come in and go out.
        states: of the recurrence, per inner channel.
        convolution: taps of the depthwise convolution.
        expansion: inner channels per channel.

    >>> block = Mamba(64, states=16, convolution=4, expansion=4)
    >>> sum(parameter.numel() for parameter in block.parameters())
    65280
    >>> block(torch.zeros(2, 5, 64)).shape
    torch.Size([2, 5, 64])
    """

    def __init__(self, size: int, states: int = 16, convolution: int = 4, expansion: int = 2) -> None:
        super().__init__()
        inner = expansion * size
        self.states, self.rank = states, math.ceil(size / 16)
        self.in_proj = nn.Linear(size, 2 * inner, bias=False)
        self.conv1d = nn.Conv1d(inner, inner, convolution, groups=inner)
        self.x_proj = nn.Linear(inner, self.rank + 2 * states, bias=False)
        self.dt_proj = nn.Linear(self.rank, inner)
        self.A_log = nn.Parameter(torch.arange(1, states + 1, dtype=torch.float32).log().repeat(inner, 1))
        self.D = nn.Parameter(torch.ones(inner))
        self.out_proj = nn.Linear(inner, size, bias=False)
        self._initialise_steps()

    def forward(self, values: Tensor, reverse: bool = False) -> Tensor:
        """(rows, length, size) -> the same shape.

        Args:
            values: what to read.
            reverse: read from the last to the first; the result is still in the order of `values`.
        """
        inner, gate = widen_half(self.in_proj(values)).chunk(2, dim=2)  # (rows, length, inner) each
        taps = F.silu(shifted_convolution(inner, self.conv1d.weight.squeeze(1), self.conv1d.bias, reverse))
        low, into, out = torch.split(widen_half(self.x_proj(taps)), [self.rank, self.states, self.states], dim=2)
        with torch.autocast(values.device.type, enabled=False):
            steps = F.softplus(self.dt_proj(low))  # (rows, length, inner)
            read = selective_scan(taps, steps, -self.A_log.exp(), into, out, self.D, reverse=reverse)
        result: Tensor = self.out_proj(read * F.silu(gate))
        return result

    def weights(self, norm: Tensor) -> MambaWeights:
        """Return the weights as the kernel for the CPU takes them, behind a norm with these gains."""
        return MambaWeights(
            norm=norm,
            into=self.in_proj.weight,
            taps=self.conv1d.weight.squeeze(1),
            bias=cast(Tensor, self.conv1d.bias),
            select=self.x_proj.weight,
            step=self.dt_proj.weight,
            step_bias=self.dt_proj.bias,
            A=-self.A_log.exp(),
            D=self.D,
            out=self.out_proj.weight,
        )

    @torch.no_grad()
    def _initialise_steps(self) -> None:
        """Draw the bias of the step sizes so that softplus of it is log-uniform, and weights so that the input moves it as much."""
        spread = self.rank**-0.5
        nn.init.uniform_(self.dt_proj.weight, -spread, spread)
        low, high = (math.log(step) for step in _STEP_RANGE)
        steps = torch.empty_like(self.dt_proj.bias).uniform_(low, high).exp().clamp(min=_SMALLEST_STEP)
        self.dt_proj.bias.copy_(steps + torch.log(-torch.expm1(-steps)))


def shifted_convolution(values: Tensor, weight: Tensor, bias: Tensor | None, reverse: bool = False) -> Tensor:
    """Depthwise convolution over time that looks back, or ahead if reversed.

    Args:
        values: (rows, length, channels).
        weight: (channels, taps); the last tap belongs to the frame itself.
        bias: (channels,) or None.
        reverse: the other taps belong to the frames after it.

    Returns:
        (rows, length, channels).

    >>> shifted_convolution(torch.tensor([[[1.0], [0.0], [0.0]]]), torch.tensor([[2.0, 3.0]]), None).flatten().tolist()
    [3.0, 2.0, 0.0]
    >>> shifted_convolution(torch.tensor([[[0.0], [0.0], [1.0]]]), torch.tensor([[2.0, 3.0]]), None, reverse=True).flatten().tolist()
    [0.0, 2.0, 3.0]
    """
    length, taps = values.shape[1], weight.shape[1]
    padded = F.pad(values, (0, 0, 0, taps - 1) if reverse else (0, 0, taps - 1, 0))
    total: Tensor | float = bias if bias is not None else 0.0
    for tap in range(taps):
        start = taps - 1 - tap if reverse else tap
        total = total + padded[:, start : start + length] * weight[:, tap]
    return total  # type: ignore[return-value]


class BidirectionalMamba(nn.Module):
    """A normalised, residual Mamba block in each direction of time, side by side.

    Args:
        size: channels that come in; twice as many go out.
        states: as in `Mamba`.
        convolution: as in `Mamba`.
        expansion: as in `Mamba`.
    """

    def __init__(self, size: int, states: int = 16, convolution: int = 4, expansion: int = 2) -> None:
        super().__init__()
        self.norms = nn.ModuleList(nn.RMSNorm(size, eps=_NORM_EPSILON) for _ in range(2))
        self.blocks = nn.ModuleList(Mamba(size, states, convolution, expansion) for _ in range(2))

    def forward(self, values: Tensor, memory_rows: int = 0) -> Tensor:
        """(rows, length, size) float32 -> (rows, length, 2 * size) float32: forward, then backward in time.

        Args:
            values: what to read.
            memory_rows: rows that the kernel for the CPU takes at a time; 0 runs plain operations on all of them.
        """
        found: list[Tensor] = []
        for norm, block, reverse in zip(self.norms, self.blocks, (False, True), strict=True):
            norm, block = cast(nn.RMSNorm, norm), cast(Mamba, block)
            if memory_rows:
                found.append(mamba_direction(values, block.weights(norm.weight), _NORM_EPSILON, reverse, memory_rows))
            else:
                found.append(values + widen_half(block(norm(values), reverse)))
        return torch.cat(found, dim=2)
