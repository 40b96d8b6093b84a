"""Dilated convolutions over the log spectrogram that put out a mask per source: the separator for minutes on a CPU.

Problem: the published separators learn their filter bank, or look along time only; on the data and the time that a laptop has, they are
still learning what a harmonic is when the time is up. Choice: a fixed transform, and the oldest prior there is for spectrograms: one small
kernel for every place in time and frequency, because a voice a semitone higher is the same voice. Dilation lets nine taps reach a second
and most of the band. Logarithms make a quiet voice as visible as a loud one. The masks share the phase of the mixture, which caps
what can be reached near 13 dB (ideal ratio masks); a larger model on more data should be one of the others.

Nine taps cannot say which of two voices is which across a pause, so every second layer also hears its mean over the whole mixture.
Bins are taken sixteen at a time into one cell: half as many cells of a third more channels than with eight learn as much from a mixture
in three quarters of the time, because a processor's convolutions want channels in sixteens. Each band of bins has an offset of its own,
because a voice is no translation of itself from the first to the last octave. Layers begin as almost nothing added to what came in:
at full size, how long a run stood still before it learned anything was up to its seed.

Everything runs channels-last, with bins beside one another in memory, so that cutting bins into cells and cells into masks copies nothing,
and the transform back is a sum of slices, because the windows of this transform add up to a constant. Rejected: `torch.istft`, which
computes that constant anew for every batch and scatters; normalisation per mixture in place of batch normalisation, which learned more
slowly; the instantaneous frequency of bins as further input, which brought nothing.

Sources: dilated convolutions over spectrograms for separation: Ephrat et al., Looking to Listen at the Cocktail Party (2018), audio
stream; Wang et al., VoiceFilter (2019). Residual layers that begin small: Goyal et al., arXiv 1706.02677, section 5.1.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from auscult.errors import UserError
from auscult.models.separator import Separator
from auscult.registry import INJECTED, register
from auscult.specification import Specification

SILENCE = 1e-8
"""Level below which a mixture is not raised any further."""
FAINT = 1e-2
"""Added to magnitudes of a mixture of unit level before the logarithm: some 60 dB below a voice's strongest bins."""
ADDED = 0.2
"""Deviation of what a layer adds before anything is learned."""


class DilatedLayer(nn.Module):
    """Convolution with gaps, normalised, rectified and added to what came in.

    Args:
        channels: of every cell.
        dilation: cells between taps along frames and bands.
        whole: each cell also hears the mean of what came in over the whole mixture.
    """

    def __init__(self, channels: int, dilation: tuple[int, int], whole: bool) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(channels, channels, 3, padding=dilation, dilation=dilation, bias=False)
        self.norm = nn.BatchNorm2d(channels)
        nn.init.constant_(self.norm.weight, ADDED)
        self.whole = nn.Linear(channels, channels) if whole else None
        if self.whole is not None:
            nn.init.zeros_(self.whole.weight)  # a mean over everything drowns single cells while nothing is learned yet
            nn.init.zeros_(self.whole.bias)

    def forward(self, cells: Tensor) -> Tensor:
        """(batch, channels, frames, bands) -> the same shape."""
        values = self.norm(self.convolution(cells))
        if self.whole is not None:
            values = values + self.whole(cells.mean((2, 3)))[:, :, None, None]
        added: Tensor = cells + F.relu(values, inplace=True)
        return added


@register("model", "spectral_masks")
class SpectralMasks(Separator):
    """Masks on a short-time spectrum from a stack of dilated two-dimensional convolutions.

    Parameter parts: `first`, `place`, `layers`, `out`.

    Args:
        transform: samples of a short-time Fourier transform.
        hop: samples between transforms, at most half of one; `transform` must be a multiple of it.
        band: neighbouring bins that make one cell; divides half the transform.
        channels: of every cell.
        band_dilations: cells between the taps of each layer along frequency; as many layers as there are entries.
        frame_dilations: cells between the taps of each layer along time, as many as `band_dilations`.
        whole: every how many layers cells also hear the mean over the whole mixture of what comes into the layer; 0 for none.
    """

    ceiling = 13.0  # of ideal masks on magnitudes, as above
    SIZES: ClassVar[dict[str, dict[str, Any]]] = {
        "tiny": {"model": {"channels": 16}},
        "small": {"model": {"channels": 32}},
        "base": {"model": {"channels": 64}},
    }

    window: Tensor

    def __init__(
        self,
        specification: Annotated[Specification, INJECTED],
        transform: Annotated[int, Field(ge=4, multiple_of=2)] = 256,
        hop: Annotated[int, Field(gt=0)] = 128,
        band: Annotated[int, Field(gt=0)] = 16,
        channels: Annotated[int, Field(gt=0)] = 32,
        band_dilations: Annotated[tuple[Annotated[int, Field(gt=0)], ...], Field(min_length=1)] = (1, 1, 2, 4, 1, 1, 2, 4),
        frame_dilations: Annotated[tuple[Annotated[int, Field(gt=0)], ...], Field(min_length=1)] = (1, 2, 4, 8, 1, 2, 4, 8),
        whole: Annotated[int, Field(ge=0)] = 2,
    ) -> None:
        super().__init__(specification)
        bins = transform // 2  # the last bin, half the sample rate, is left silent
        if transform % hop or hop > transform // 2:
            raise UserError(f"spectral_masks: a transform of {transform} samples needs a hop that divides it at least twice, not {hop}")
        if bins % band:
            raise UserError(f"spectral_masks: {bins} bins cannot be cut into bands of {band}; choose a divisor of half the transform")
        if len(band_dilations) != len(frame_dilations):
            raise UserError(
                f"spectral_masks: {len(band_dilations)} band_dilations and {len(frame_dilations)} frame_dilations; each layer needs both"
            )
        self.transform, self.hop, self.band, self.bins = transform, hop, band, bins
        self.register_buffer("window", torch.hann_window(transform).sqrt(), persistent=False)
        self.first = nn.Linear(band, channels)
        self.place = nn.Parameter(0.02 * torch.randn(bins // band, channels))
        pairs = zip(frame_dilations, band_dilations, strict=True)
        self.layers = nn.Sequential(
            *(DilatedLayer(channels, pair, bool(whole) and number % whole == 0) for number, pair in enumerate(pairs, 1))
        )
        self.out = nn.Linear(channels, self.sources * band)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # which torch does not declare

    def forward(self, mixture: Tensor) -> Tensor:
        """(batch, time) float32 -> (batch, sources, time) float32, the same time."""
        self.check_samples(mixture)
        samples = mixture.float()
        level = (samples.square().mean(dim=1, keepdim=True) + SILENCE**2).sqrt()  # (batch, 1)
        spectrum = self._spectrum(samples / level)  # (batch, frames, bins)
        masks = self._masks(spectrum.abs()).float()
        parts = masks.unsqueeze(-1) * torch.view_as_real(spectrum).unsqueeze(1)  # masks are real: half the work of a complex product
        return self._signals(torch.view_as_complex(parts), samples.shape[1]) * level.unsqueeze(1)

    def _masks(self, magnitudes: Tensor) -> Tensor:
        """(batch, frames, bins) -> (batch, sources, frames, bins), between 0 and 1."""
        values = torch.log(magnitudes + FAINT)
        values = values - values.mean((1, 2), keepdim=True)
        values = values / (values.square().mean((1, 2), keepdim=True).sqrt() + FAINT)
        batch, frames, _ = values.shape
        cells = self.first(values.view(batch, frames, -1, self.band)) + self.place  # (batch, frames, bands, channels)
        scores = self.out(self.layers(cells.permute(0, 3, 1, 2)).permute(0, 2, 3, 1))  # (batch, frames, bands, sources * band)
        masks = torch.sigmoid(scores).view(batch, frames, -1, self.sources, self.band)
        return masks.permute(0, 3, 1, 2, 4).flatten(3)

    def _spectrum(self, samples: Tensor) -> Tensor:
        """(batch, time) -> (batch, frames, bins) complex; silence at both ends puts every sample under equally many transforms."""
        edge = self.transform - self.hop
        frames = F.pad(samples, (edge, edge + -samples.shape[1] % self.hop)).unfold(1, self.transform, self.hop)
        with torch.autocast(samples.device.type, enabled=False):
            spectrum: Tensor = torch.fft.rfft(frames * self.window)[..., : self.bins].contiguous()
        return spectrum

    def _signals(self, spectrum: Tensor, time: int) -> Tensor:
        """(batch, sources, frames, bins) complex -> (batch, sources, time)."""
        under = self.transform // self.hop  # transforms that hear a sample; the squares of their windows add up to half of it
        with torch.autocast(spectrum.device.type, enabled=False):
            frames = torch.fft.irfft(spectrum, self.transform) * (self.window * (2 / under))
            batch, sources, count, _ = frames.shape
            hops = frames.view(batch, sources, count, under, self.hop)
            signals: Tensor = hops[:, :, under - 1 :, 0]
            for place in range(1, under):
                signals = signals + hops[:, :, under - 1 - place : count - place, place]
        return signals.flatten(2)[..., :time]
