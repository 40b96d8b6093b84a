"""Where sliding windows lie, and how what a model says about each becomes one answer for the recording.

Problem: a frame that is one hop off, or a grid that is a few per cent too coarse, moves every boundary of every turn, and nothing
fails. Choice: windows start on frames of one global grid, so that frame k of the window that starts at frame s *is* frame s + k of
the recording, without interpolation; the grid says where in time its frames lie, once. The last window starts where its end
reaches the recording's, and is shorter by less than a frame. Rejected: hops in seconds, which need rounding per window; padding the
last window with silence, which no model was trained on.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from auscult.errors import UserError


@dataclass(frozen=True)
class FrameGrid:
    """Frames of a recording: frame k stands for the moment `first_centre + k * step_samples` and half a step on either side.

    Attributes:
        sample_rate: in hertz.
        step_samples: samples from frame to frame.
        first_centre: centre of frame 0 in samples.
    """

    sample_rate: int
    step_samples: int
    first_centre: float

    @property
    def step(self) -> float:
        """Seconds from frame to frame."""
        return self.step_samples / self.sample_rate

    def centres(self, frames: int, start: int = 0) -> NDArray[np.float64]:
        """Return the centres of frames in seconds, (frames,), from frame number `start` on.

        >>> FrameGrid(1000, 10, 5.0).centres(2, start=1).tolist()
        [0.015, 0.025]
        """
        return (self.first_centre + (start + np.arange(frames)) * self.step_samples) / self.sample_rate

    def boundary(self, frame: int) -> float:
        """Return the moment between a frame and the one before it, in seconds, not before 0.

        >>> FrameGrid(1000, 10, 5.0).boundary(3)
        0.03
        """
        return max(0.0, (self.first_centre + (frame - 0.5) * self.step_samples) / self.sample_rate)


def whole_frames(seconds: float, grid: FrameGrid) -> int:
    """Return a duration in frames, at least one.

    >>> whole_frames(0.034, FrameGrid(1000, 10, 5.0))
    3
    """
    return max(1, round(seconds / grid.step))


def window_starts(samples: int, window_samples: int, hop_frames: int, step_samples: int) -> NDArray[np.int64]:
    """Return the first frames of the windows that cover a recording, in frames of its grid.

    Args:
        samples: of the recording.
        window_samples: of a window; a recording no longer has one window.
        hop_frames: frames from window to window.
        step_samples: samples per frame.

    Returns:
        (windows,) int64, increasing; together the windows cover every sample.

    Raises:
        UserError: the hop is longer than a window, which would skip samples.

    >>> window_starts(100, 40, 2, 10).tolist()
    [0, 2, 4, 6]
    >>> window_starts(101, 40, 2, 10).tolist()
    [0, 2, 4, 6, 7]
    """
    if not 1 <= hop_frames * step_samples <= window_samples:
        raise UserError(f"windows of {window_samples} samples every {hop_frames * step_samples}: choose a hop within the window")
    last = max(0, -(-(samples - window_samples) // step_samples))
    starts = list(range(0, last, hop_frames))
    return np.array([*starts, last], dtype=np.int64)


def cut_windows(
    samples: NDArray[np.float32], starts: NDArray[np.int64], window_samples: int, step_samples: int
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Return windows (windows, time) float32, zero beyond the recording's end, and their true lengths in samples (windows,) int64.

    >>> cut_windows(np.arange(5, dtype=np.float32), np.array([0, 1]), 4, 2)[0].tolist()
    [[0.0, 1.0, 2.0, 3.0], [2.0, 3.0, 4.0, 0.0]]
    """
    lengths = np.minimum(window_samples, len(samples) - starts * step_samples)
    cut = np.zeros((len(starts), int(lengths.max(initial=0))), dtype=np.float32)
    for row, (start, length) in enumerate(zip((starts * step_samples).tolist(), lengths.tolist(), strict=True)):
        cut[row, :length] = samples[start : start + length]
    return cut, lengths.astype(np.int64)


def overlap_average(
    values: NDArray[Any], starts: NDArray[np.int64], lengths: NDArray[np.int64], frames: int, shape: NDArray[np.float64] | None = None
) -> NDArray[np.float64]:
    """Average what overlapping windows say about each frame.

    Args:
        values: (windows, frames of a window, columns).
        starts: (windows,) frame of the recording each window begins at.
        lengths: (windows,) true frames of each; what lies beyond is not looked at.
        frames: of the recording.
        shape: (frames of a window,) weight of each frame, such as a Hamming window; None weighs all alike.

    Returns:
        (frames, columns) float64; zero where no window reaches.

    >>> overlap_average(np.array([[[1.0], [1.0]], [[3.0], [5.0]]]), np.array([0, 1]), np.array([2, 2]), 4).ravel().tolist()
    [1.0, 2.0, 5.0, 0.0]
    """
    total = np.zeros((frames, values.shape[2]))
    weight = np.zeros((frames, 1))
    shape = np.ones(values.shape[1]) if shape is None else shape
    for window, start, length in zip(values, starts.tolist(), lengths.tolist(), strict=True):
        total[start : start + length] += window[:length] * shape[:length, None]
        weight[start : start + length, 0] += shape[:length]
    return np.divide(total, weight, out=np.zeros_like(total), where=weight > 0)
