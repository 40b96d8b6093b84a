"""Short-time spectra of padded batches: the part that every front-end shares.

Problem: `torch.stft` reflects the padded tensor at its end, so an utterance's last frames depend on its neighbours, and on a
CPU most of its time goes into `abs` of complex numbers and into fresh pages of memory. Choice: every utterance is reflected
at its own true end, frames are strided views, and one description of the frames has two computations that are tested against
one another. The general one is index arithmetic and `torch.fft` (differentiable, CUDA, export); the fast one, on a CPU where no
gradient is asked for, walks over cache-sized blocks and takes the magnitude with NumPy, which vectorises it.
Rejected: the Fourier transform as a matrix product (8 times slower than `rfft` at 512 points, measured on one AVX-512 core).

A frame is `window_samples` long and is filled up with zeros to `fft_size`. Centred frames start `window_samples // 2` before
sample `t * step_samples`, which gives `1 + n // step` of them; Kaldi's start at that sample, `1 + (n - window) // step` of them.
"""

from __future__ import annotations

from collections.abc import Callable
from math import ceil

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from auscult.audio.front_end import is_transformed
from auscult.errors import UserError

PREEMPHASIS = 0.97
"""Kaldi's `--preemphasis-coefficient`."""

INT16 = 32768.0
"""Kaldi reads int16 values as they are; ours are in [-1, 1]."""

_BLOCK_FRAMES = 256
"""Frames per block of the fast path, at most: the block's samples, spectrum and magnitude stay near the core (about 1 MB)."""

_TINY = 1e-20
"""Below this power the magnitude counts as zero and its gradient is zero instead of infinite."""

Finish = Callable[[Tensor, Tensor | None], Tensor]
"""(spectrum (..., frames, bins), out) -> (..., frames, width): a function of each frame, written into `out` if there is one."""


def whole_samples(name: str, seconds: float, sample_rate: int) -> int:
    """Return a duration in samples.

    Raises:
        UserError: it is not a whole number of samples, or not positive.

    >>> whole_samples("window", 0.032, 16000)
    512
    """
    samples = seconds * sample_rate
    whole = round(samples)
    if whole < 1 or abs(samples - whole) > 1e-6:
        below, above = max(1, int(samples)) / sample_rate, (int(samples) + 1) / sample_rate
        raise UserError(
            f"{name}: {seconds:g} s is {samples:g} samples at {sample_rate} Hz; choose a whole number, such as {below:g} or {above:g} s"
        )
    return whole


class ShortTime(nn.Module):
    """Spectra of overlapping, windowed frames.

    Args:
        sample_rate: in hertz.
        window: frame length in seconds, a whole number of samples.
        step: seconds from frame to frame, a whole number of samples, at most `window`.
        kaldi: frames, pre-emphasis, mean removal, window and scaling of Kaldi's `compute-fbank-feats --dither=0`.
        power_of_two: fill frames up to a power of two before the transform (always so for Kaldi).
        hamming: a periodic Hamming window instead of Hann's; Kaldi's form keeps its own.

    Attributes:
        bins: frequencies from 0 to half the sample rate.
        minimum_samples: shortest utterance with a frame: a whole window for Kaldi, enough to reflect otherwise.
    """

    window: Tensor
    _delayed: Tensor
    _mean: Tensor

    def __init__(
        self, sample_rate: int, window: float, step: float, kaldi: bool = False, power_of_two: bool = False, hamming: bool = False
    ) -> None:
        super().__init__()
        self.window_samples = whole_samples("window", window, sample_rate)
        self.step_samples = whole_samples("step", step, sample_rate)
        if self.step_samples > self.window_samples:
            raise UserError(f"step: {step:g} s is longer than the window of {window:g} s and would skip samples; choose a shorter step")
        if self.window_samples < 4:
            raise UserError(f"window: {self.window_samples} samples are too few for a spectrum; choose at least 4")
        self.kaldi = kaldi
        self.fft_size = 1 << (self.window_samples - 1).bit_length() if kaldi or power_of_two else self.window_samples
        self.bins = self.fft_size // 2 + 1
        self._left = 1 if kaldi else self.window_samples // 2
        self._right = 0 if kaldi else self.window_samples - self._left
        self._fill = self.fft_size - self.window_samples
        self.minimum_samples = self.window_samples if kaldi else self._right + 1
        self._register_windows(hamming)

    def _register_windows(self, hamming: bool) -> None:
        """Make Kaldi's steps three windows: `((x - m) - 0.97 (delayed x - m)) w` is linear in x, delayed x and their mean m.

        Kaldi repeats a frame's first sample instead of looking before it; the povey window is zero there, so it does not matter.
        """
        if self.kaldi:
            shape = torch.hann_window(self.window_samples, periodic=False, dtype=torch.float64).pow(0.85) * INT16
        else:
            make = torch.hamming_window if hamming else torch.hann_window
            shape = make(self.window_samples, dtype=torch.float64)
        shape = functional.pad(shape, (0, self._fill))
        self.register_buffer("window", shape.float(), persistent=False)
        self.register_buffer("_delayed", (-PREEMPHASIS * shape).float(), persistent=False)
        self.register_buffer("_mean", ((PREEMPHASIS - 1) * shape).float(), persistent=False)

    def frames(self, sample_lengths: Tensor) -> Tensor:
        """Return frames per utterance: same shape, int64, 0 where there are fewer than `minimum_samples`."""
        counted = 1 + torch.div(sample_lengths - self._before_first, self.step_samples, rounding_mode="floor")
        return torch.where(sample_lengths >= self.minimum_samples, counted, 0).long()

    @property
    def _before_first(self) -> int:
        """Samples an utterance needs before it has a second frame, less a step."""
        return self.window_samples if self.kaldi else 0

    def is_fast(self, samples: Tensor) -> bool:
        """Whether the blockwise computation may be used: on a CPU, no gradient asked for, nothing traced."""
        needs_gradient = torch.is_grad_enabled() and samples.requires_grad
        return samples.device.type == "cpu" and not needs_gradient and not is_transformed()

    def spectrum(self, samples: Tensor, sample_lengths: Tensor, power: bool, finish: Finish, width: int) -> Tensor:
        """Return `finish(magnitude or power)` of every frame; what lies beyond an utterance's frames is arbitrary.

        Args:
            samples: (batch, time) float32.
            sample_lengths: (batch,) int64, each at least `minimum_samples`.
            power: give `finish` the squared magnitude.
            finish: what to make of each frame's spectrum.
            width: bins that `finish` returns.

        Returns:
            (batch, frames, width) float32.
        """
        if self.is_fast(samples):
            return self._spectrum_fast(samples.detach(), sample_lengths, power, finish, width)
        spectrum = torch.fft.rfft(self._windowed(self.cut(samples, sample_lengths)))
        squared = spectrum.real.square() + spectrum.imag.square()
        return finish(squared if power else squared.clamp_min(_TINY).sqrt(), None)

    def _spectrum_fast(self, samples: Tensor, sample_lengths: Tensor, power: bool, finish: Finish, width: int) -> Tensor:
        """The same block by block. All working memory is allocated once: fresh pages cost as much as the arithmetic."""
        frames = self._count(samples.shape[1])
        high = ceil(frames / ceil(frames / _BLOCK_FRAMES))
        wide = min(len(samples), max(1, _BLOCK_FRAMES // frames))
        windowed, magnitude = torch.empty(wide * high, self.fft_size), torch.empty(wide * high, self.bins)
        extended = torch.empty(wide, self._extended(samples.shape[1]))
        values = torch.empty(len(samples), frames, width)
        for first in range(0, len(samples), wide):
            rows = slice(first, first + wide)
            cut = self._unfold(self._extend_fast(samples[rows], sample_lengths[rows], extended), frames)
            for frame in range(0, frames, high):
                block = cut[:, frame : frame + high]
                shape = block.shape[0], block.shape[1], -1
                count = shape[0] * shape[1]
                spectrum = torch.fft.rfft(self._windowed(block, windowed[:count].view(shape)))
                size = magnitude[:count].view(shape)
                np.abs(spectrum.numpy(), out=size.numpy())
                finish(size.square_() if power else size, values[rows, frame : frame + high])
        return values

    def cut(self, samples: Tensor, sample_lengths: Tensor) -> Tensor:
        """Return frames before windowing: a view (batch, frames, fft_size), for Kaldi with the sample before each frame in front."""
        return self._unfold(self._extend(samples, sample_lengths), self._count(samples.shape[1]))

    def _count(self, samples: int) -> int:
        return 1 + (samples - self._before_first) // self.step_samples

    def _extended(self, samples: int) -> int:
        return self._left + samples + self._right + self._fill

    def _unfold(self, extended: Tensor, count: int) -> Tensor:
        return extended.unfold(-1, self.fft_size + self.kaldi, self.step_samples)[:, :count]

    def _extend(self, samples: Tensor, sample_lengths: Tensor) -> Tensor:
        """Reflect every utterance at both true ends: (batch, left + time + right + fill). Only true samples are ever read."""
        time = samples.shape[1]
        lengths = sample_lengths.to(samples.device)[:, None]
        position = torch.arange(-self._left, self._extended(time) - self._left, device=samples.device).abs()
        index = torch.where(position < lengths, position, 2 * (lengths - 1) - position).clamp(0, time - 1)
        return samples.gather(1, index)

    def _extend_fast(self, samples: Tensor, sample_lengths: Tensor, extended: Tensor) -> Tensor:
        """The same by copying into `extended`; other only where no true frame looks, or where the window is zero."""
        source: NDArray[np.float32] = samples.numpy()
        batch, time = source.shape
        target: NDArray[np.float32] = extended[:batch].numpy()
        left, right = self._left, self._right
        target[:, left : left + time] = source
        target[:, left + time :] = 0
        target[:, :left] = source[:, left:0:-1]
        for row, length in enumerate(sample_lengths.tolist()):
            end = left + length
            target[row, end : end + right] = source[row, length - 1 - right : length - 1][::-1]
            target[row, end + right : end + right + self._fill] = 0
        return extended[:batch]

    def _windowed(self, frames: Tensor, out: Tensor | None = None) -> Tensor:
        """Window frames (..., fft_size), and take out mean and pre-emphasise as well for Kaldi; into `out` if there is one."""
        if not self.kaldi:
            return torch.mul(frames, self.window, out=out)
        delayed, frames = frames[..., :-1], frames[..., 1:]
        mean = frames[..., : self.window_samples].mean(-1, keepdim=True)
        if out is None:
            return frames * self.window + delayed * self._delayed + mean * self._mean
        return torch.mul(frames, self.window, out=out).addcmul_(delayed, self._delayed).addcmul_(mean, self._mean)
