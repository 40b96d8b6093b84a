"""Diarization while people are still speaking: the same networks on the last seconds, twice a second, with a state that does not grow.

Problem: an offline pipeline sees the whole recording before it names anybody; a stream must answer within a step and must not rename,
and its memory must not depend on how long it has been running. Choice: the graph of the offline pipeline on a rolling buffer of one
window; every `step` seconds the window is segmented, its speakers are embedded and named (`online_speakers`), and what is `latency` old
becomes final: the Hamming-weighted average of all windows that saw it, so that the ends of windows, where segmentation knows least,
count least. Steps lie on fixed sample counts, so how the audio is cut into chunks changes nothing. Rejected: updating turns that were
given out already (every consumer would have to handle corrections).
Source: diart (Coria et al. 2021).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from auscult.errors import UserError
from auscult.metrics.segments import Turn
from auscult.serving.diarizer import Diarizer
from auscult.serving.online_speakers import OnlineRules, OnlineSpeakers
from auscult.serving.speaker_assignment import UNASSIGNED, cluster_values, keep_most_likely
from auscult.serving.stream_turns import StreamTurns
from auscult.serving.windows import whole_frames


class DiarizerStream:
    """Turns of a stream of samples.

    Args:
        diarizer: with voices.
        step: seconds between two looks; rounded to whole frames.
        latency: seconds after which a frame is final, from `step` to the length of a window; None is `step`. More is more accurate.
        rules: of naming.

    Raises:
        UserError: the diarizer has no voices, or step and latency do not fit the window.

    Example:
        >>> stream = DiarizerStream(load_diarizer("runs/diarization-..."))  # doctest: +SKIP
        >>> for chunk in microphone: print(stream.push(chunk))  # doctest: +SKIP
        >>> stream.finish()  # doctest: +SKIP
    """

    def __init__(self, diarizer: Diarizer, step: float = 0.5, latency: float | None = None, rules: OnlineRules | None = None) -> None:
        if diarizer.voices is None:
            raise UserError("a stream is named by voices; give a verification run with --embedding RUN")
        self.diarizer, self.grid = diarizer, diarizer.segmenter.grid
        self.window = diarizer.segmenter.window_samples // self.grid.step_samples  # frames
        self.step = whole_frames(step, self.grid)
        self.latency = self.step if latency is None else whole_frames(latency, self.grid)
        if not self.step <= self.latency <= self.window:
            window = self.window * self.grid.step
            raise UserError(
                f"step {step:g} s, latency {self.latency * self.grid.step:g} s, window {window:g} s: each must be at most the next"
            )
        rules = rules if rules is not None else OnlineRules()
        settings = diarizer.settings
        self._speakers = OnlineSpeakers(rules, rules.delta if rules.delta is not None else 1.0 - settings.threshold / 2)
        self._turns = StreamTurns(self.grid, rules.most, settings.shortest_pause, settings.shortest_turn)
        self._buffer = np.zeros(0, dtype=np.float32)  # the last window of samples at most, and less than a step of new ones
        self._first = 0  # frame of the stream at which the buffer begins
        self._seen = 0  # samples received
        self._final = 0  # frames that were given out
        self._reached = 0  # frames that a window has seen
        size = self.window + self.step + 1
        self._scores = np.zeros((size, rules.most))  # weighted sums of the frames that are not final, from `_final` on
        self._counts = np.zeros((size, 2))  # their weighted numbers of speakers, and weights

    def push(self, samples: NDArray[np.float32]) -> list[Turn]:
        """Take samples (any number,) float32 and return the turns that became final, by start."""
        if samples.ndim != 1 or not np.isfinite(samples).all():
            raise UserError(f"samples of shape {samples.shape}: expected (time,), one channel, finite numbers")
        found: list[Turn] = []
        while len(samples):
            due = (self._seen // self._step_samples + 1) * self._step_samples
            taken, samples = samples[: due - self._seen], samples[due - self._seen :]
            self._buffer = np.concatenate([self._buffer, taken.astype(np.float32)])
            self._seen += len(taken)
            if self._seen == due:
                self._look()
                found += self._give_out(self._seen // self.grid.step_samples - self.latency)
        return found

    def finish(self) -> list[Turn]:
        """Return the turns of what is left, with the open ones closed; the stream takes no more samples after that."""
        if self._seen % self._step_samples and len(self._buffer) >= self.diarizer.segmenter.minimum_samples:
            self._look()
        found = self._give_out(self._reached)
        closed = self._turns.close(self._reached, self._seen / self.grid.sample_rate)
        return sorted([*found, *closed], key=lambda turn: (turn.start, turn.speaker))

    @property
    def _step_samples(self) -> int:
        return self.step * self.grid.step_samples

    def _look(self) -> None:
        """Segment and name the last window, and add it to the frames that are not final."""
        excess = max(0, -(-(len(self._buffer) - self.window * self.grid.step_samples) // self.grid.step_samples))
        self._buffer = self._buffer[excess * self.grid.step_samples :]
        self._first += excess
        if len(self._buffer) < self.diarizer.segmenter.minimum_samples:
            return
        heard = self.diarizer.listen(self._buffer, "the stream")
        assert heard.embeddings is not None
        count = int(heard.local.lengths[0])
        probabilities, active = heard.local.probabilities[:, :count], heard.local.active[:, :count]
        labels = self._speakers.assign(heard.embeddings[0], probabilities[0], self.window)
        active = active & (labels != UNASSIGNED)
        scores = cluster_values(probabilities, labels[None], self._scores.shape[1])[0]  # (frames, most)
        skipped = max(0, self._final - self._first)
        places = slice(self._first + skipped - self._final, self._first + count - self._final)
        weights = np.hamming(count)[skipped:, None]
        self._reached = self._first + count
        self._scores[places] += weights * scores[skipped:]
        self._counts[places] += weights * np.stack([active[0, skipped:].sum(axis=1), np.ones(count - skipped)], axis=1)

    def _give_out(self, until: int) -> list[Turn]:
        """Make frames before `until` final and return the turns that ended in them."""
        number = until - self._final
        if number <= 0:
            return []
        weight = np.maximum(self._counts[:number, 1:], 1e-12)
        scores = self._scores[:number] / weight
        counts = np.rint(self._counts[:number, 0] / weight[:, 0]).astype(np.int64)
        found = self._turns.add(self._final, keep_most_likely(scores, counts), scores)
        for state in (self._scores, self._counts):
            state[: -number or None] = state[number:]
            state[-number:] = 0.0
        self._final = until
        return found
