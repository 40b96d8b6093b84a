"""Windows of conversations: what a segmentation model is trained on and judged by.

Problem: a meeting of an hour is no training item; random crops drawn per batch see some minutes five times an epoch and others never,
and crops that are judged must not move between two evaluations. Choice: every evaluated region is divided into equal windows of at
most the wanted length, each with an id that states where it is; judging takes them as they are, training shifts each by up to half a
window, by the generator of its utterance. So an epoch covers everything once, and boundaries between windows are nowhere special.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from math import ceil

import numpy as np
from lhotse import CutSet
from lhotse.cut import Cut, MonoCut

from auscult.data.turns import evaluated_regions

SLACK = 0.02
"""Share of a window by which a region may exceed a whole number of them before it gets one more."""


@dataclass(frozen=True)
class Window:
    """A window of a conversation, in samples of the model's rate.

    Attributes:
        source: the whole conversation.
        start: first sample.
        count: samples.
        low: first sample of the region the window may move in.
        high: sample after its last.
    """

    source: Cut
    start: int
    count: int
    low: int
    high: int

    def shifted(self, random: np.random.Generator) -> int:
        """Return a start drawn within half a window of the window's own, inside its region."""
        half = self.count // 2
        low, high = max(self.low, self.start - half), min(self.high - self.count, self.start + half)
        return int(random.integers(low, max(low, high) + 1))


class Windows:
    """The windows of the conversations of a split, in order, and the cuts that stand for them.

    Args:
        cuts: conversations.
        seconds: longest window.
        sample_rate: of the model, in hertz.

    Attributes:
        cuts: one per window, for ids and durations; turns are those of the window's source.
    """

    def __init__(self, cuts: Iterable[Cut], seconds: float, sample_rate: int) -> None:
        self._windows: dict[str, Window] = {}
        made = []
        for cut in cuts:
            bare = replace(cut, supervisions=[]) if isinstance(cut, MonoCut) else cut  # lhotse would look through all turns each time
            for window in _divide(cut, seconds, sample_rate):
                identity = f"{cut.id}@{window.start / sample_rate:.3f}"
                self._windows[identity] = window
                part = bare.truncate(offset=window.start / sample_rate, duration=window.count / sample_rate, preserve_id=True)
                made.append(part.with_id(identity))
        self.cuts = CutSet.from_cuts(made)

    def __iter__(self) -> Iterator[Window]:
        return iter(self._windows.values())

    def __getitem__(self, identity: str) -> Window:
        return self._windows[identity]

    def __contains__(self, identity: object) -> bool:
        return identity in self._windows

    def __len__(self) -> int:
        return len(self._windows)


def _divide(cut: Cut, seconds: float, sample_rate: int) -> Iterable[Window]:
    total = round(cut.duration * sample_rate)
    for start, end in evaluated_regions(cut):
        low, high = round(start * sample_rate), min(round(end * sample_rate), total)
        number = max(1, ceil((high - low) / (seconds * sample_rate) - SLACK))
        edges = [low + (high - low) * place // number for place in range(number + 1)]
        for first, last in pairwise(edges):
            if last > first:
                yield Window(cut, first, last - first, low, high)
