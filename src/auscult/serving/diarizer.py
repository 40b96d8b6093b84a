"""Who speaks when in a recording of any length: local segmentation, one embedding per local speaker, clustering, one answer.

Problem: a segmentation network tells voices apart within a few seconds and gives them new numbers in every window; an encoder tells
whether two stretches are one person and knows nothing of overlap. Choice: the pipeline of pyannote.audio (Bredin 2023), step by
step: sliding windows, the most likely set of speakers per frame, the mean number of speakers per frame, one embedding per window and
local speaker from frames in which nobody else speaks, clustering of the embeddings that rest on enough clean speech, assignment of
every local speaker to a cluster with different clusters for different speakers of a window, averages over windows, the most likely
speakers of each frame, turns. Every step is a function on arrays (`windows`, `speaker_assignment`, `turns`), so that the whole can be
run with a segmentation and embeddings that are known to be right. Rejected: end-to-end networks with a fixed number of speakers.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from auscult.errors import UserError
from auscult.metrics.segments import Turn
from auscult.serving.audio_input import check_length, read_at
from auscult.serving.diarizer_runs import find_embedding_run, load_encoder, load_segmenter, merge_threshold
from auscult.serving.diarizer_settings import DiarizerSettings, Speakers
from auscult.serving.segmenter import LocalActivity, Segmenter, join_activity
from auscult.serving.speaker_assignment import UNASSIGNED, cluster_values, keep_most_likely
from auscult.serving.speaker_clustering import Clustered, cluster_speakers
from auscult.serving.turns import smooth, turns_of_frames
from auscult.serving.voices import EncoderVoices, Voices
from auscult.serving.windows import FrameGrid, cut_windows, overlap_average, whole_frames, window_starts

_WINDOWS = 16
"""Windows segmented at a time: enough to keep matrix products busy, and a few megabytes of activations each."""
_SHARE_OF_WINDOW = 0.2
"""Clean speech, as a share of a window, above which an embedding helps to find the clusters."""
_ENOUGH_ALONE = 0.4
"""Seconds alone below which overlapped frames are pooled too."""


@dataclass(frozen=True)
class FrameActivity:
    """Who speaks in each frame.

    Attributes:
        grid: where the frames lie.
        scores: (frames, speakers) float64 probabilities, averaged over windows.
        active: (frames, speakers) bool.
        speakers: names of the columns.
    """

    grid: FrameGrid
    scores: NDArray[np.float64]
    active: NDArray[np.bool_]
    speakers: tuple[str, ...]


@dataclass(frozen=True)
class Diarization:
    """The answer for one recording.

    Attributes:
        turns: by start; speakers are named by their first turn, `confidence` is explained in `turns.py`.
        frames: what the turns were made from; None for a stream, which keeps none.
        seconds: duration of the recording.
        notes: sentences about what the answer rests on (resampled, speakers asked for and not found).
    """

    turns: list[Turn]
    frames: FrameActivity | None
    seconds: float
    notes: list[str] = field(default_factory=list)

    @property
    def speakers(self) -> tuple[str, ...]:
        """Names of those who have a turn, by their first turn."""
        return tuple(dict.fromkeys(turn.speaker for turn in self.turns))


@dataclass(frozen=True)
class Heard:
    """What the networks say about a recording, before anything is decided.

    Attributes:
        local: of every window.
        starts: (windows,) frame each begins at.
        embeddings: (windows, speakers, dimensions), not-a-number where there is none; None without an encoder.
        clean: (windows, speakers) seconds in which each local speaker speaks alone.
        together: (windows, speakers) seconds in which each speaks together with others.
        frames: of the recording.
    """

    local: LocalActivity
    starts: NDArray[np.int64]
    embeddings: NDArray[np.float32] | None
    clean: NDArray[np.float64]
    together: NDArray[np.float64]
    frames: int


class Diarizer:
    """A segmentation and, for recordings longer than a window, a speaker encoder.

    Args:
        segmenter: tells the speakers of a window apart.
        voices: embeds them; None limits recordings to one window.
        settings: of windows, clustering and turns.
        notes: sentences that belong to every answer, such as which encoder was chosen.
    """

    def __init__(
        self, segmenter: Segmenter, voices: Voices | None = None, settings: DiarizerSettings | None = None, notes: tuple[str, ...] = ()
    ) -> None:
        self.segmenter = segmenter
        self.voices = voices
        self.settings = settings if settings is not None else DiarizerSettings()
        self.notes = notes

    def diarize(
        self, source: str | Path | NDArray[np.float32], speakers: int | None = None, minimum: int = 1, maximum: int | None = None
    ) -> Diarization:
        """Say who speaks when.

        Args:
            source: an audio file of any sample rate and channel count, or samples (time,) float32 at the model's rate.
            speakers: number of speakers, if known.
            minimum: fewest speakers, where anybody speaks.
            maximum: most speakers; None sets no limit.

        Raises:
            AudioError: the file cannot be read.
            UserError: it is too short for the model, longer than a window while there is no encoder, or the numbers of speakers
                contradict one another.
        """
        wanted = Speakers.of(speakers, minimum, maximum)
        samples, name, notes = self._read(source)
        heard = self.listen(samples, name)
        clusters = self._clusters(heard, wanted)
        frames = self.frames(heard, clusters.labels, clusters.count, wanted)
        seconds = len(samples) / self.segmenter.grid.sample_rate
        turns = turns_of_frames(frames.active, frames.scores, frames.grid, seconds, frames.speakers)
        found = len({turn.speaker for turn in turns})
        return Diarization(turns, frames, seconds, [*self.notes, *notes, *wanted.shortfall(found)])

    def listen(self, samples: NDArray[np.float32], name: str) -> Heard:
        """Run the networks over a recording (time,); `name` is what messages call it."""
        self.check_length(len(samples), name)
        segmenter, grid = self.segmenter, self.segmenter.grid
        if len(samples) > segmenter.window_samples and self.voices is None:
            window = segmenter.window_samples / grid.sample_rate
            raise UserError(
                f"{name}: {len(samples) / grid.sample_rate:.1f} s is longer than a window of {window:g} s, and speakers of different "
                "windows are told apart by their voices; give a verification run with --embedding RUN"
            )
        hop = whole_frames(self.settings.hop * segmenter.window_samples / grid.sample_rate, grid)
        starts = window_starts(len(samples), segmenter.window_samples, hop, grid.step_samples)
        local = self._segment(samples, starts)
        alone = local.active & (local.active.sum(axis=2, keepdims=True) == 1)
        clean, together = alone.sum(axis=1) * grid.step, (local.active & ~alone).sum(axis=1) * grid.step
        embeddings = None if self.voices is None else self._embed(samples, local, alone, starts)
        return Heard(local, starts, embeddings, clean, together, int((starts + local.lengths).max()))

    def check_length(self, samples: int, name: str) -> None:
        """Refuse a recording that is too short for a single frame.

        Raises:
            UserError: says how long it would have to be.
        """
        check_length(samples, self.segmenter.minimum_samples, self.segmenter.grid.sample_rate, name)

    def frames(self, heard: Heard, labels: NDArray[np.int64], clusters: int, wanted: Speakers) -> FrameActivity:
        """Decide every frame, given the cluster of every local speaker: labels (windows, speakers).

        Speakers are numbered by their first turn after smoothing; clusters without one are left out.
        """
        local, starts = heard.local, heard.starts
        named = local.active & (labels != UNASSIGNED)[:, None]
        number = named.sum(axis=2, keepdims=True)  # (windows, frames, 1)
        mean = overlap_average(number, starts, local.lengths, heard.frames)[:, 0]
        counts = np.rint(mean).astype(np.int64)
        if wanted.maximum is not None:
            counts = np.minimum(counts, wanted.maximum)
        by_cluster = cluster_values(local.probabilities, labels, clusters)
        scores = overlap_average(by_cluster, starts, local.lengths, heard.frames)
        grid = self.segmenter.grid
        pause, turn = (round(seconds / grid.step) for seconds in (self.settings.shortest_pause, self.settings.shortest_turn))
        active = smooth(keep_most_likely(scores, counts), pause, turn)
        heard_first = [column for column in np.argsort(active.argmax(axis=0), kind="stable").tolist() if active[:, column].any()]
        names = tuple(f"speaker{place + 1}" for place in range(len(heard_first)))
        return FrameActivity(grid, scores[:, heard_first], active[:, heard_first], names)

    def _read(self, source: str | Path | NDArray[np.float32]) -> tuple[NDArray[np.float32], str, list[str]]:
        if isinstance(source, np.ndarray):
            if source.ndim != 1 or not np.isfinite(source).all():
                raise UserError(f"samples of shape {source.shape}: expected (time,), one channel, finite numbers")
            return np.asarray(source, np.float32), "the samples", []
        samples, notes = read_at(source, self.segmenter.grid.sample_rate)
        return samples, str(source), notes

    def _segment(self, samples: NDArray[np.float32], starts: NDArray[np.int64]) -> LocalActivity:
        """Segment all windows, a few at a time: together they are many times the recording."""
        size, step = self.segmenter.window_samples, self.segmenter.grid.step_samples
        blocks = [starts[first : first + _WINDOWS] for first in range(0, len(starts), _WINDOWS)]
        return join_activity([self.segmenter.segment(*cut_windows(samples, block, size, step)) for block in blocks])

    def _embed(
        self, samples: NDArray[np.float32], local: LocalActivity, alone: NDArray[np.bool_], starts: NDArray[np.int64]
    ) -> NDArray[np.float32]:
        """Return embeddings (windows, speakers, dimensions)."""
        assert self.voices is not None
        grid = self.segmenter.grid
        enough = max(_ENOUGH_ALONE, self.voices.minimum_seconds) / grid.step
        chosen = np.where(alone.sum(axis=1, keepdims=True) >= enough, alone, local.active)  # (windows, frames, speakers)
        windows, frames, speakers = chosen.shape
        rows = chosen.transpose(0, 2, 1).reshape(windows * speakers, frames).astype(np.float32)
        found = self.voices.embed(samples, np.repeat(starts, speakers), rows, grid)
        return found.reshape(windows, speakers, -1)

    def _clusters(self, heard: Heard, wanted: Speakers) -> Clustered:
        active = np.asarray(heard.local.active.any(axis=1))  # (windows, speakers)
        if len(heard.starts) == 1 and wanted.allow(int(active.sum())):
            labels = np.where(active, np.arange(active.shape[1]), UNASSIGNED)
            return Clustered(labels, active.shape[1])
        if heard.embeddings is None:  # one window, more speakers than wanted: those who speak most
            seconds = heard.local.active.sum(axis=1)[0]
            ranks = np.argsort(np.argsort(-seconds, kind="stable"), kind="stable")[None]
            kept = active & (ranks < (wanted.maximum or active.shape[1]))
            return Clustered(np.where(kept, np.arange(active.shape[1]), UNASSIGNED), active.shape[1])
        window = self.segmenter.window_samples / self.segmenter.grid.sample_rate
        return cluster_speakers(heard.embeddings, active, heard.clean, heard.together, _SHARE_OF_WINDOW * window, wanted, self.settings)


def load_diarizer(
    run: str | Path,
    embedding: str | Path | None = None,
    checkpoint: str = "best",
    clustering: str = "agglomerative",
    device: str = "auto",
) -> Diarizer:
    """Load a diarizer from a diarization run and a verification run.

    Args:
        run: diarization run, for the segmentation.
        embedding: verification run, for the voices; None takes the only finished one of the same sample rate beside `run`.
        checkpoint: which weights of the segmentation; the voices take the best of their run.
        clustering: "agglomerative", "spectral" or "vbx".
        device: "auto", "cpu" or "cuda".

    Raises:
        UserError: not a run, no or damaged checkpoint, a run of another task, or sample rates that differ.

    Example:
        >>> load_diarizer("runs/diarization-powerset_segmentation-0123456789ab").diarize("meeting.wav").turns  # doctest: +SKIP
    """
    segmenter = load_segmenter(Path(run), checkpoint, device)
    rate = segmenter.grid.sample_rate
    settings = DiarizerSettings(clustering=clustering)
    chosen = Path(embedding) if embedding is not None else find_embedding_run(Path(run), rate)
    if chosen is None:
        return Diarizer(segmenter, None, settings)
    encoder, encoder_rate = load_encoder(chosen, "best", device)
    if encoder_rate != rate:
        raise UserError(f"{chosen}: takes {encoder_rate} Hz and the segmentation {rate} Hz; use two runs of the same sample rate")
    threshold = merge_threshold(chosen)
    notes = [] if embedding is not None else [f"voices by {chosen.name}, the only finished verification run beside this one"]
    if threshold is None and clustering != "spectral":
        notes.append(f"{chosen.name} has no validation trials: voices count as one person above a cosine of {settings.threshold}")
    settings = replace(settings, threshold=settings.threshold if threshold is None else float(np.clip(threshold, -1.0, 1.0)))
    return Diarizer(segmenter, EncoderVoices(encoder), settings, tuple(notes))
