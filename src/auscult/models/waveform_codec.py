"""A learned filter bank for waveforms and the way back, with one stride for both and every length coming back whole.

Problem: in published code the encoder's stride is fixed at half its kernel while the decoder takes a setting of its own (the two then
disagree about the number of frames), signals come back a few samples short, and the first and last samples lie under fewer frames than
the rest. Choice: one module holds both banks and one stride; the signal is padded so that *every* sample lies under kernel / stride
frames; and the kernel is a whole number of strides, which makes cutting and overlap-adding a matter of shifted views. The codec also
brings each mixture to unit level and takes the level back at the end. What stands between (a linear map, ReLU, global normalisation,
a mask) follows any gain on its input, so this changes nothing in exact arithmetic; but the constants that guard divisions no longer
depend on how loud a recording is, and half precision sees numbers of order one. Both ways run in float32 whatever the autocast state.
Rejected: `nn.ConvTranspose1d` with one output channel, which is slow on a CPU.

Random filters put out noise at first, 20 dB below the untouched mixture, and hundreds of updates go into learning to hand a signal through.
A codec that starts as a transform hands it through from the first update on: filters are windowed orthonormal bases in pairs of opposite
sign, because ReLU halves every signal and the two halves make it whole again.

Source: Luo and Mesgarani, Conv-TasNet (2019), sections II-A and II-B.
"""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
import scipy.fft
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from auscult.errors import UserError

Start = Literal["random", "transform"]
SILENCE = 1e-8
"""Level below which a mixture is not raised any further."""


class WaveformCodec(nn.Module):
    """Encoder and decoder of a waveform: (batch, time) to non-negative (batch, filters, frames), and back.

    Args:
        filters: channels of the encoded signal.
        kernel: samples under a filter.
        stride: samples from one frame to the next; `kernel` must be a multiple of it.
        start: "random" filters as published, or a "transform" whose way back is exact where there are two filters per sample of the kernel.

    Raises:
        UserError: the kernel is not a whole number of strides, or has too few filters to start as a transform.

    >>> codec = WaveformCodec(filters=4, kernel=4, stride=2)
    >>> encoded, level = codec.encode(torch.ones(1, 7))
    >>> encoded.shape, codec.decode(encoded, level, samples=7).shape
    (torch.Size([1, 4, 5]), torch.Size([1, 7]))
    """

    def __init__(self, filters: int, kernel: int, stride: int, start: Start = "random") -> None:
        super().__init__()
        if kernel % stride:
            raise UserError(f"the kernel of {kernel} samples is no multiple of the stride of {stride}; use a kernel of {2 * stride}")
        self.kernel, self.stride = kernel, stride
        bound = 1 / math.sqrt(kernel)  # what nn.Conv1d and nn.ConvTranspose1d of one waveform channel start with
        self.encoder = nn.Parameter(torch.empty(filters, kernel).uniform_(-bound, bound))
        self.decoder = nn.Parameter(torch.empty(filters, kernel).uniform_(-bound, bound))

        if start == "transform":
            self._start_as_transform()

    @torch.no_grad()
    def _start_as_transform(self) -> None:
        """Make the filters a tight frame: bases times a window whose squares overlap-add to one, each filter beside its negative."""
        filters, kernel = self.encoder.shape
        sets = filters // (2 * kernel)
        if not sets:
            raise UserError(
                f"{filters} filters of {kernel} samples cannot start as a transform, which takes two filters per sample; use "
                f"{2 * kernel} filters or more, or a random start"
            )
        window = np.sin(np.pi * (np.arange(kernel) + 0.5) / kernel) * math.sqrt(2 / self._overlap) if self._overlap > 1 else np.ones(kernel)
        bases = np.concatenate([sign * basis * window for basis in _bases(kernel, sets) for sign in (1, -1)]) / math.sqrt(sets)
        values = torch.from_numpy(bases).to(self.encoder.dtype)
        self.encoder[: len(values)] = values
        self.decoder.zero_()  # filters that are left over are silent at first
        self.decoder[: len(values)] = values

    def extra_repr(self) -> str:
        """Show the sizes."""
        return f"filters={len(self.encoder)}, kernel={self.kernel}, stride={self.stride}"

    def frames(self, samples: int) -> int:
        """Return the number of frames that so many samples give."""
        return (samples - 1 + self.kernel - self.stride) // self.stride + 1

    def encode(self, mixture: Tensor) -> tuple[Tensor, Tensor]:
        """Return the non-negative frames of mixtures and the level they were brought from.

        Args:
            mixture: (batch, time) of at least one sample; not changed.

        Returns:
            (batch, filters, frames) in at least float32, and the level (batch, 1): root mean square of each mixture.
        """
        with torch.autocast(mixture.device.type, enabled=False):
            weight = self.encoder if self.encoder.dtype == torch.float64 else self.encoder.float()
            signal = mixture.to(weight.dtype)
            level = (signal.square().mean(dim=1, keepdim=True) + SILENCE**2).sqrt()
            frames = self.frames(signal.shape[1])
            before = self.kernel - self.stride
            after = (frames - 1) * self.stride + self.kernel - before - signal.shape[1]
            steps = F.pad(signal / level, (before, after)).view(len(signal), -1, self.stride)  # (batch, frames + overlap - 1, stride)
            windows = torch.cat([steps[:, first : first + frames] for first in range(self._overlap)], dim=2)
            return F.conv1d(windows.transpose(1, 2), weight.unsqueeze(2)).relu(), level

    def decode(self, encoded: Tensor, level: Tensor, samples: int) -> Tensor:
        """Return the signals of (masked) frames.

        Args:
            encoded: (batch, ..., filters, frames) of any floating dtype.
            level: (batch, 1) from `encode`.
            samples: of the mixture.

        Returns:
            (batch, ..., samples) in the dtype of `level`.
        """
        with torch.autocast(encoded.device.type, enabled=False):
            flat = encoded.to(level.dtype).flatten(0, -3)
            windows = F.conv1d(flat, self.decoder.to(level.dtype).t().unsqueeze(2))  # (signals, kernel, frames)
            frames, overlap = windows.shape[2], self._overlap
            parts = torch.split(windows.transpose(1, 2), self.stride, dim=2)  # each (signals, frames, stride)
            steps = sum(F.pad(part, (0, 0, first, overlap - 1 - first)) for first, part in enumerate(parts))
            assert isinstance(steps, Tensor)
            before = self.kernel - self.stride
            signal = steps.flatten(1)[:, before : before + samples]
            assert frames == self.frames(samples), f"{frames} frames are not those of {samples} samples"
            return signal.reshape(*encoded.shape[:-2], samples) * level.view(-1, *[1] * (encoded.dim() - 2))

    @property
    def _overlap(self) -> int:
        return self.kernel // self.stride


def _bases(kernel: int, count: int) -> list[np.ndarray]:
    """Return orthonormal bases (kernel, kernel), rows are vectors: cosines, sines, then rotations drawn from torch's random state."""
    identity = np.eye(kernel)
    fixed = [scipy.fft.dct(identity, norm="ortho", axis=0), scipy.fft.dst(identity, norm="ortho", axis=0)]
    drawn = [torch.linalg.qr(torch.randn(kernel, kernel, dtype=torch.float64))[0].numpy() for _ in range(count - len(fixed))]
    return [*fixed, *drawn][:count]
