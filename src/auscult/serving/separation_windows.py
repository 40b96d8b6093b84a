"""Which stretches of a recording a separator sees, and how their results become one signal: arithmetic without a network.

Problem: a separator trained on four seconds is asked about an hour, and what it says within half a second of a window's ends is worse
than in the middle. Choice: windows of the training length whose margins give context and are thrown away; what is kept of neighbouring
windows overlaps, so that their speakers can be compared and faded into one another. The last window is moved back until it ends with the
recording, so it has as much to compare as any other; beyond the ends of a recording lies its mirror image, because digital silence is
something no training mixture holds. A recording shorter than what one window keeps is one shorter window. Rejected: zeros at the ends,
and a stretched last window.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from auscult.errors import UserError


@dataclass(frozen=True)
class WindowLayout:
    """Lengths in samples.

    Attributes:
        window: what the network sees.
        margin: thrown away at each end of it.
        overlap: of what neighbouring windows keep.

    Raises:
        UserError: at construction, where nothing would be left between margins, or windows would not move on.

    >>> layout = WindowLayout(window=32000, margin=4000, overlap=8000)
    >>> layout.kept, layout.hop
    (24000, 16000)
    """

    window: int
    margin: int
    overlap: int

    def __post_init__(self) -> None:
        if self.margin < 0 or not 0 < self.overlap <= self.kept // 2:
            raise UserError(
                f"windows of {self.window} samples with margins of {self.margin} keep {self.kept}, and {self.overlap} of them overlap; "
                "expected margins of 0 or more and an overlap of at most half of what is kept: use longer windows"
            )

    @property
    def kept(self) -> int:
        """Samples of a window between its margins."""
        return self.window - 2 * self.margin

    @property
    def hop(self) -> int:
        """Samples from one window to the next."""
        return self.kept - self.overlap

    @classmethod
    def of_seconds(cls, seconds: float, sample_rate: int, margin: float = 0.5, overlap: float = 1.0) -> WindowLayout:
        """Return a layout in seconds; short windows get margins of an eighth and an overlap of a quarter of themselves.

        >>> WindowLayout.of_seconds(2.0, 8000)
        WindowLayout(window=16000, margin=2000, overlap=4000)
        """
        lengths = (seconds, min(margin, seconds / 8), min(overlap, seconds / 4))
        return cls(*(round(length * sample_rate) for length in lengths))

    def last_starts(self, following: int, previous: int | None, total: int) -> list[int]:
        """Return where the windows begin that are still missing when a recording ends; a start is that of the kept part.

        Args:
            following: start of the window that would be next.
            previous: start of the last one there was.
            total: samples of the recording.

        >>> WindowLayout(window=32, margin=4, overlap=8).last_starts(32, 16, 60)
        [32, 36]
        """
        starts = list(range(following, total - self.kept + 1, self.hop))
        last = max(0, total - self.kept)
        before = starts[-1] if starts else previous
        return starts if before is not None and last <= before else [*starts, last]

    def fade(self, kept: int) -> NDArray[np.float64]:
        """Return positive weights (kept,): rising and falling over the overlap as a squared sine, 1 between."""
        ramp = min(self.overlap, kept)
        rising = np.ones(kept)
        rising[:ramp] = np.sin((np.arange(ramp) + 0.5) / ramp * np.pi / 2) ** 2
        return rising * rising[::-1]


def cut_reflected(samples: NDArray[np.float32], begin: int, end: int) -> NDArray[np.float32]:
    """Return samples from `begin` to `end`, which may lie outside (time,): there is the mirror image of what is inside.

    >>> cut_reflected(np.array([1, 2, 3], np.float32), -2, 4).tolist()
    [3.0, 2.0, 1.0, 2.0, 3.0, 2.0]
    """
    inside = samples[max(begin, 0) : end]
    before, after = max(-begin, 0), end - max(begin, 0) - len(inside)
    return np.pad(inside, (before, after), mode="reflect") if before or after else inside


class OverlapAdd:
    """Adds faded windows up and gives out what no later window can change; holds one window.

    Args:
        layout: of the windows.
        sources: signals.
    """

    def __init__(self, layout: WindowLayout, sources: int) -> None:
        self.layout = layout
        self.start = 0  # sample of the recording at which the sums begin: of the last window
        self.reached = 0  # where it ends
        self._sums = np.zeros((sources, layout.kept))
        self._weights = np.zeros(layout.kept)

    def before(self, start: int) -> NDArray[np.float32]:
        """Give out (sources, time) everything up to `start`, at which the next window begins."""
        number = start - self.start
        final = self._average(number)
        for state in (self._sums, self._weights):
            state[..., : state.shape[-1] - number] = state[..., number:].copy()
            state[..., state.shape[-1] - number :] = 0.0
        self.start = start
        return final.astype(np.float32)

    def overlap(self) -> NDArray[np.float64]:
        """Return (sources, time) what is known of the next window: from its start to the end of the windows before."""
        return self._average(self.reached - self.start)

    def add(self, window: NDArray[np.float64]) -> None:
        """Add a window (sources, kept) that begins at `start`."""
        kept = window.shape[1]
        weights = self.layout.fade(kept)
        self._sums[:, :kept] += window * weights
        self._weights[:kept] += weights
        self.reached = max(self.reached, self.start + kept)

    def rest(self) -> NDArray[np.float32]:
        """Give out (sources, time) what is left after the last window."""
        return self.before(self.reached)

    def _average(self, number: int) -> NDArray[np.float64]:
        return np.asarray(self._sums[:, :number] / np.maximum(self._weights[:number], np.finfo(np.float64).tiny))
