"""One embedding per local speaker of each window, from frames that were computed once.

Problem: windows overlap by 80 to 90 %, so encoding each (window, speaker) by itself computes every frame ten times and more.
Choice: the encoder's frames are computed over stretches of about a minute that hold whole windows, and each embedding pools the frames
in which its speaker is alone; memory is that of a stretch, however long the recording. A weight of the segmentation's grid is
carried to the encoder's by the nearest frame: the two grids may differ by half a step, which is less than either knows.
Rejected: cutting out the clean frames and encoding them alone (artificial joints, and the ten-fold cost again).
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from auscult.models.speaker_encoder import EncodedFrames, SpeakerEncoder
from auscult.serving.windows import FrameGrid

_STRETCH = 60.0
"""Seconds encoded at a time."""
_BATCH = 32
"""Embeddings pooled at a time."""


class Voices(Protocol):
    """What the pipeline needs of a speaker encoder.

    Attributes:
        minimum_seconds: of speech that an embedding needs.
    """

    minimum_seconds: float

    def embed(
        self, samples: NDArray[np.float32], starts: NDArray[np.int64], weights: NDArray[np.float32], grid: FrameGrid
    ) -> NDArray[np.float32]:
        """Return an embedding for each row of weights.

        Args:
            samples: (time,) the recording.
            starts: (rows,) frame of `grid` at which each row's weights begin, increasing.
            weights: (rows, frames) in [0, 1].
            grid: of the weights.

        Returns:
            (rows, dimensions); not-a-number where fewer frames count than an embedding needs.
        """


class EncoderVoices:
    """Embeddings of a speaker encoder; the attributes are those of `Voices`.

    Args:
        encoder: a trained encoder.
    """

    def __init__(self, encoder: SpeakerEncoder) -> None:
        self.encoder = encoder.eval()
        self.minimum_seconds = max(encoder.frame_step, encoder.minimum_samples / encoder.front_end.sample_rate)

    def embed(
        self, samples: NDArray[np.float32], starts: NDArray[np.int64], weights: NDArray[np.float32], grid: FrameGrid
    ) -> NDArray[np.float32]:
        """Return embeddings (rows, dimensions) float32; see `Voices`."""
        embeddings = np.full((len(starts), self.encoder.dimensions), np.nan, dtype=np.float32)
        needed = self.minimum_seconds / grid.step
        rows = np.flatnonzero(weights.sum(axis=1) >= needed)
        width = weights.shape[1] * grid.step_samples
        while len(rows):
            first = int(starts[rows[0]]) * grid.step_samples
            ends = starts[rows] * grid.step_samples + width
            inside = max(1, int(np.searchsorted(ends, first + max(width, _STRETCH * grid.sample_rate), side="right")))
            chosen, rows = rows[:inside], rows[inside:]
            stretch = samples[first : int(ends[inside - 1])]
            if len(stretch) >= self.encoder.minimum_samples:
                offsets = (starts[chosen] * grid.step_samples - first) / grid.sample_rate
                embeddings[chosen] = self._pool(self._encode(stretch), offsets, weights[chosen], grid)
        return embeddings

    def _encode(self, samples: NDArray[np.float32]) -> EncodedFrames:
        device = next(self.encoder.parameters()).device
        with torch.inference_mode():
            batch = torch.from_numpy(np.ascontiguousarray(samples))[None].to(device)
            return self.encoder.encode(self.encoder.features(batch, torch.tensor([len(samples)], device=device)))

    def _pool(
        self, encoded: EncodedFrames, offsets: NDArray[np.float64], weights: NDArray[np.float32], grid: FrameGrid
    ) -> NDArray[np.float32]:
        """Pool, for each row, the encoded frames from `offsets` seconds on, (rows,), as many as the weights reach over."""
        step, available = self.encoder.frame_step, int(encoded.lengths[0])
        firsts = np.clip(np.rint(offsets / step).astype(np.int64), 0, available - 1)
        count = min(available, round(weights.shape[1] * grid.step / step))
        places = firsts[:, None] + np.arange(count)  # (rows, frames) of the stretch
        nearest = np.rint((places * step - offsets[:, None] - grid.first_centre / grid.sample_rate) / grid.step).astype(np.int64)
        valid = (places < available) & (nearest >= 0) & (nearest < weights.shape[1])
        carried = np.where(valid, np.take_along_axis(weights, np.clip(nearest, 0, weights.shape[1] - 1), axis=1), 0.0)
        found = []
        for row in range(0, len(firsts), _BATCH):
            part = slice(row, row + _BATCH)
            index = torch.from_numpy(np.minimum(places[part], available - 1)).to(encoded.values.device)
            values = encoded.values[0][:, index].transpose(0, 1)  # (rows, channels, frames)
            lengths = torch.full((len(index),), count, dtype=torch.int64, device=values.device)
            with torch.inference_mode():
                chosen = torch.from_numpy(carried[part].astype(np.float32)).to(values.device)
                found.append(self.encoder.pool(EncodedFrames(values.contiguous(), lengths), chosen).float().cpu().numpy())
        pooled: NDArray[np.float32] = np.concatenate(found)
        pooled[carried.sum(axis=1) <= 0] = np.nan
        return pooled
