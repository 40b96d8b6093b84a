"""The contract of a front-end: waveforms in, features out, as a module that lives inside the model.

Problem: features computed in a data loader drift away from those computed when the model is served (other window, other
padding, dither left on), and statistics taken over a padded batch make an utterance depend on its neighbours. Choice: the
front-end is an `nn.Module` in the model, it is told the true lengths, and what it returns for an utterance is the same alone
or padded in any batch. Rejected: feature files on disk (another front-end is then unnoticed), and averaging over padding.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor, nn

from auscult.errors import UserError


class Features(NamedTuple):
    """Padded features of a batch.

    Attributes:
        values: (batch, frames, bins) float32, zero beyond `lengths`.
        lengths: (batch,) int64, true frames of each utterance, on the device of `values`.
    """

    values: Tensor
    lengths: Tensor


class FrontEnd(nn.Module, ABC):
    """Turns samples into features; has no trainable state that is not declared, and always computes in float32.

    Attributes:
        sample_rate: of the samples it takes, in hertz.
        bins: features per frame.
        frame_step: seconds from one frame to the next.
        minimum_samples: shortest utterance that gives a frame; `frames` is 0 and `forward` refuses below it.
    """

    sample_rate: int
    bins: int
    frame_step: float
    minimum_samples: int = 1

    @abstractmethod
    def frames(self, sample_lengths: Tensor) -> Tensor:
        """Return how many frames utterances of these lengths give, without computing them.

        Args:
            sample_lengths: any shape, int64, samples.

        Returns:
            Same shape, int64.
        """

    @abstractmethod
    def forward(self, samples: Tensor, sample_lengths: Tensor) -> Features:
        """Return the features of a padded batch.

        Args:
            samples: (batch, time) float32 in [-1, 1]; what lies beyond `sample_lengths` is never looked at.
            sample_lengths: (batch,) int64.

        Returns:
            Features whose frame axis has `frames(time)` entries, for the padded length `time`.

        Raises:
            UserError: wrong shape or type, or an utterance shorter than `minimum_samples`.
        """

    def check(self, samples: Tensor, sample_lengths: Tensor) -> None:
        """Refuse a batch that breaks the contract, and name the utterance that is too short.

        Raises:
            UserError: wrong shape or type, a length outside 0..time, or an utterance shorter than `minimum_samples`.
        """
        name = type(self).__name__
        if samples.ndim != 2 or not samples.is_floating_point():
            raise UserError(
                f"{name}: samples must be (batch, time) floating point in [-1, 1]; got {tuple(samples.shape)} {samples.dtype}; "
                "add the batch axis with samples[None], and divide int16 by 32768"
            )
        if sample_lengths.shape != samples.shape[:1] or sample_lengths.is_floating_point():
            raise UserError(
                f"{name}: sample_lengths must be ({samples.shape[0]},) int64, one length per row of samples; "
                f"got {tuple(sample_lengths.shape)} {sample_lengths.dtype}"
            )
        if samples.is_meta or is_transformed():
            return
        for index, length in enumerate(sample_lengths.tolist()):
            if length < self.minimum_samples:
                raise UserError(
                    f"{name}: utterance {index} of the batch has {length} samples, at least {self.minimum_samples} "
                    f"({1000 * self.minimum_samples / self.sample_rate:.1f} ms) are needed for one frame; leave it out or pad it"
                )
            if length > samples.shape[1]:
                raise UserError(f"{name}: utterance {index} claims {length} samples and the batch is {samples.shape[1]} long")


def is_transformed() -> bool:
    """Whether the code is being compiled, exported, traced or mapped, so that no tensor value may be looked at."""
    return bool(torch.compiler.is_compiling() or torch._C._get_tracing_state() is not None or torch._C._are_functorch_transforms_active())


@contextmanager
def full_precision(samples: Tensor) -> Iterator[None]:
    """Leave autocast for the duration: features in half precision would differ between training and serving."""
    if torch.is_autocast_enabled(samples.device.type):
        with torch.autocast(samples.device.type, enabled=False):
            yield
    else:
        yield
