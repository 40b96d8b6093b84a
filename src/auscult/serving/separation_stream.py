"""A recording of any length through a separator that knows a few seconds, as a stream whose state does not grow.

Problem: separators are trained on cuts of four seconds, their memory grows with the length of the input (for attention with its square),
and "cut the file into pieces" leaves pieces whose speakers change places. Choice: one object takes samples as they come and gives samples
back: fixed windows with context (`separation_windows`), a few of them at a time through the network, gains by least squares
(`separation_gain`), the order of the speakers from window to window (`separation_order`), and cross-fading. Windows lie on a fixed grid
and are run in fixed groups, so how the samples are cut into blocks changes no bit of the result. A window of digital silence is silence
for every speaker and does not go through the network, which may divide by its level. The core takes any function from mixtures to
sources, so it is tested with ones that are known to be right. Rejected: a window that slides by single frames (no published separator is
causal).
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from auscult.errors import UserError
from auscult.serving.separation_gain import GainMemory, fit_gains
from auscult.serving.separation_order import SILENT, DecidedBy, Join, OrderKeeper, OrderRules
from auscult.serving.separation_windows import OverlapAdd, WindowLayout, cut_reflected

_DOUBTFUL_SHOWN = 10
Separate = Callable[[Tensor], Tensor]
"""(batch, time) float32 -> (batch, sources, time), nothing kept between calls."""


@dataclass(frozen=True)
class DoubtfulJoin:
    """A place where speakers may have changed places.

    Attributes:
        seconds: where in the recording the window begins.
        margin: as in `Join`.
        decided_by: as in `Join`.
    """

    seconds: float
    margin: float
    decided_by: DecidedBy


@dataclass(frozen=True)
class SeparationReport:
    """What the answer rests on.

    Attributes:
        seconds: of the recording.
        windows: through the network or silent.
        silent_windows: of digital silence.
        joins: of neighbouring windows, one fewer than the windows.
        swaps: joins at which the network had changed the order of its outputs, which was put right.
        low_margin_joins: joins of windows with speech whose overlap did not decide the order.
        by_profile: those of them that what the speakers sound like decided.
        doubtful: the joins of least margin, at most ten, by time; listen there first.
    """

    seconds: float = 0.0
    windows: int = 0
    silent_windows: int = 0
    joins: int = 0
    swaps: int = 0
    low_margin_joins: int = 0
    by_profile: int = 0
    doubtful: tuple[DoubtfulJoin, ...] = field(default=())

    @property
    def swap_rate(self) -> float:
        """Share of joins at which the network changed the order; 0 without joins."""
        return self.swaps / self.joins if self.joins else 0.0

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        doubtful = [{"seconds": one.seconds, "margin": one.margin, "decided_by": one.decided_by} for one in self.doubtful]
        numbers = {name: getattr(self, name) for name in self.__dataclass_fields__ if name != "doubtful"}
        return {**numbers, "swap_rate": self.swap_rate, "doubtful": doubtful}


class SeparationStream:
    """Separated samples of a stream of samples.

    Args:
        separate: a network in evaluation mode, or any function (batch, time) -> (batch, sources, time).
        sources: its outputs.
        sample_rate: of the samples, in hertz.
        layout: of the windows; None is four seconds with margins of half a second and an overlap of one.
        batch: windows per call of `separate`; more cost memory.
        rules: of the order.
        device: where `separate` wants its windows.

    Example:
        >>> stream = SeparationStream(lambda mixture: torch.stack([mixture / 2, mixture / 2], 1), 2, 100)
        >>> parts = [stream.push(np.ones(300, np.float32)), stream.push(np.ones(777, np.float32)), stream.finish()]
        >>> np.concatenate(parts, axis=1).sum(axis=0).round(3).tolist() == [1.0] * 1077
        True
    """

    def __init__(
        self,
        separate: Separate,
        sources: int,
        sample_rate: int,
        layout: WindowLayout | None = None,
        batch: int = 8,
        rules: OrderRules | None = None,
        device: torch.device | str = "cpu",
    ) -> None:
        if batch < 1:
            raise UserError(f"batch {batch}: expected 1 window or more at a time")
        self.separate, self.sources, self.sample_rate, self.batch, self.device = separate, sources, sample_rate, batch, device
        self.layout = layout if layout is not None else WindowLayout.of_seconds(4.0, sample_rate)
        self.report = SeparationReport()
        self._order = OrderKeeper(sources, sample_rate, rules if rules is not None else OrderRules())
        self._gains = GainMemory(sources)
        self._sum = OverlapAdd(self.layout, sources)
        self._pieces: list[NDArray[np.float32]] = []  # samples that windows to come need, from `_first` on; joined when they are run
        self._first = 0
        self._seen = 0  # samples received
        self._waiting: list[int] = []  # starts of windows that are complete and not yet run
        self._next = 0  # start of the window after them
        self._energy = 0.0  # of the mixture in all windows so far that were not silent,
        self._counted = 0  # and their samples
        self._doubtful: list[tuple[float, int, DoubtfulJoin]] = []  # a heap with the largest margin first

    def push(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        """Take samples (any number,) and return what is final (sources, time), which may be nothing.

        Raises:
            UserError: not one channel of finite numbers, or the network put out numbers that are not finite.
        """
        if samples.ndim != 1 or not np.isfinite(samples).all():
            raise UserError(f"samples of shape {samples.shape}: expected (time,), one channel, finite numbers")
        found = []
        while len(samples):
            due = self._next + self.layout.kept + self.layout.margin  # where the next window is complete
            taken, samples = samples[: due - self._seen], samples[due - self._seen :]
            self._pieces.append(taken.astype(np.float32))
            self._seen += len(taken)
            if self._seen == due:
                self._waiting.append(self._next)
                self._next += self.layout.hop
                if len(self._waiting) == self.batch:
                    found += self._run(self._waiting)
                    self._waiting = []
        return self._joined(found)

    def finish(self) -> NDArray[np.float32]:
        """Return (sources, time) what is left; the stream takes no more samples after that.

        Raises:
            UserError: there were no samples.
        """
        if not self._seen:
            raise UserError("no samples: there is nothing to separate")
        previous = self._next - self.layout.hop if self._next else None
        starts = [*self._waiting, *self.layout.last_starts(self._next, previous, self._seen)]
        found = []
        for place in range(0, len(starts), self.batch):
            found += self._run(starts[place : place + self.batch])
        self._waiting = []
        doubtful = sorted((one for _, _, one in self._doubtful), key=lambda one: one.seconds)
        self.report = replace(self.report, seconds=self._seen / self.sample_rate, doubtful=tuple(doubtful))
        return self._joined([*found, self._sum.rest()])

    def _joined(self, parts: list[NDArray[np.float32]]) -> NDArray[np.float32]:
        return np.concatenate([np.zeros((self.sources, 0), dtype=np.float32), *parts], axis=1)

    def _run(self, starts: list[int]) -> list[NDArray[np.float32]]:
        """Separate windows and return what became final."""
        margin, kept = self.layout.margin, min(self.layout.kept, self._seen)
        buffer = np.concatenate(self._pieces)
        begins = [start - margin - self._first for start in starts]
        windows = np.stack([cut_reflected(buffer, begin, begin + kept + 2 * margin) for begin in begins])
        heard = np.asarray(windows.any(axis=1))
        estimates = np.zeros((len(starts), self.sources, windows.shape[1]), dtype=np.float32)
        if heard.any():
            estimates[heard] = self._separated(windows[heard], [start for start, one in zip(starts, heard.tolist(), strict=True) if one])
        inside = slice(margin, margin + kept)
        found = [
            self._add(start, windows[place, inside].astype(np.float64), estimates[place, :, inside].astype(np.float64))
            for place, start in enumerate(starts)
        ]
        needed = max(0, self._next - self.layout.kept - margin)  # the last window moves back by less than what is kept
        self._pieces = [buffer[max(0, needed - self._first) :].copy()]
        self._first = max(self._first, needed)
        self.report = replace(self.report, silent_windows=self.report.silent_windows + int((~heard).sum()))
        return found

    def _separated(self, windows: NDArray[np.float32], starts: list[int]) -> NDArray[np.float32]:
        with torch.inference_mode():
            output = self.separate(torch.from_numpy(windows).to(self.device)).float().cpu().numpy()
        if output.shape != (len(windows), self.sources, windows.shape[1]):
            wanted = (len(windows), self.sources, windows.shape[1])
            raise UserError(f"the separator answered windows {windows.shape} with {output.shape}; expected (batch, sources, time) {wanted}")
        finite = np.isfinite(output).all(axis=(1, 2))
        if not finite.all():
            where = starts[int(finite.argmin())] / self.sample_rate
            raise UserError(f"the separator put out NaN or infinity for the window at {where:.2f} s; use another checkpoint, or float32")
        return np.asarray(output)

    def _add(self, start: int, mixture: NDArray[np.float64], estimates: NDArray[np.float64]) -> NDArray[np.float32]:
        """Scale, order and add one window, and return what its beginning makes final."""
        reference = self._reference(mixture)
        gains, trust = fit_gains(mixture, estimates)
        final = self._sum.before(start)
        order = list(range(self.sources))
        if self.report.windows:
            join = self._order.join(self._sum.overlap(), estimates * gains[:, None], reference)
            order = list(join.order)
            self._note(start, join)
        smooth = self._gains.smooth(gains[order], trust[order])
        scaled = estimates[order] * smooth[:, None]
        self._order.profiles.learn(scaled, reference)
        self._sum.add(scaled)
        self.report = replace(self.report, windows=self.report.windows + 1)
        return final

    def _reference(self, mixture: NDArray[np.float64]) -> float:
        """Return the mean power of the windows so far that are not silent beside it, with this one."""
        energy = float(mixture @ mixture)
        if energy > 0.0 and energy * max(self._counted, 1) >= SILENT * self._energy * len(mixture):
            self._energy += energy
            self._counted += len(mixture)
        return self._energy / max(self._counted, 1)

    def _note(self, start: int, join: Join) -> None:
        self.report = replace(
            self.report,
            joins=self.report.joins + 1,
            swaps=self.report.swaps + join.swapped,
            low_margin_joins=self.report.low_margin_joins + (join.decided_by in ("profile", "nothing")),
            by_profile=self.report.by_profile + (join.decided_by == "profile"),
        )
        if join.decided_by in ("overlap", "silence"):
            return
        doubtful = DoubtfulJoin(start / self.sample_rate, join.margin, join.decided_by)
        heapq.heappush(self._doubtful, (-join.margin, -start, doubtful))
        if len(self._doubtful) > _DOUBTFUL_SHOWN:
            heapq.heappop(self._doubtful)
