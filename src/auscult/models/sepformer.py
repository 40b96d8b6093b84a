"""SepFormer: dual-path attention masks on a learned filter bank.

Problem: attention over thousands of frames costs their square. Choice: the original network: stacks of pre-norm transformer layers
within chunks and across them, with sinusoidal positions added at the entrance of each stack. Positions are a switch because a published
series of runs had them off without knowing (one decibel worse); they have no parameters, so 25,679,361 is the count for two sources either
way and cannot tell. Positions are computed for the length at hand: a table would be a longest length in disguise.

Source: Subakan, Ravanelli, Cornell, Bronzi and Zhong, "Attention is all you need in speech separation" (2021).
"""

from __future__ import annotations

import math
from typing import Annotated, Any, ClassVar

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from auscult.errors import UserError
from auscult.models.dual_path import DualPathMasks, Mask
from auscult.models.separator import Separator
from auscult.models.waveform_codec import Start, WaveformCodec
from auscult.registry import INJECTED, register
from auscult.specification import Specification


def sinusoids(time: int, channels: int, like: Tensor) -> Tensor:
    """Return the positions of Vaswani et al. (2017), section 3.5: (time, channels), sines at even channels, cosines at odd ones.

    Args:
        time: number of positions.
        channels: even.
        like: gives device and dtype.
    """
    rates = torch.exp(torch.arange(0, channels, 2, device=like.device) * (-math.log(10000.0) / channels))
    angles = torch.arange(time, device=like.device).unsqueeze(1) * rates
    return torch.stack([angles.sin(), angles.cos()], dim=2).flatten(1).to(like.dtype)


class AttentionLayer(nn.Module):
    """Self-attention and a feed-forward layer, each normalised before and added after."""

    def __init__(self, channels: int, heads: int, feed_forward: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.attention_norm = nn.LayerNorm(channels, eps=1e-6)
        self.attend = nn.Linear(channels, 3 * channels)
        self.gather = nn.Linear(channels, channels)
        self.feed_forward_norm = nn.LayerNorm(channels, eps=1e-6)
        self.widen = nn.Linear(channels, feed_forward)
        self.narrow = nn.Linear(feed_forward, channels)
        nn.init.xavier_uniform_(self.attend.weight)
        nn.init.zeros_(self.attend.bias)
        nn.init.zeros_(self.gather.bias)

    def forward(self, values: Tensor) -> Tensor:
        """(rows, time, channels) -> the same shape."""
        heads = self.attend(self.attention_norm(values)).unflatten(2, (3, self.heads, -1))  # (rows, time, 3, heads, size)
        query, key, value = heads.permute(2, 0, 3, 1, 4)
        found = F.scaled_dot_product_attention(query, key, value, dropout_p=self.dropout if self.training else 0.0)
        values = values + self._drop(self.gather(found.transpose(1, 2).flatten(2)))
        inner = self._drop(self.widen(self.feed_forward_norm(values)).relu())
        return values + self._drop(self.narrow(inner))

    def _drop(self, values: Tensor) -> Tensor:
        return F.dropout(values, self.dropout, self.training) if self.dropout else values


class AttentionPath(nn.Module):
    """A stack of attention layers with positions at its entrance."""

    def __init__(self, channels: int, layers: int, heads: int, feed_forward: int, dropout: float, positions: bool) -> None:
        super().__init__()
        self.positions = positions
        self.layers = nn.ModuleList(AttentionLayer(channels, heads, feed_forward, dropout) for _ in range(layers))
        self.norm = nn.LayerNorm(channels, eps=1e-6)

    def forward(self, values: Tensor) -> Tensor:
        """(rows, time, channels) -> the same shape."""
        if self.positions:
            values = values + sinusoids(values.shape[1], values.shape[2], values)
        for layer in self.layers:
            values = layer(values)
        normalised: Tensor = self.norm(values)
        return normalised


@register("model", "sepformer")
class SepFormer(Separator):
    """Dual-path transformer separator.

    Parameter parts: `codec`, `masks` (`norm`, `bottleneck`, `blocks`, `split`, `value`, `gate`, `out`).

    Args:
        filters: of the encoder and decoder.
        kernel: samples under a filter, a multiple of `stride`.
        stride: samples from frame to frame, in encoder and decoder alike.
        bottleneck: channels of the stream, a multiple of `heads`, and even where there are positions.
        blocks: each with a stack of layers within chunks and one across them.
        layers: of each stack.
        heads: of each attention layer.
        feed_forward: units of each feed-forward layer.
        chunk: frames of a chunk, even.
        positions: whether sinusoidal positions are added at the entrance of each stack.
        mask: rectified or sigmoid masks.
        dropout: probability, on attention weights, feed-forward units and the outputs of both.
        start: whether the codec starts with random filters, as published, or as a transform that hands the mixture through.

    Raises:
        UserError: the bottleneck does not divide among the heads, or is odd and has positions.
    """

    SIZES: ClassVar[dict[str, dict[str, Any]]] = {
        "tiny": {
            "model": {"filters": 64, "bottleneck": 64, "blocks": 1, "layers": 2, "heads": 4, "feed_forward": 128, "chunk": 60},
        },
        "small": {"model": {"filters": 128, "bottleneck": 128, "layers": 4, "feed_forward": 512, "chunk": 100}},
        "base": {"model": {"filters": 256, "bottleneck": 256, "layers": 8, "feed_forward": 1024}},
    }

    def __init__(
        self,
        specification: Annotated[Specification, INJECTED],
        filters: Annotated[int, Field(gt=0)] = 256,
        kernel: Annotated[int, Field(gt=0)] = 16,
        stride: Annotated[int, Field(gt=0)] = 8,
        bottleneck: Annotated[int, Field(gt=0)] = 256,
        blocks: Annotated[int, Field(gt=0)] = 2,
        layers: Annotated[int, Field(gt=0)] = 8,
        heads: Annotated[int, Field(gt=0)] = 8,
        feed_forward: Annotated[int, Field(gt=0)] = 1024,
        chunk: Annotated[int, Field(ge=2)] = 250,
        positions: bool = True,
        mask: Mask = "relu",
        dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0,
        start: Start = "random",
    ) -> None:
        super().__init__(specification)
        if bottleneck % heads:
            raise UserError(f"sepformer: bottleneck {bottleneck} is no multiple of heads {heads}; use {heads * -(-bottleneck // heads)}")
        if positions and bottleneck % 2:
            raise UserError(f"sepformer: positions need an even bottleneck, not {bottleneck}; use {bottleneck + 1} or positions: false")
        self.codec = WaveformCodec(filters, kernel, stride, start)

        def path() -> AttentionPath:
            return AttentionPath(bottleneck, layers, heads, feed_forward, dropout, positions)

        self.masks = DualPathMasks(filters, bottleneck, self.sources, chunk, [(path(), path()) for _ in range(blocks)], mask)

    def forward(self, mixture: Tensor) -> Tensor:
        """(batch, time) float32 -> (batch, sources, time) float32, the same time."""
        self.check_samples(mixture)
        encoded, level = self.codec.encode(mixture)
        return self.codec.decode(self.masks(encoded) * encoded.unsqueeze(1), level, mixture.shape[1])
