"""SPMamba: a time-frequency grid read along both axes by bidirectional Mamba blocks, and attention over frames.

Problem: separation in the time-frequency domain needs context along frequency within a frame and along time within a bin. TF-GridNet
reads both with LSTMs, whose cost per step is quadratic in their width; SPMamba puts selective state-space blocks in their place.
Choice: the layout of TF-GridNet, channels last throughout, (batch, frames, bins, channels), so that norms and projections over channels
need no transposition and both axes are rows of one kind. Rows never see each other inside a path, so a path takes `memory_rows` of them at
a time and computes them again in the backward pass. On a CPU in float32 `auscult.ops.mamba_direction` does that with a backward pass of
its own; elsewhere (autocast, a GPU) each slice is an activation checkpoint over plain operations.

Attention is over all pairs of frames of a mixture: memory grows with the square of its length. Cut long recordings before; what does so
lies above the models. The gains of the attention's norms belong to bins, so the weights fit one `transform` only.
Rejected: windowed attention (other numbers than published), a window function to choose (the published models all have Hann's).
Sources: Li et al. 2024, SPMamba: state-space model is all you need in speech separation; Wang et al. 2023, TF-GridNet: integrating full-
and sub-band modeling for speech separation.
"""

from __future__ import annotations

import math
from typing import Annotated, ClassVar, cast

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from auscult.errors import UserError
from auscult.models.mamba import BidirectionalMamba
from auscult.models.recognition import widen_half
from auscult.models.separator import Separator
from auscult.ops.frame_kernels import cpu_kernel_applies
from auscult.registry import INJECTED, register
from auscult.specification import Specification

_EPSILON = 1e-5
_CONTEXT = 3
"""Frames and bins that the first and the last convolution see."""


class GridPath(nn.Module):
    """One axis of the grid: norm, windows over the axis, both directions of Mamba, windows put back, residual.

    Args:
        channels: of the grid.
        kernel: cells of a window.
        hop: cells between windows.
        memory_rows: rows at a time; 0 takes all at once and keeps everything for the backward pass.
        states: as in `Mamba`.
        convolution: as in `Mamba`.
        expansion: as in `Mamba`.
    """

    def __init__(self, channels: int, kernel: int, hop: int, memory_rows: int, states: int, convolution: int, expansion: int) -> None:
        super().__init__()
        self.kernel, self.hop, self.memory_rows = kernel, hop, memory_rows
        self.norm = nn.LayerNorm(channels, eps=_EPSILON)
        self.mamba = BidirectionalMamba(kernel * channels, states, convolution, expansion)
        self.back = nn.ConvTranspose1d(2 * kernel * channels, channels, kernel, stride=hop)

    @torch.compiler.disable  # type: ignore[untyped-decorator]  # tracing slices takes a minute, and compiled scans cannot be traced
    def forward(self, rows: Tensor) -> Tensor:
        """(rows, length, channels) float32 -> the same shape."""
        if self.memory_rows == 0:
            return self._read(rows, 0)
        if cpu_kernel_applies(rows) and not torch.is_autocast_enabled("cpu"):
            return self._read(rows, self.memory_rows)
        if not torch.is_grad_enabled():
            return torch.cat([self._read(part, 0) for part in torch.split(rows, self.memory_rows)])
        parts = [
            checkpoint(self._read, part, 0, use_reentrant=False, preserve_rng_state=False) for part in torch.split(rows, self.memory_rows)
        ]
        return torch.cat(parts)

    def _read(self, rows: Tensor, kernel_rows: int) -> Tensor:
        length = rows.shape[1]
        beyond = -(length - self.kernel) % self.hop if length > self.kernel else self.kernel - length
        padded = F.pad(rows, (0, 0, 0, beyond))
        windows = self.norm(padded).unfold(1, self.kernel, self.hop).flatten(2)  # (rows, windows, channels * kernel)
        cells = overlap_add(self.mamba(windows, kernel_rows), self.back.weight, self.hop) + cast(Tensor, self.back.bias)
        return rows + cells[:, :length]


def overlap_add(windows: Tensor, weight: Tensor, hop: int) -> Tensor:
    """Transposed convolution over time without bias, as one product and one addition per place in a window.

    Args:
        windows: (rows, windows, inputs).
        weight: (inputs, outputs, kernel), as `nn.ConvTranspose1d` has it.
        hop: cells between windows.

    Returns:
        (rows, hop * (windows - 1) + kernel, outputs), not below float32.
    """
    rows, count, inputs = windows.shape
    _, outputs, kernel = weight.shape
    parts = widen_half(F.linear(windows, weight.permute(2, 1, 0).reshape(-1, inputs))).view(rows, count, kernel, outputs)
    total = parts.new_zeros(rows, hop * (count - 1) + kernel, outputs)
    for place in range(kernel):
        total[:, place : place + hop * (count - 1) + 1 : hop] += parts[:, :, place]
    return total


class HeadProjection(nn.Module):
    """Queries, keys or values: a projection of every cell, PReLU, and a norm over the channels and bins of a frame, all per head.

    Args:
        channels: of the grid.
        bins: of the grid.
        heads: of the attention.
        size: channels per head that come out.
    """

    def __init__(self, channels: int, bins: int, heads: int, size: int) -> None:
        super().__init__()
        self.heads = heads
        self.project = nn.Linear(channels, heads * size)
        self.slope = nn.Parameter(torch.full((heads, 1, 1, 1), 0.25))
        self.gain = nn.Parameter(torch.ones(heads, 1, bins, size))
        self.shift = nn.Parameter(torch.zeros(heads, 1, bins, size))

    def forward(self, grid: Tensor) -> Tensor:
        """(batch, frames, bins, channels) -> (batch, heads, frames, bins, size) float32."""
        projected = widen_half(self.project(grid)).view(*grid.shape[:3], self.heads, -1).permute(0, 3, 1, 2, 4)
        bent = torch.where(projected > 0, projected, self.slope * projected)
        return F.layer_norm(bent, bent.shape[-2:], eps=_EPSILON) * self.gain + self.shift


class FrameAttention(nn.Module):
    """Attention over the frames of a mixture, a frame's whole band being one vector per head; residual.

    Args:
        channels: of the grid.
        bins: of the grid.
        heads: of the attention.
        key_size: of queries and keys over all bins, rounded up to whole channels.
    """

    def __init__(self, channels: int, bins: int, heads: int, key_size: int) -> None:
        super().__init__()
        of_keys = math.ceil(key_size / bins)
        self.queries, self.keys = (HeadProjection(channels, bins, heads, of_keys) for _ in range(2))
        self.values = HeadProjection(channels, bins, heads, channels // heads)
        self.output = HeadProjection(channels, bins, 1, channels)

    def forward(self, grid: Tensor) -> Tensor:
        """(batch, frames, bins, channels) float32 -> the same shape."""
        queries, keys, values = (part(grid).flatten(3) for part in (self.queries, self.keys, self.values))
        read = F.scaled_dot_product_attention(queries, keys, values)  # (batch, heads, frames, bins * channels / heads)
        joined = read.reshape(*read.shape[:3], grid.shape[2], -1).permute(0, 2, 3, 1, 4).flatten(3)  # (batch, frames, bins, channels)
        result: Tensor = grid + self.output(joined).squeeze(1)
        return result


class GridLayer(nn.Module):
    """One layer: along the bins of a frame, along the frames of a bin, attention over frames."""

    def __init__(self, along_bins: GridPath, along_frames: GridPath, attention: FrameAttention) -> None:
        super().__init__()
        self.along_bins, self.along_frames, self.attention = along_bins, along_frames, attention

    def forward(self, grid: Tensor) -> Tensor:
        """(batch, frames, bins, channels) float32 -> the same shape."""
        batch, frames, bins, _ = grid.shape
        grid = self.along_bins(grid.flatten(0, 1)).view(batch, frames, bins, -1)
        grid = self.along_frames(grid.transpose(1, 2).flatten(0, 1)).view(batch, bins, frames, -1).transpose(1, 2)
        result: Tensor = self.attention(grid)
        return result


@register("model", "spmamba")
class SpMamba(Separator):
    """SPMamba; the defaults are the reduced network, 1,156,368 parameters for two sources.

    The published network, 6,094,498 parameters for two sources at 8 kHz, has layers 6, kernel 8, heads 4 and key_size 512; at 16 kHz the
    published transform is 512 with hop 128. Parameter parts: `first`, `first_norm`, `layers`, `last`.

    Args:
        transform: samples of a short-time Fourier transform; the weights fit no other.
        hop: samples between transforms, at most half of one.
        layers: of the grid network.
        channels: of every cell of the grid.
        kernel: neighbouring cells that a Mamba block sees as one input; its width is kernel * channels.
        kernel_hop: cells between such inputs.
        heads: of the attention over frames; divides the channels.
        key_size: of an attention query over all bins, rounded up to whole channels per bin.
        states: per inner channel of a Mamba block.
        convolution: taps of the convolution inside a Mamba block.
        expansion: inner channels of a Mamba block per channel.
        memory_rows: rows of the grid that a path takes at a time and computes again in the backward pass, which bounds memory and keeps a
            CPU's cache warm; 0 takes all rows at once and keeps everything, which suits a GPU. Results do not depend on it.
    """

    number_formats: ClassVar[tuple[str, ...]] = ("float32", "bfloat16")
    number_format_note: ClassVar[str] = (
        "outputs of Mamba blocks reach 1e4 and more, where float16 overflows; training in it gave NaN in every published attempt"
    )

    window: Tensor

    def __init__(
        self,
        specification: Annotated[Specification, INJECTED],
        transform: Annotated[int, Field(ge=4, multiple_of=2)] = 256,
        hop: Annotated[int, Field(gt=0)] = 64,
        layers: Annotated[int, Field(gt=0)] = 4,
        channels: Annotated[int, Field(gt=0)] = 16,
        kernel: Annotated[int, Field(gt=0)] = 4,
        kernel_hop: Annotated[int, Field(gt=0)] = 1,
        heads: Annotated[int, Field(gt=0)] = 2,
        key_size: Annotated[int, Field(gt=0)] = 256,
        states: Annotated[int, Field(gt=0)] = 16,
        convolution: Annotated[int, Field(gt=0)] = 4,
        expansion: Annotated[int, Field(gt=0)] = 4,
        memory_rows: Annotated[int, Field(ge=0)] = 8,
    ) -> None:
        super().__init__(specification)
        if hop > transform // 2:
            raise UserError(
                f"spmamba: hop is {hop}, but windows of {transform} samples put back together need a hop of at most half of that"
            )
        if channels % heads:
            raise UserError(f"spmamba: channels ({channels}) cannot be shared among {heads} heads; choose a divisor of channels")
        if kernel_hop > kernel:
            raise UserError(f"spmamba: kernel_hop is {kernel_hop}, so cells between windows of {kernel} would be read by nothing")
        self.transform, self.hop = transform, hop
        bins = transform // 2 + 1

        def path() -> GridPath:
            return GridPath(channels, kernel, kernel_hop, memory_rows, states, convolution, expansion)

        self.register_buffer("window", torch.hann_window(transform), persistent=False)
        self.first = nn.Conv2d(2, channels, _CONTEXT, padding=_CONTEXT // 2)
        self.first_norm = nn.GroupNorm(1, channels, eps=_EPSILON)
        self.layers = nn.ModuleList(GridLayer(path(), path(), FrameAttention(channels, bins, heads, key_size)) for _ in range(layers))
        self.last = nn.ConvTranspose2d(channels, 2 * self.sources, _CONTEXT, padding=_CONTEXT // 2)

    def forward(self, mixture: Tensor) -> Tensor:
        """(batch, time) -> (batch, sources, time) float32; a mixture without any deviation gives silence."""
        self.check_samples(mixture)
        samples = mixture.float()
        variance = samples.var(dim=1, correction=0, keepdim=True)  # (batch, 1)
        silent = variance == 0
        deviation = torch.where(silent, 1.0, variance).sqrt()
        grid = self.first_norm(self.first(self._spectrum(samples / deviation)).float())
        grid = grid.permute(0, 2, 3, 1).contiguous()  # (batch, frames, bins, channels)
        for layer in self.layers:
            grid = layer(grid)
        parts = self.last(grid.permute(0, 3, 1, 2)).float()  # (batch, 2 * sources, frames, bins)
        signals = self._signals(parts.view(len(parts), self.sources, 2, *parts.shape[2:]), mixture.shape[1])
        return signals * deviation.masked_fill(silent, 0.0).unsqueeze(1)

    def _spectrum(self, samples: Tensor) -> Tensor:
        """(batch, time) -> (batch, 2, frames, bins): real and imaginary parts, float32."""
        short = self.transform // 2 + 1 - samples.shape[1]  # what reflection at the ends needs
        padded = F.pad(samples, (0, max(short, 0)))
        with torch.autocast(samples.device.type, enabled=False):
            spectrum = torch.stft(padded, self.transform, self.hop, window=self.window, return_complex=True)  # (batch, bins, frames)
        return torch.view_as_real(spectrum).permute(0, 3, 2, 1)

    def _signals(self, parts: Tensor, time: int) -> Tensor:
        """(batch, sources, 2, frames, bins) float32 -> (batch, sources, time)."""
        with torch.autocast(parts.device.type, enabled=False):
            spectrum = torch.complex(parts[:, :, 0], parts[:, :, 1]).transpose(2, 3).flatten(0, 1)  # (batch * sources, bins, frames)
            signals = torch.istft(spectrum, self.transform, self.hop, window=self.window, length=time)
        return signals.view(-1, self.sources, time)
