"""From normalised features to something audible, and to log-mel pictures.

Problem: a front-end takes mean and deviation of an utterance away, and an attacker who finds normalised features does not know them; a
sound made with the true ones would contain what no message gave away. Choice: mean and deviation are those of other utterances of the split
(their average), for the reconstruction and for the true features alike, so that both are heard through the same door. What a front-end
other than the two of Deep Speech makes of sound is not inverted.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from auscult.audio.front_end import FrontEnd
from auscult.audio.front_ends.log_spectrogram import LogSpectrogram
from auscult.audio.front_ends.mel import mel_filters
from auscult.audio.front_ends.mfcc_context import MfccContext
from auscult.audio.griffin_lim import sound_from_cepstra, sound_from_log_spectrogram
from auscult.data.recognition_batch import RecognitionBatch
from auscult.metrics.reconstruction import Array
from auscult.privacy.features import FeatureSpace

MEL_BINS = 40
_FLOOR = 1e-10


@dataclass(frozen=True)
class Scale:
    """Mean and deviation of features before normalisation, (1, width) or (1, 1)."""

    mean: Array
    deviation: Array


class Revocoder:
    """Undoes a front-end, as far as somebody can who knows other speech of the same corpus.

    Args:
        front_end: of the victim.
        pool: utterances that means and deviations are taken from, one a batch.

    Attributes:
        audible: whether this front-end can be turned back to sound.
    """

    def __init__(self, front_end: FrontEnd, pool: Sequence[RecognitionBatch]) -> None:
        self.audible = isinstance(front_end, LogSpectrogram | MfccContext) and not front_end.short_time.kaldi
        if not self.audible:
            return
        made = copy.deepcopy(front_end)
        assert isinstance(made, LogSpectrogram | MfccContext)
        self.how, made.normalise = made.normalise, "none"
        self.front_end = made
        space = FeatureSpace.of(front_end)
        self._scales = []
        for batch in pool:
            with torch.no_grad():
                raw = space.single(self.front_end(batch.samples, batch.sample_lengths))[0].double().numpy()  # (frames, width)
            axis = 0 if self.how == "bin" else None
            self._scales.append((np.atleast_2d(raw.mean(axis=axis)), np.atleast_2d(raw.std(axis=axis))))

    def scale(self, without: Sequence[int]) -> Scale:
        """Return the average mean and deviation of the pool without some utterances."""
        kept = [one for index, one in enumerate(self._scales) if index not in without] or self._scales
        if self.how == "none":
            return Scale(np.zeros((1, 1)), np.ones((1, 1)))
        return Scale(np.mean([mean for mean, _ in kept], axis=0), np.mean([spread for _, spread in kept], axis=0))

    def log_mel(self, features: Array, scale: Scale) -> Array:
        """Return natural logarithms of mel energies (frames, mel bins) of normalised features."""
        raw = torch.from_numpy(features * scale.deviation + scale.mean)
        if isinstance(self.front_end, MfccContext):
            return np.asarray(raw @ torch.linalg.pinv(self.front_end.cosine.double()))
        short_time = self.front_end.short_time
        filters = mel_filters(self.front_end.sample_rate, short_time.fft_size, min(MEL_BINS, short_time.bins // 4)).double()
        power = torch.expm1(raw.clamp(0, 20)).square() @ filters
        return np.asarray(power.clamp_min(_FLOOR).log())

    def sound(self, features: Array, scale: Scale, generator: torch.Generator) -> Tensor:
        """Return samples (time,) of normalised features by Griffin and Lim's algorithm."""
        raw = torch.from_numpy(features * scale.deviation + scale.mean)
        if isinstance(self.front_end, MfccContext):
            return sound_from_cepstra(raw, self.front_end, generator).samples
        return sound_from_log_spectrogram(raw.clamp(0, 20), self.front_end, generator).samples
