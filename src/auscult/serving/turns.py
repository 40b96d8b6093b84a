"""From who is active in which frame to turns with a confidence.

Two habits of frame decisions are mended: a pause too short to be one is filled, and a turn too short to be speech is dropped, in this
order, so that a turn which a gap had cut into two short ones survives. The confidence of a turn is the mean, over its frames, of the
probability that this speaker is active, averaged over all windows that saw the frame: how sure the segmentation and the assignment
are of *this speaker speaking*, as far as windows agree; it is no probability that the cluster is one person.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from auscult.metrics.segments import Turn
from auscult.serving.windows import FrameGrid


def stretches(active: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return where a row of flags is set, as (stretches, 2) of first frame and frame after the last.

    >>> stretches(np.array([True, False, True, True])).tolist()
    [[0, 1], [2, 4]]
    """
    changes = np.diff(np.concatenate([[0], active.astype(np.int8), [0]]))
    return np.stack([np.flatnonzero(changes == 1), np.flatnonzero(changes == -1)], axis=1)


def smooth(active: NDArray[np.bool_], shortest_pause: int, shortest_turn: int) -> NDArray[np.bool_]:
    """Fill pauses shorter than `shortest_pause` frames, then drop turns shorter than `shortest_turn` frames.

    Args:
        active: (frames, speakers).
        shortest_pause: 1 or less fills nothing.
        shortest_turn: 1 or less drops nothing.

    >>> smooth(np.array([[1], [0], [1], [0], [0], [0], [1]], dtype=bool), 2, 2).ravel().astype(int).tolist()
    [1, 1, 1, 0, 0, 0, 0]
    """
    smoothed = active.copy()
    for column in range(active.shape[1]):
        found = stretches(active[:, column])
        for (_, end), (start, _) in zip(found[:-1].tolist(), found[1:].tolist(), strict=True):
            if start - end < shortest_pause:
                smoothed[end:start, column] = True
        for start, end in stretches(smoothed[:, column]).tolist():
            if end - start < shortest_turn:
                smoothed[start:end, column] = False
    return smoothed


def turns_of_frames(
    active: NDArray[np.bool_], scores: NDArray[np.floating], grid: FrameGrid, seconds: float, names: Sequence[str]
) -> list[Turn]:
    """Return turns sorted by start.

    Args:
        active: (frames, speakers).
        scores: (frames, speakers) probabilities.
        grid: where the frames lie.
        seconds: duration of the recording; the last frame reaches to its end.
        names: one per speaker.

    >>> turns_of_frames(np.array([[1], [1], [0]], dtype=bool), np.full((3, 1), 0.5), FrameGrid(10, 1, 0.5), 0.3, ["a"])
    [Turn(start=0.0, end=0.2, speaker='a', confidence=0.5)]
    """
    frames = len(active)
    turns = []
    for column, name in enumerate(names):
        for first, after in stretches(active[:, column]).tolist():
            start = grid.boundary(first) if first else 0.0
            end = seconds if after == frames else min(seconds, grid.boundary(after))
            confidence = float(np.clip(scores[first:after, column].mean(), 0.0, 1.0))
            if start < end:
                turns.append(Turn(round(start, 6), round(end, 6), name, confidence))
    return sorted(turns, key=lambda turn: (turn.start, turn.end, turn.speaker))
